//! What goes on between the edge's process and core besides requests: the feed one way, what was
//! seen the other. Both are taken up again wherever core is another process than before.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::BytesMut;
use edge::Watcher;
use http_body_util::BodyExt as _;
use kernel::Clock;
use observe::traces::TraceMeters;
use tokio::sync::Notify;
use web::feed::{Accepted, Hub, Observations, Observed, STALE_AFTER_S, Update};

use super::calls::Core;
use crate::gauges;

/// A line of the feed: a snapshot with all ended sessions and blocks.
const LINE_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Until core is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often what was seen is told.
const TELL: Duration = Duration::from_secs(1);
/// Counts in one call.
const TELL_MAX: usize = 10_000;

/// Folds core's feed into the edge's own hub, for ever; `loaded` is told at the first snapshot.
pub(super) async fn feed(core: Core, hub: Hub, loaded: Arc<Notify>) {
    loop {
        match core.feed().await {
            Ok(lines) => {
                let why = fold(lines, &hub, &loaded).await;
                tracing::warn!(why, "the feed broke off; it is taken up again");
            }
            Err(fault) => tracing::debug!(%fault, "no feed yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Folds lines in until one is missing; why it ended.
async fn fold(mut lines: Body, hub: &Hub, loaded: &Notify) -> &'static str {
    let mut held = BytesMut::new();
    let silence = Duration::from_secs(STALE_AFTER_S);
    loop {
        let frame = match tokio::time::timeout(silence, lines.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_)) | None) => return "core is gone",
            Err(_) => return "core is silent",
        };
        let Ok(data) = frame.into_data() else { continue };
        let mut from = held.len();
        held.extend_from_slice(&data);
        while let Some(end) = held.iter().skip(from).position(|byte| *byte == b'\n') {
            let line = held.split_to(from.saturating_add(end).saturating_add(1));
            from = 0;
            let Ok(update) = serde_json::from_slice(&line) else { return "a line is no update" };
            match update {
                Update::Snapshot(snapshot) => {
                    hub.load(*snapshot);
                    loaded.notify_one();
                }
                Update::Delta(message) | Update::Heartbeat(message) => {
                    if hub.accept(&message) == Accepted::Gap {
                        return "a line is missing";
                    }
                }
            }
        }
        if held.len() > LINE_MAX_BYTES {
            return "a line is too long";
        }
    }
}

/// Tells core what was seen, for ever. What could not be told is kept, within bounds.
pub(super) async fn observations(core: Core, observations: Arc<Observations>) {
    loop {
        observations.ready().await;
        let Observed { mut seen, mut dropped } = observations.take();
        while dropped > 0 || !seen.is_empty() {
            let rest = seen.split_off(seen.len().min(TELL_MAX));
            let part = Observed { seen, dropped };
            (seen, dropped) = (rest, 0);
            if let Err(fault) = core.observed(&part).await {
                tracing::debug!(%fault, "what was seen could not be told");
                observations.add(part);
                observations.add(Observed { seen, dropped });
                break;
            }
        }
        tokio::time::sleep(TELL).await;
    }
}

/// Tells core how the doors stand, for ever; core answers what time it is, which is held against the
/// database's where there is a server.
pub(super) async fn tell_gauges(
    core: Core,
    clock: Arc<dyn Clock>,
    doors: Vec<(&'static str, Watcher)>,
    spans: Option<Arc<TraceMeters>>,
) {
    loop {
        let spans = spans.as_ref().map_or((0, 0), |spans| (spans.sent(), spans.dropped()));
        let asked = clock.now();
        match core.gauges(&gauges::Told::by(&doors, spans)).await {
            Ok(at) => {
                if let Some(ahead_us) = kernel::ahead_us(asked, at, clock.now()) {
                    clock.compared(ahead_us);
                }
            }
            Err(fault) => tracing::debug!(%fault, "how the doors stand could not be told"),
        }
        tokio::time::sleep(gauges::TELL).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use kernel::{Clock, SessionId, SystemClock, SystemEntropy};
    use web::feed::{Delta, PublisherId, Snapshot};

    use super::*;

    fn ended() -> Delta {
        let now = SystemClock.now();
        Delta::SessionEnded { session: SessionId::generate(now, &SystemEntropy), until: now }
    }

    /// What a hub's subscription says, as lines in pieces of 7 bytes.
    async fn lines(hub: &Hub, act: impl FnOnce(), count: usize) -> Vec<u8> {
        let mut subscription = hub.subscribe();
        let mut text = Vec::new();
        let mut act = Some(act);
        for _ in 0..count {
            let update = subscription.next().await.unwrap();
            serde_json::to_writer(&mut text, &update).unwrap();
            text.push(b'\n');
            if let Some(act) = act.take() {
                act();
            }
        }
        text
    }

    fn body(text: &[u8]) -> Body {
        let pieces: Vec<Result<Vec<u8>, std::convert::Infallible>> =
            text.chunks(7).map(|piece| Ok(piece.to_vec())).collect();
        Body::from_stream(stream::iter(pieces))
    }

    fn hub() -> Hub {
        Hub::new(Arc::new(SystemClock), Snapshot::default())
    }

    #[tokio::test]
    async fn a_feed_in_pieces_is_folded_and_a_gap_ends_it() {
        let (core, edge) = (hub(), hub());
        let publisher = core.publisher(PublisherId(7));
        let first = publisher.publish(ended());
        let mut last = first;
        let act = || {
            last = publisher.publish(ended());
            publisher.beat();
        };
        let text = lines(&core, act, 3).await;
        let loaded = Notify::new();
        assert_eq!(fold(body(&text), &edge, &loaded).await, "core is gone");
        assert!(edge.has(first) && edge.has(last));
        loaded.notified().await;
        // One more is published that this reader never sees.
        publisher.publish(ended());
        let third = publisher.publish(ended());
        let mut text = lines(
            &core,
            || {
                publisher.publish(ended());
            },
            2,
        )
        .await;
        let snapshot_end = text.iter().position(|byte| *byte == b'\n').unwrap();
        let text = text.split_off(snapshot_end + 1);
        assert_eq!(fold(body(&text), &edge, &loaded).await, "a line is missing");
        assert!(!edge.has(third));
    }
}
