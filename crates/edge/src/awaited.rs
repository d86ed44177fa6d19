//! A caller may carry the position of the feed that it must see: what another node answered to a
//! change that it made there. Whoever lacks it waits a moment for it, and then says so rather than
//! answer by what was true before.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, HeaderName};
use tower::{Layer, Service};
use web::feed::Position;

use crate::exchange::Exchange;
use crate::refused::Refused;
use crate::stack::Decision;
use crate::state::Inner;

/// The header, in the answer that gives a position and in the request that asks for it.
pub const POSITION: HeaderName = HeaderName::from_static("x-stagedoor-position");

/// How long a request waits, and how often it looks.
const TRIES: u32 = 200;
const STEP: Duration = Duration::from_millis(5);

/// The position that a request asks for.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<Position>, Refused> {
    let Some(value) = headers.get(POSITION) else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    let detail = "X-Stagedoor-Position is not what an answer of ours gave.";
    position.map(Some).ok_or_else(|| Refused::new(400, "edge.position", detail))
}

async fn is_seen(edge: &Arc<Inner>, position: Position) -> bool {
    for _ in 0..TRIES {
        if edge.has(position) {
            return true;
        }
        tokio::time::sleep(STEP).await;
    }
    false
}

/// The layer.
pub(crate) struct Awaited;

/// The service of [`Awaited`].
#[derive(Clone)]
pub(crate) struct Awaiting<S> {
    inner: S,
}

impl<S> Layer<S> for Awaited {
    type Service = Awaiting<S>;

    fn layer(&self, inner: S) -> Awaiting<S> {
        Awaiting { inner }
    }
}

impl<S> Service<Box<Exchange>> for Awaiting<S>
where
    S: Service<Box<Exchange>, Response = Decision, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = Decision;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Decision, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, exchange: Box<Exchange>) -> Self::Future {
        let Some(position) = exchange.must_see.filter(|wanted| !exchange.edge.has(*wanted)) else {
            return Either::Left(self.inner.call(exchange));
        };
        let mut inner = self.inner.clone();
        Either::Right(Box::pin(async move {
            if is_seen(&exchange.edge, position).await {
                return inner.call(exchange).await;
            }
            let detail = "What this request builds on is not known here yet.";
            let refused = Refused::new(503, "edge.behind", detail).retry_after(1);
            Ok(Err(Box::new(exchange.refuse(refused))))
        }))
    }
}
