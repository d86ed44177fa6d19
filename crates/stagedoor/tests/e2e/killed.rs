//! kill -9 while people sign up and the shop tells facts: what was answered is there, nothing is
//! there twice, the log verifies, and the next start goes on.

use serde_json::json;

use crate::program::{Shop, answer};

#[test]
fn what_was_answered_survives_kill_9() {
    let shop = Shop::init();
    let key = answer(shop.path(), &["service", "add", "backend"])["key"].clone();
    let bearer = format!("authorization: Bearer {}", key.as_str().unwrap());
    let mut told = 0_u64;
    for round in 0..3 {
        let serving = shop.serve();
        for number in 0..8 {
            let fact = json!({ "facts": [{
                "id": format!("{round}-{number}"), "kind": "order.paid", "customer": "c-1",
                "fields": { "order": format!("{round}{number}"), "amount_minor": 100,
                    "currency": "EUR" },
            }]});
            let body = fact.to_string();
            let args =
                ["-X", "POST", "-H", &bearer, "-H", "content-type: application/json", "-d", &body];
            let (status, words) = serving.curl(&shop, &args, "/v1/facts");
            assert!((200..300).contains(&status), "{status} {words}");
            told += 1;
        }
        serving.kill();
        let verified = answer(shop.path(), &["audit", "verify"]);
        assert_eq!(verified["holds"], true, "round {round}: {verified}");
    }
    let serving = shop.serve();
    let (status, _) = serving.curl(&shop, &[], "/v1/log/checkpoint");
    assert_eq!(status, 200);
    assert_eq!(serving.stop(), Some(0));
    let export = shop.path().join("out");
    answer(shop.path(), &["audit", "export", export.to_str().unwrap()]);
    let verified = answer(shop.path(), &["audit", "verify"]);
    assert_eq!(verified["pending"], 0);
    let others = verified["leaves"].as_u64().unwrap() - told;
    assert!(others < 20, "{told} facts were told, and {others} other events are there");
}

#[test]
fn it_stops_in_order_and_starts_fast() {
    let shop = Shop::init();
    let serving = shop.serve();
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.id())).unwrap();
    assert!(status.contains("VmRSS"));
    let (status, page) = serving.curl(&shop, &[], "/auth/sign-in");
    assert_eq!(status, 200);
    assert!(page.contains("Sign in"));
    // the upstream of this house is a closed port
    let (status, problem) = serving.curl(&shop, &[], "/");
    assert_eq!(status, 502, "{problem}");
    let (status, _) = serving.curl(&shop, &[], "/checkout");
    assert_eq!(status, 401);
    assert_eq!(serving.stop(), Some(0));
}
