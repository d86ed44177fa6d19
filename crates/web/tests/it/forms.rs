//! W3: a form or a document that a cookie authenticates must come from our own page.

use axum::body::Body;
use http::{Request, StatusCode};
use web::testing::{Answer, Client, ORIGIN_URL};

use crate::shop::{client, client_as};

const FIELDS: &[(&str, &str)] = &[("email", "mira@shop.example"), ("amount", "3")];

async fn post(client: &mut Client, token: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request =
        Request::post("/form").header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Body::from(format!("email=a&amount=3{token}"));
    client.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn a_form_from_our_page_is_obeyed() {
    let mut visitor = client();
    let answer = visitor.submit("/form", "/form", FIELDS).await.expect(StatusCode::OK);
    assert_eq!(answer.body, r#"{"email":"mira@shop.example","amount":3}"#);
    assert!(visitor.cookies.contains_key("__Host-stagedoor_visit"));
    let mut customer = client_as("customer");
    let _ = customer.submit("/form", "/form", FIELDS).await.expect(StatusCode::OK);
    assert_eq!(customer.cookies.len(), 1, "a session needs no visit");
}

#[tokio::test]
async fn a_missing_wrong_or_foreign_token_is_refused() {
    let own = [("origin", ORIGIN_URL)];
    let mut visitor = client();
    let page = visitor.get("/form").await;
    let token = page.csrf().unwrap();
    let flipped: String = token.chars().rev().collect();
    for wrong in [String::new(), "&csrf=".to_owned(), format!("&csrf={flipped}")] {
        let answer = post(&mut visitor, &wrong, &own).await.expect(StatusCode::FORBIDDEN);
        assert_eq!(answer.code(), "web.csrf", "{wrong}");
    }
    let good = format!("&csrf={token}");
    let _ = post(&mut visitor, &good, &own).await.expect(StatusCode::OK);

    // Another session's, another visit's, none's.
    for mut other in [client_as("customer"), visitor.another()] {
        let _ = other.get("/form").await;
        let answer = post(&mut other, &good, &own).await.expect(StatusCode::FORBIDDEN);
        assert_eq!(answer.code(), "web.csrf");
    }
    let bare = post(&mut client(), &good, &own).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(bare.code(), "web.csrf");
    // A visit's token does not outlive the sign-in.
    visitor.cookies.insert("__Host-stagedoor".to_owned(), "customer".to_owned());
    let answer = post(&mut visitor, &good, &own).await.expect(StatusCode::FORBIDDEN);
    assert_eq!(answer.code(), "web.csrf");
}

#[tokio::test]
async fn another_sites_page_is_refused_even_with_a_good_token() {
    let mut visitor = client();
    let token = format!("&csrf={}", visitor.get("/form").await.csrf().unwrap());
    let foreign: &[&[(&str, &str)]] = &[
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", ORIGIN_URL)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://shop.test")],
        &[],
    ];
    for headers in foreign {
        let answer = post(&mut visitor, &token, headers).await.expect(StatusCode::FORBIDDEN);
        assert_eq!(answer.code(), "web.cross_site", "{headers:?}");
    }
    let own = [("sec-fetch-site", "same-origin")];
    let _ = post(&mut visitor, &token, &own).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn an_unsafe_request_with_our_cookie_needs_proof_on_every_route() {
    for (method, path) in [("POST", "/v1/orders"), ("DELETE", "/v1/orders/1"), ("PUT", "/who")] {
        let mut customer = client_as("customer");
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        let answer = customer.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.code(), "web.cross_site", "{method} {path}");
    }
    let mut customer = client_as("customer");
    let request = Request::delete("/v1/orders/1").header("origin", ORIGIN_URL);
    let answer = customer.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.expect(StatusCode::OK).body, "gone");
    // A program without cookies proves nothing and needs not.
    let order = serde_json::json!({ "email": "a", "amount": 1 });
    let request = Request::post("/v1/orders").header("content-type", "application/json");
    let answer = client().send(request.body(Body::from(order.to_string())).unwrap()).await;
    let _ = answer.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_form_names_its_wrong_fields() {
    let mut visitor = client();
    let fields = [("email", "a"), ("amount", "hunter2")];
    let answer = visitor.submit("/form", "/form", &fields).await;
    let page = answer.expect(StatusCode::UNPROCESSABLE_ENTITY).body;
    assert!(page.contains("<code>amount</code>") && !page.contains("hunter2"), "{page}");
    let answer = visitor.submit("/form", "/form", &[("email", "a")]).await;
    assert!(answer.expect(StatusCode::UNPROCESSABLE_ENTITY).body.contains("<code>amount</code>"));
}

// W5
#[tokio::test]
async fn a_form_is_bounded() {
    let mut visitor = client();
    let large = "x".repeat(65 * 1024);
    let answer = visitor.submit("/form", "/form", &[("email", &large)]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let many = vec![("a", "b"); 300];
    let answer = visitor.submit("/form", "/form", &many).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
