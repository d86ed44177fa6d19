//! Tells who changed something where on the feed that stands: with it, another node answers only once
//! it knows of the change.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use edge::POSITION;
use http::HeaderValue;
use web::feed::{Hub, Position, PublisherId};

use crate::house::House;

#[derive(Clone)]
struct Place {
    hub: Hub,
    publisher: PublisherId,
}

/// The same routes, whose answers to changes carry the position.
pub(crate) fn told(router: Router, house: &House) -> Router {
    let place = Place { hub: house.hub.clone(), publisher: house.publisher.id() };
    router.layer(from_fn_with_state(place, tell))
}

async fn tell(State(place): State<Place>, request: Request, next: Next) -> Response {
    let safe = request.method().is_safe();
    let mut response = next.run(request).await;
    // Whatever the request published, it did before it was answered.
    let number = place.hub.number(place.publisher).unwrap_or(0);
    let position = Position { publisher: place.publisher, number };
    if !safe && let Ok(value) = HeaderValue::from_str(&position.to_string()) {
        response.headers_mut().insert(POSITION, value);
    }
    response
}
