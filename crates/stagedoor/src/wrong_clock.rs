//! A node whose clock is off changes nothing: it would judge the age of tokens, links and refreshes by
//! a wrong time, and take honest people for thieves. It goes on to read, and others serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use kernel::Kind;
use web::Problem;

/// The same routes, which refuse changes while the clock is off.
pub(crate) fn refused(router: Router, is_off: &Arc<AtomicBool>) -> Router {
    router.layer(from_fn_with_state(Arc::clone(is_off), refuse))
}

async fn refuse(State(is_off): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || !is_off.load(Ordering::Relaxed) {
        return next.run(request).await;
    }
    let detail = "This node's clock is wrong, so it changes nothing now; try again in a moment.";
    Problem::new(Kind::Unavailable, "web.wrong_clock", detail).into_response()
}
