//! Live updates to pages and programs: server-sent events (WHATWG HTML section 9.2), bounded in
//! number and in time (W5), and closed when the session that opened them ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

pub use axum::response::sse::Event;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use http::HeaderValue;
use kernel::Kind;
use tokio::sync::Semaphore;

use crate::{Problem, texts};

/// Open streams of one process, where the wiring says nothing else.
const DEFAULT_STREAMS: usize = 1_000;
/// The browser opens it again by itself.
const MAX_LIFE: Duration = Duration::from_secs(3_600);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The open streams of this process, counted.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self::at_most(DEFAULT_STREAMS)
    }
}

impl Streams {
    /// At most so many open at once.
    #[must_use]
    pub fn at_most(streams: usize) -> Self {
        Self(Arc::new(Semaphore::new(streams)))
    }

    /// Answers with a stream of events, kept alive every 15 s, until it ends by itself, `ended`
    /// resolves (the session's end), or an hour has passed.
    ///
    /// # Errors
    /// [`Kind::Unavailable`] where too many are open.
    pub fn open<S, F>(&self, events: S, ended: F) -> Result<Response, Problem>
    where
        S: Stream<Item = Event> + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let permit = self.0.clone().try_acquire_owned().map_err(|_| {
            Problem::new(Kind::Unavailable, "web.streams_full", texts::STREAMS_FULL)
        })?;
        let over = Box::pin(async move {
            // Either end is an end; a timeout is not an error here.
            let _ = tokio::time::timeout(MAX_LIFE, ended).await;
        });
        let events = events.take_until(over).map(move |event| {
            let _held = &permit;
            Ok::<_, Infallible>(event)
        });
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("");
        let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
        // nginx would keep the events back otherwise.
        response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    // W5
    #[tokio::test]
    async fn streams_are_counted_and_given_back() {
        let streams = Streams::at_most(1);
        let never = || std::future::pending::<()>();
        let first = streams.open(stream::pending(), never()).unwrap();
        assert_eq!(
            streams.open(stream::pending(), never()).unwrap_err().code(),
            "web.streams_full"
        );
        drop(first);
        assert!(streams.open(stream::pending(), never()).is_ok());
    }

    #[tokio::test]
    async fn the_end_of_the_session_ends_the_stream() {
        let streams = Streams::default();
        let events = stream::iter([Event::default().data("one")]).chain(stream::pending());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let response = streams.open(events, async { ended.await.unwrap_or_default() }).unwrap();
        end.send(()).unwrap();
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        assert!(body.len() < 32);
    }
}
