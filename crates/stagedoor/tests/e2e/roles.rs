//! A house on two PostgreSQL databases as a role that may only what its statements need.

use store::{Db, Options};

use crate::program::{Shop, answer, run, words};

/// Runs a statement as the server's superuser.
fn order(url: &str, text: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::open(&Options::new(url)).await.unwrap();
        let mut reader = db.read().await.unwrap();
        for text in ["SET default_transaction_read_only = off", text.leak()] {
            reader.rows(text, Vec::new()).await.unwrap();
        }
        drop(reader);
        db.close().await;
    });
}

fn as_role(url: &str, role: &str) -> String {
    let (_, place) = url.rsplit_once('@').unwrap();
    format!("postgres://{role}@{place}")
}

fn house(data: &str, keys: &str, role: &str) {
    let shop = Shop::init_with(&["--database", data, "--keys-database", keys]);
    let doctor = words(&run(shop.path(), &["doctor"]));
    assert!(doctor.contains("! database role"), "{doctor}");
    // Before the grants there is no way in.
    let printed = words(&run(shop.path(), &["database", "grants", "--core", role]));
    let leaf = format!("GRANT SELECT, INSERT, UPDATE (body, subject) ON spine_leaf TO {role};");
    assert!(printed.contains(&leaf), "{printed}");
    shop.edit(data, &as_role(data, role));
    shop.edit(keys, &as_role(keys, role));
    assert!(!run(shop.path(), &["user", "list"]).status.success());
    let owners = ["--owner", data, "--keys-owner", keys];
    let grants = ["database", "grants", "--apply", "--core", role];
    answer(shop.path(), &[&grants[..], &owners].concat());
    let doctor = words(&run(shop.path(), &["doctor"]));
    assert!(doctor.contains("✓ database role"), "{doctor}");
    assert!(doctor.contains("✓ schema"), "{doctor}");

    // Everyday life.
    shop.customer("ada@x.example");
    shop.customer("bob@x.example");
    let (serving, service) = (shop.serve(), shop.service());
    serving.sign_in(&shop, "ada@x.example");
    assert_eq!(serving.tell(&shop, &service, "order-1").0, 200);
    let wrong = serde_json::json!({ "email": "bob@x.example", "password": "not this one at all" });
    assert_eq!(serving.post(&shop, &[], ("/v1/sign-in", &wrong)).0, 401);
    answer(shop.path(), &["config", "apply"]);
    answer(shop.path(), &["user", "lock", "bob@x.example", "--reason", "asked by phone"]);
    answer(shop.path(), &["key", "rotate", "session"]);
    answer(shop.path(), &["user", "erase", "ada@x.example", "--yes"]);
    assert_eq!(answer(shop.path(), &["key", "rotate", "epoch"])["epoch"], 2);
    assert_eq!(serving.stop(), Some(0));
    shop.verified();
    assert!(!shop.log().contains("permission denied"), "{}", shop.log());
    assert!(!shop.log().contains("upkeep failed"), "{}", shop.log());

    // The schema is the owner's.
    let migrated = answer(shop.path(), &[&["migrate"][..], &owners].concat());
    assert_eq!(migrated["steps"], serde_json::json!([]));
}

#[test]
fn a_house_lives_as_a_role_that_may_only_what_it_needs() {
    testkit::with_postgres(|data| {
        testkit::with_postgres(|keys| {
            let role = format!("sd_house_{}", std::process::id());
            order(data, format!("CREATE ROLE {role} LOGIN"));
            house(data, keys, &role);
            for url in [data, keys] {
                order(url, format!("DROP OWNED BY {role}"));
            }
            order(data, format!("DROP ROLE {role}"));
        });
    });
}
