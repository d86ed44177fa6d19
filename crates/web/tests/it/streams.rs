//! Live streams carry the headers of the house and end with their session.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use web::testing::{self, Client, Nobody};
use web::{App, Event};

#[tokio::test(start_paused = true)]
async fn a_stream_ends_within_the_hour() {
    let open = |app: App| async move {
        let events = stream::iter([Event::default().data("one")]).chain(stream::pending());
        app.streams.open(events, std::future::pending())
    };
    let router = Router::new().route("/events", get(open));
    let mut client = Client::new(web::serve_stack(router, testing::app(Arc::new(Nobody))));
    let began = tokio::time::Instant::now();
    let answer = client.get("/events").await.expect(StatusCode::OK);
    assert!(began.elapsed().as_secs() <= 3_601);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.body.starts_with("data: one\n\n"));
    assert!(answer.body.matches("\n:").count() > 200, "kept alive every 15 s");
}
