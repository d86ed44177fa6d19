//! The commands on a house that `init` made.

use crate::program::{Shop, answer, run, words};

#[test]
fn a_new_house_is_healthy_and_its_log_holds() {
    let shop = Shop::init();
    let check = answer(shop.path(), &["config", "check"]);
    assert_eq!(check["right"], true);
    let output = run(shop.path(), &["doctor"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("✓ schema"));
    assert!(words(&output).contains("! root key"), "a key file is warned of");
    let verified = answer(shop.path(), &["audit", "verify"]);
    assert_eq!(verified["holds"], true, "{verified}");
    assert!(verified["leaves"].as_u64().unwrap() >= 2);
    assert!(verified["rows"].as_u64().unwrap() >= 2);
    // once made, nothing is made over it
    let again = run(
        shop.path(),
        &[
            "init",
            "--name",
            "x",
            "--url",
            "https://x.example",
            "--upstream",
            "http://127.0.0.1:9",
            "--operator",
            "a@b.example",
        ],
    );
    assert!(!again.status.success());
    assert!(words(&again).contains("stands already"));
}

#[test]
fn a_shop_that_moves_to_another_address_keeps_its_log() {
    let shop = Shop::init();
    let keep = || {
        let kept = answer(shop.path(), &["audit", "checkpoint"]);
        std::fs::write(shop.path().join("kept"), kept["checkpoint"].as_str().unwrap()).unwrap();
        kept
    };
    let first = keep();
    for address in ["https://moved.example", "https://moved.example:9443"] {
        let text = std::fs::read_to_string(shop.config()).unwrap();
        let line = text.lines().find(|line| line.starts_with("public_url")).unwrap();
        let moved = text.replace(line, &format!("public_url = \"{address}\""));
        std::fs::write(shop.config(), moved).unwrap();
        let before = answer(shop.path(), &["audit", "checkpoint"]);
        answer(shop.path(), &["service", "add", &format!("backend-{}", address.len())]);
        let after = answer(shop.path(), &["audit", "checkpoint"]);
        assert_eq!(before["key"], after["key"]);
        assert_ne!(before["checkpoint"], after["checkpoint"], "it goes on");
        let covered = answer(shop.path(), &["audit", "verify", "--checkpoint", "kept"]);
        assert_eq!(covered["holds"], true, "{covered}");
        // What follows is true of a log that was reopened too.
        answer(shop.path(), &["audit", "reopen", "--reason", "a trial of the way back"]);
        let reopened = keep();
        assert_ne!(reopened["key"], first["key"]);
        answer(shop.path(), &["service", "add", &format!("again-{}", address.len())]);
        let covered = answer(shop.path(), &["audit", "verify", "--checkpoint", "kept"]);
        assert_eq!(covered["holds"], true, "{covered}");
    }
    let output = run(shop.path(), &["doctor"]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn a_leaked_password_cannot_be_chosen() {
    let shop = Shop::init();
    let file = |name: &str, text: &str| std::fs::write(shop.path().join(name), text).unwrap();
    file("list", "purple tractor parade\ncorrect horse battery\n");
    let built = answer(shop.path(), &["breach", "build", "leaks.bin", "--list", "list"]);
    assert_eq!(built["entries"], 2);
    file("leaked", "purple tractor parade");
    file("other", "seven kettles in violet");
    for (name, found) in [("leaked", true), ("other", false)] {
        let check = ["breach", "check", "leaks.bin", "--password-file", name];
        assert_eq!(answer(shop.path(), &check)["found"], found);
    }
    let text = std::fs::read_to_string(shop.config()).unwrap();
    let set = "\n[identity.password]\nbreached_file = \"leaks.bin\"\n";
    std::fs::write(shop.config(), text + set).unwrap();
    let add = |password: &str| {
        run(shop.path(), &["user", "add", "ada@x.example", "--password-file", password])
    };
    let refused = add("leaked");
    assert!(!refused.status.success());
    assert!(words(&refused).contains("lists of leaked passwords"), "{}", words(&refused));
    assert!(add("other").status.success(), "{}", words(&add("other")));
    // What is no such file is told with its key and its mend.
    file("leaks.bin", "purple tractor parade");
    let wrong = run(shop.path(), &["user", "list"]);
    assert!(!wrong.status.success());
    for part in ["identity.password.breached_file", "leaks.bin", "breach build"] {
        assert!(words(&wrong).contains(part), "{}", words(&wrong));
    }
    let nothing = run(shop.path(), &["breach", "build", "leaks.bin"]);
    assert!(words(&nothing).contains("name lists by --list or --hashes"));
}

#[test]
fn accounts_are_opened_locked_and_erased() {
    let shop = Shop::init();
    std::fs::write(shop.path().join("pw"), "four words make one door").unwrap();
    let opened = answer(shop.path(), &["user", "add", "ada@x.example", "--password-file", "pw"]);
    let id = opened["id"].as_str().unwrap();
    assert!(id.starts_with("usr_"));
    let taken = run(shop.path(), &["user", "add", "ADA@x.example", "--password-file", "pw"]);
    assert!(!taken.status.success());
    for args in [
        &["user", "show", "ada@x.example"][..],
        &["user", "lock", "ada@x.example", "--reason", "asked by phone"],
        &["user", "unlock", id],
        &["user", "end-sessions", id],
    ] {
        let output = run(shop.path(), args);
        assert!(output.status.success(), "{args:?}: {}", words(&output));
    }
    assert!(!run(shop.path(), &["user", "erase", id]).status.success(), "without --yes");
    assert!(run(shop.path(), &["user", "erase", id, "--yes"]).status.success());
    let gone = run(shop.path(), &["user", "show", "ada@x.example"]);
    assert!(!gone.status.success());
    let verified = answer(shop.path(), &["audit", "verify"]);
    assert_eq!(verified["holds"], true, "{verified}");
    assert!(verified["erased"].as_u64().unwrap() > 0);
}

#[test]
fn the_log_is_proved_and_exported_for_strangers() {
    let shop = Shop::init();
    let checkpoint = answer(shop.path(), &["audit", "checkpoint"]);
    let key = checkpoint["key"].as_str().unwrap();
    std::fs::write(shop.path().join("kept"), checkpoint["checkpoint"].as_str().unwrap()).unwrap();
    answer(shop.path(), &["service", "add", "backend"]);
    let covered = answer(shop.path(), &["audit", "verify", "--checkpoint", "kept"]);
    assert_eq!(covered["holds"], true);
    assert!(covered["covered_by_outside_checkpoint"].as_u64() < covered["leaves"].as_u64());
    answer(shop.path(), &["audit", "export", "out"]);
    let verify = ["audit", "verify", "--export", "out", "--key", key, "--checkpoint", "kept"];
    assert_eq!(answer(shop.path(), &verify)["holds"], true);
    // a byte of the export is changed
    let bundle = first_file(&shop.path().join("out/tile/entries"));
    let mut bytes = std::fs::read(&bundle).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let output = run(shop.path(), &verify);
    assert_eq!(output.status.code(), Some(2), "{}", words(&output));
    assert!(words(&output).contains("WRONG"));
}

fn first_file(dir: &std::path::Path) -> std::path::PathBuf {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    let first = entries.first().unwrap().clone();
    if first.is_dir() { first_file(&first) } else { first }
}

#[test]
fn routes_are_planned_applied_and_rolled_back() {
    let shop = Shop::init();
    let nothing = answer(shop.path(), &["config", "plan"]);
    assert_eq!(nothing["changes"], serde_json::json!([]));
    shop.edit("requests = 600", "requests = 700");
    let plan = answer(shop.path(), &["config", "plan"]);
    assert_eq!(plan["changes"].as_array().unwrap().len(), 1);
    let base = plan["base"].to_string();
    let applied = answer(shop.path(), &["config", "apply", "--base", &base]);
    assert_eq!(applied["revision"], 2);
    let stale = run(shop.path(), &["config", "apply", "--base", &base]);
    assert!(!stale.status.success(), "{}", words(&stale));
    let back = answer(shop.path(), &["config", "roll-back", "1"]);
    assert_eq!(back["revision"], 3);
}

#[test]
fn keys_are_listed_and_rotated() {
    let shop = Shop::init();
    let keys = answer(shop.path(), &["key", "list"]);
    assert!(keys.as_array().unwrap().len() >= 5);
    let rotated = answer(shop.path(), &["key", "rotate", "session"]);
    assert_eq!(rotated["version"], 2, "{rotated}");
    let epoch = answer(shop.path(), &["key", "rotate", "epoch"]);
    assert_eq!(epoch["epoch"], 2, "{epoch}");
    assert_eq!(answer(shop.path(), &["audit", "verify"])["holds"], true);
    let unknown = run(shop.path(), &["key", "rotate", "nothing"]);
    assert!(words(&unknown).contains("key list"));
}
