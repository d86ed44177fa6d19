//! Wrong configuration and wrong circumstances: a clear error that names file, key and mend.

use crate::program::{Shop, run, words};

fn refused(shop: &Shop, args: &[&str], expected: &[&str]) {
    let output = run(shop.path(), args);
    let said = words(&output);
    assert!(!output.status.success(), "{args:?} went through: {said}");
    for part in expected {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn configuration_errors_name_file_key_and_mend() {
    let missing = tempfile::TempDir::new().unwrap();
    let output = run(missing.path(), &["serve"]);
    assert!(words(&output).contains("stagedoor init"), "{}", words(&output));

    let shop = Shop::init();
    let original = std::fs::read_to_string(shop.config()).unwrap();
    let cases: [(&str, &str, &[&str]); 12] = [
        ("[shop]", "[shop]\nnaem = 1", &["stagedoor.toml:", "naem", "docs config"]),
        ("mode = \"test\"", "mode = \"live\"", &["identity.mail.to", "live"]),
        ("public_url = \"https://localhost\"", "public_url = \"localhost\"", &["shop.public_url"]),
        ("upstream = \"shop\"", "upstream = \"shpo\"", &["shpo"]),
        ("requests = 600", "requests = \"many\"", &["stagedoor.toml:", "requests", "string"]),
        ("header_key = \"shop\"", "header_key = \"none\"", &["header_key"]),
        ("[listen]", "[listen", &["stagedoor.toml:"]),
        (
            "address = \"http://127.0.0.1:9\"",
            "address = \"https://127.0.0.1:9\"\ntls = \"inside\"",
            &["[[upstream]] \"shop\": tls", "[[upstream_tls]]"],
        ),
        (
            "address = \"http://127.0.0.1:9\"",
            "address = \"http://127.0.0.1:9\"\nserver_name = \"shop.internal\"",
            &["[[upstream]] \"shop\": server_name", "https://"],
        ),
        (
            "[listen]",
            "[[upstream_tls]]\nid = \"inside\"\nca_file = \"none.pem\"\n[listen]",
            &["[[upstream_tls]] \"inside\": ca_file", "none.pem cannot be read"],
        ),
        (
            "[listen]",
            "[[upstream_tls]]\nid = \"inside\"\nca_file = \"stagedoor.toml\"\n[listen]",
            &["[[upstream_tls]] \"inside\"", "no certificate"],
        ),
        (
            "[listen]",
            "[[tls.more]]\ncert_file = \"a.crt\"\nkey_file = \"a.key\"\n[listen]",
            &["tls.more: needs cert_file and key_file"],
        ),
    ];
    for (from, to, expected) in cases {
        let text = original.replacen(from, to, 1);
        assert_ne!(text, original, "{from}");
        std::fs::write(shop.config(), text).unwrap();
        refused(&shop, &["config", "check"], expected);
        refused(&shop, &["serve"], &[]);
    }
}

#[test]
fn lost_and_foreign_parts_are_told() {
    let shop = Shop::init();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    shop.edit("public = \"127.0.0.1:0\"", &format!("public = \"{address}\""));
    refused(&shop, &["serve"], &[&address]);
    // keys of another house
    let keys = shop.path().join("var/keys/root.key");
    let kept = std::fs::read(&keys).unwrap();
    std::fs::remove_file(&keys).unwrap();
    refused(&shop, &["audit", "verify"], &["root key"]);
    std::fs::write(&keys, b"nonsense").unwrap();
    refused(&shop, &["audit", "verify"], &[]);
    std::fs::write(&keys, kept).unwrap();
    // a database that is none
    let data = shop.path().join("var/data.db");
    std::fs::write(&data, b"this is not a database, whatever its name says").unwrap();
    refused(&shop, &["audit", "verify"], &[]);
    let doctor = run(shop.path(), &["doctor"]);
    assert_eq!(doctor.status.code(), Some(1), "{}", words(&doctor));
    assert!(words(&doctor).contains('✗'));
}

#[test]
fn an_init_that_fails_leaves_nothing_in_the_way_of_the_next() {
    let dir = tempfile::TempDir::new().unwrap();
    let init = |url, operator| {
        let fixed = ["init", "--name", "Shop", "--upstream", "http://127.0.0.1:9"];
        run(dir.path(), &[&fixed[..], &["--url", url, "--operator", operator]].concat())
    };
    let wrong = init("http://shop.example", "ops@shop.example");
    assert!(words(&wrong).contains("shop.public_url"), "{}", words(&wrong));
    let nobody = init("https://shop.example", "nobody");
    assert!(!nobody.status.success());
    assert!(words(&nobody).contains("email: "), "names the field: {}", words(&nobody));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let right = init("https://shop.example", "ops@shop.example");
    assert!(right.status.success(), "{}", words(&right));
}
