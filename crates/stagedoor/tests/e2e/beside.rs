//! Commands beside a running program: what they change is in force there within moments, and only
//! one program at a time is the node.

use serde_json::{Value, json};

use crate::program::{Serving, Shop, answer, run, words};

/// Looks until the answer is the wanted one; each look is a process of its own.
fn becomes(serving: &Serving, shop: &Shop, args: &[&str], wanted: u16) -> bool {
    (0..400).any(|_| serving.curl(shop, args, "/checkout").0 == wanted)
}

#[test]
fn what_a_command_changes_the_running_program_obeys() {
    let shop = Shop::init();
    std::fs::write(shop.path().join("pw"), "four words make one door").unwrap();
    let serving = shop.serve();
    answer(shop.path(), &["user", "add", "ada@x.example", "--password-file", "pw"]);
    let body = json!({ "email": "ada@x.example", "password": "four words make one door" });
    let body = body.to_string();
    let args = ["-X", "POST", "-H", "content-type: application/json", "-d", &body];
    let (status, tokens) = serving.curl(&shop, &args, "/v1/sign-in");
    assert_eq!(status, 200, "{tokens}");
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    // let through, to an upstream that is a closed port
    assert!(becomes(&serving, &shop, &["-H", &bearer], 502));
    let ended = run(shop.path(), &["user", "end-sessions", "ada@x.example"]);
    assert!(ended.status.success(), "{}", words(&ended));
    assert!(becomes(&serving, &shop, &["-H", &bearer], 401), "the token is still good");
    // routes: the checkout is opened to all
    shop.edit("access = \"session\"\nsensitive = true", "access = \"open\"");
    answer(shop.path(), &["config", "apply"]);
    assert!(becomes(&serving, &shop, &[], 502), "the routes are still the old ones");
    assert_eq!(serving.stop(), Some(0));
    let verified = answer(shop.path(), &["audit", "verify"]);
    assert_eq!((&verified["holds"], &verified["pending"]), (&json!(true), &json!(0)), "{verified}");
}

#[test]
fn one_program_is_the_node() {
    let shop = Shop::init();
    let serving = shop.serve();
    let second = run(shop.path(), &["serve"]);
    assert!(!second.status.success());
    assert!(words(&second).contains("stop it first"), "{}", words(&second));
    let reopen = run(shop.path(), &["audit", "reopen", "--reason", "a drill"]);
    assert!(words(&reopen).contains("stop it first"), "{}", words(&reopen));
    answer(shop.path(), &["service", "add", "backend"]);
    assert_eq!(answer(shop.path(), &["audit", "verify"])["holds"], true);
    serving.kill();
    // the lock died with the program
    answer(shop.path(), &["service", "add", "another"]);
    assert_eq!(answer(shop.path(), &["audit", "verify"])["pending"], 0);
}

#[test]
fn entries_of_the_log_are_not_for_strangers() {
    let shop = Shop::init();
    let serving = shop.serve();
    let (_, note) = serving.curl(&shop, &[], "/v1/log/checkpoint");
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    let (status, _) =
        serving.curl(&shop, &["-o", "/dev/null"], &format!("/v1/log/tile/0/000.p/{size}"));
    assert_eq!(status, 200);
    // what kind of event follows a sign-up would say who has an account
    let entries = format!("/v1/log/tile/entries/000.p/{size}");
    assert_eq!(serving.curl(&shop, &[], &entries).0, 404);
    assert_eq!(serving.curl(&shop, &[], "/v1/watch/alerts").0, 404);
    assert_eq!(serving.curl(&shop, &[], "/v1/access/services").0, 404);
}
