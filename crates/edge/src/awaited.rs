//! A caller may carry the position of the feed that it must see: what another node answered to a
//! change that it made there. Whoever lacks it waits a moment for it, and then says so rather than
//! answer by what was true before.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use web::feed::Position;

use crate::exchange::Exchange;
use crate::refused::Refused;
use crate::state::Inner;
use crate::step::Wait;

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

/// Whether this edge has seen the position that the caller carries.
#[derive(Clone, Copy)]
pub(crate) struct Awaited;

impl Wait for Awaited {
    type Work = Position;

    fn look(self, exchange: &mut Exchange) -> Result<Option<Position>, Refused> {
        Ok(exchange.must_see.filter(|wanted| !exchange.edge.has(*wanted)))
    }

    async fn settle(wanted: Position, exchange: &mut Exchange) -> Result<(), Refused> {
        if is_seen(&exchange.edge, wanted).await {
            return Ok(());
        }
        let detail = "What this request builds on is not known here yet.";
        Err(Refused::new(503, "edge.behind", detail).retry_after(1))
    }
}
