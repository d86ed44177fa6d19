//! W5: bodies, addresses and waits have limits, with and without a stated length.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode};
use kernel::RequestId;

use crate::shop::client;

#[tokio::test(start_paused = true)]
async fn a_slow_route_is_stopped() {
    let answer = client().get_json("/sleep").await.expect(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.code(), "web.timeout");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_stopped() {
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let request = Request::post("/v1/orders").header("content-type", "application/json");
    let answer = client().send(request.body(body).unwrap()).await;
    assert_eq!(answer.code(), "web.timeout");
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let chunks = |count: usize| {
        let chunk = Bytes::from(vec![b' '; 64 * 1024]);
        Body::from_stream(stream::iter(
            (0..count).map(move |_| Ok::<_, std::io::Error>(chunk.clone())),
        ))
    };
    // No length is stated: the reader's limit, and the stack's 1 MiB for a route without one
    // (below the 2 MB of the framework itself).
    let request = Request::post("/v1/orders").header("content-type", "application/json");
    let answer = client().send(request.body(chunks(2)).unwrap()).await;
    assert_eq!(answer.expect(StatusCode::PAYLOAD_TOO_LARGE).code(), "web.too_large");
    let answer = client().send(Request::post("/raw").body(chunks(20)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    // A length that is stated is enough, and one that is no number is as bad.
    for length in ["1048577", "99999999999999999999999999", "-1", "x"] {
        let request = Request::post("/raw").header("content-length", length);
        let answer = client().send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{length}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told() {
    let parts: Vec<Result<Bytes, std::io::Error>> = vec![
        Ok(Bytes::from_static(b"{\"email\":")),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ];
    let request = Request::post("/v1/orders").header("content-type", "application/json");
    let answer = client().send(request.body(Body::from_stream(stream::iter(parts))).unwrap()).await;
    assert_eq!(answer.expect(StatusCode::BAD_REQUEST).code(), "web.body_lost");
}

#[tokio::test]
async fn a_long_address_is_refused() {
    let answer = client().get_json(&format!("/who?{}", "a".repeat(9000))).await;
    assert_eq!(answer.expect(StatusCode::URI_TOO_LONG).code(), "web.address_too_long");
}

#[tokio::test]
async fn the_listeners_request_id_is_kept() {
    let id = RequestId::from_bytes([9; 16]);
    let mut request = Request::get("/who").body(Body::empty()).unwrap();
    request.extensions_mut().insert(id);
    let answer = client().send(request).await.expect(StatusCode::OK);
    assert_eq!(answer.header("x-request-id"), id.to_string());
    assert_eq!(answer.body, "Some(192.0.2.1)");
}

#[tokio::test]
async fn a_router_without_the_stack_serves_nothing() {
    let router = axum::Router::new()
        .route("/", axum::routing::post(|_: web::Json<u8>| async { "in" }))
        .route("/who", axum::routing::get(|_: web::Visit| async { "in" }));
    let mut client = web::testing::Client::new(router);
    assert_eq!(client.post_json("/", &1).await.code(), "web.not_wired");
    assert_eq!(client.get_json("/who").await.code(), "web.not_wired");
}
