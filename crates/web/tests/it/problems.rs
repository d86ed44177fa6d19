//! W1: every refusal is one problem document, or its page.

use http::StatusCode;
use serde_json::{Value, json};
use web::testing::Answer;

use crate::shop::{app, client, client_as};

fn seen(answer: &Answer) -> Value {
    let headers: Vec<String> = ["content-type", "retry-after", "www-authenticate", "allow", "vary"]
        .iter()
        .filter(|name| answer.headers.contains_key(**name))
        .map(|name| format!("{name}: {}", answer.header(name)))
        .collect();
    json!({ "headers": headers, "body": answer.json::<Value>() })
}

#[tokio::test]
async fn every_kind_has_its_status_and_its_words() {
    let kinds = [
        ("invalid", 400),
        ("fields", 422),
        ("unauthenticated", 401),
        ("forbidden", 403),
        ("missing", 404),
        ("conflict", 409),
        ("limited", 429),
        ("unavailable", 503),
        ("broken", 500),
    ];
    let mut all = Vec::new();
    for (kind, status) in kinds {
        let answer = client().get_json(&format!("/refuse/{kind}")).await;
        assert_eq!(answer.status.as_u16(), status, "{kind}");
        all.push(seen(&answer));
    }
    insta::assert_json_snapshot!(all);
}

#[tokio::test]
async fn a_broken_part_tells_the_request_id_and_nothing_else() {
    for path in ["/refuse/broken", "/panic"] {
        let answer = client().get_json(path).await.expect(StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!answer.body.contains("disk"), "{}", answer.body);
        assert!(!answer.body.contains("secret"), "{}", answer.body);
        assert!(!answer.body.contains("internal"), "{}", answer.body);
        let id = answer.json::<Value>()["request_id"].clone();
        assert_eq!(id, answer.header("x-request-id"));
        let page = client().get(path).await.expect(StatusCode::INTERNAL_SERVER_ERROR);
        assert!(page.body.contains(page.header("x-request-id")));
        assert!(!page.body.contains("secret") && !page.body.contains("disk"));
    }
}

#[tokio::test]
async fn a_browser_gets_a_page_and_a_program_a_document() {
    let page = client().get("/refuse/fields").await.expect(StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("vary"), "Accept");
    let mut body = page.body.replace(page.header("x-request-id"), "req_0");
    for name in ["stagedoor.css", "logo.svg"] {
        body = body.replace(&app().assets.url(name), name);
    }
    insta::assert_snapshot!(body);
    assert!(!page.body.contains("<b>"), "words of a problem are escaped");
    let document = client().get_json("/refuse/fields").await;
    assert_eq!(document.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn what_is_not_routed_is_a_problem_too() {
    let missing = client().get_json("/nowhere").await.expect(StatusCode::NOT_FOUND);
    assert_eq!(missing.code(), "web.not_found");
    let method = client_as("customer").post_json("/who", &json!({})).await;
    assert_eq!(method.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!((method.code().as_str(), method.header("allow")), ("web.method", "GET,HEAD"));
}

#[tokio::test]
async fn a_refusal_of_the_framework_is_told_in_the_same_form() {
    let answer = client().post_json("/axum", &json!({ "email": "hunter2" })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.code(), "web.refused");
}

#[tokio::test]
async fn wrong_documents_name_the_field_and_the_mend() {
    let mut client = client();
    let mut all = Vec::new();
    let bodies = [
        ("/v1/orders", r#"{"amount":1}"#),
        ("/v1/orders", r#"{"email":"a","amount":"hunter2"}"#),
        ("/v1/orders", r#"{"email":"a","amount":-1}"#),
        ("/v1/orders", r#"{"email":"a","amount":1,"admin":true}"#),
        ("/v1/orders", r#"{"email":"a","amount":1} trailing"#),
        ("/v1/orders", r#"{"email":"#),
        ("/v1/orders", "\u{0}"),
        ("/v1/baskets", r#"{"items":[{"email":"a","amount":1},{"email":"b","amount":"x"}]}"#),
        ("/v1/baskets", r#"{"items":[{"email":"a"}]}"#),
    ];
    for (path, body) in bodies {
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body));
        let answer = client.send(request.unwrap()).await;
        assert!(answer.status.is_client_error(), "{body}");
        assert!(!answer.body.contains("hunter2"), "what was sent is not repeated");
        let mut document = answer.json::<Value>();
        document["request_id"] = json!("req_0");
        all.push(json!({ "sent": body, "told": document }));
    }
    insta::assert_json_snapshot!(all);
}

#[tokio::test]
async fn wrong_addresses_name_the_field_and_the_mend() {
    let cases = [
        ("/v1/accounts/nonsense", "id", "an id that begins with `usr_` is wanted"),
        ("/v1/find?since=zebra", "since", "is not what is wanted here: send a number in range"),
        ("/v1/list?limit=0", "limit", "must be 1 to 200"),
        ("/v1/list?limit=201", "limit", "must be 1 to 200"),
        ("/v1/list?after=!!", "after", "must be `next` of the page before, or left out"),
    ];
    for (path, field, detail) in cases {
        let answer = client().get_json(path).await.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let errors = answer.json::<Value>()["errors"].clone();
        assert_eq!(errors, json!([{ "field": field, "detail": detail }]), "{path}");
    }
    let fine = client().get_json("/v1/list?limit=200").await.expect(StatusCode::OK);
    assert_eq!(fine.body, "200");
}

#[tokio::test]
async fn another_media_type_is_refused() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let request = http::Request::post("/v1/orders").header("content-type", kind);
        let body = axum::body::Body::from(r#"{"email":"a","amount":1}"#);
        let answer = client().send(request.body(body).unwrap()).await;
        assert_eq!(answer.code(), "web.media_type", "{kind}");
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
