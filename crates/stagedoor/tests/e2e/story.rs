//! `demo --script`: every step held, on both databases, and nothing is left behind.

use crate::program::{answer, run, words};

fn free_ports() -> [&'static str; 4] {
    ["--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"]
}

#[test]
fn every_step_of_the_story_holds() {
    let dir = tempfile::TempDir::new().unwrap();
    let told = answer(dir.path(), &[&["demo", "--script"][..], &free_ports()].concat());
    assert_eq!(told["held"], true, "{told}");
    assert_eq!(told["steps"].as_array().unwrap().len(), 11);
}

#[test]
fn the_story_holds_on_postgresql_too() {
    testkit::with_postgres(|url| {
        let dir = tempfile::TempDir::new().unwrap();
        let args = [&["demo", "--script", "--database", url][..], &free_ports()].concat();
        let output = run(dir.path(), &args);
        assert!(output.status.success(), "{}", words(&output));
        assert!(words(&output).contains("11 of 11 steps held"));
    });
}
