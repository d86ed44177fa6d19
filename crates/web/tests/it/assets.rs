//! Assets: lasting addresses, plain names with an ETag, nothing else.

use axum::body::Body;
use http::{Request, StatusCode};

use crate::shop::{app, client};

#[tokio::test]
async fn a_hashed_address_lasts() {
    let url = app().assets.url("stagedoor.css");
    let answer = client().get(&url).await.expect(StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(answer.header("content-type"), "text/css; charset=utf-8");
    assert!(answer.body.len() <= 30_000, "one style sheet of at most 30 kB");
    let page = client().get("/form").await;
    assert!(page.body.contains(&url));
}

#[tokio::test]
async fn a_plain_name_is_asked_again() {
    let answer = client().get("/assets/live.js").await.expect(StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-cache");
    let again = Request::get("/assets/live.js").header("if-none-match", answer.header("etag"));
    let again = client().send(again.body(Body::empty()).unwrap()).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
}

#[tokio::test]
async fn nothing_else_is_there() {
    for file in ["nothing.css", "..%2fCargo.toml", "stagedoor.0000000000000000.css", "%00"] {
        let answer = client().get_json(&format!("/assets/{file}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{file}");
    }
}
