//! W2: every answer carries the security headers.

use http::StatusCode;

use crate::shop::client;

const ALWAYS: &[(&str, &str)] = &[
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("strict-transport-security", "max-age=31536000"),
];

#[tokio::test]
async fn every_answer_carries_them() {
    let paths = ["/form", "/who", "/nowhere", "/refuse/broken", "/panic", "/mine", "/v1/list"];
    for path in paths {
        for answer in [client().get(path).await, client().get_json(path).await] {
            for (name, value) in ALWAYS {
                assert_eq!(answer.header(name), *value, "{path}");
            }
            let policy = answer.header("content-security-policy");
            for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert!(answer.header("x-request-id").starts_with("req_"), "{path}");
            assert!(!answer.header("permissions-policy").is_empty(), "{path}");
        }
    }
}

#[tokio::test]
async fn without_tls_no_promise_of_tls() {
    let mut client = client();
    client.facts.https = false;
    let answer = client.get("/who").await.expect(StatusCode::OK);
    assert_eq!(answer.header("strict-transport-security"), "");
}

#[tokio::test]
async fn pages_have_nothing_inline() {
    for path in ["/form", "/nowhere"] {
        let page = client().get(path).await;
        for inline in ["<style", "style=", "<script>", " onclick", "javascript:"] {
            assert!(!page.body.contains(inline), "{path} has {inline}");
        }
    }
}
