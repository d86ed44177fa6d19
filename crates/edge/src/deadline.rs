//! A timer that is cheap to push back: most deadlines are never reached, so a later one only
//! costs a store, and the timer itself is moved when it must fire earlier or has fired early.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// One timer for many deadlines, one after the other.
#[derive(Debug)]
pub(crate) struct Deadline(Pin<Box<Sleep>>);

impl Deadline {
    /// A timer whose first deadline is `by`.
    pub(crate) fn new(by: Instant) -> Self {
        Self(Box::pin(tokio::time::sleep_until(by)))
    }

    /// Ready once `by` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, by: Instant) -> Poll<()> {
        if by < self.0.deadline() {
            self.0.as_mut().reset(by);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= by {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_move_both_ways() {
        let start = Instant::now();
        let mut timer = Deadline::new(start + Duration::from_secs(10));
        let by = start + Duration::from_secs(20);
        poll_fn(|cx| timer.poll(cx, by)).await;
        assert_eq!(Instant::now(), by);
        let mut timer = Deadline::new(start + Duration::from_secs(90));
        let by = start + Duration::from_secs(30);
        poll_fn(|cx| timer.poll(cx, by)).await;
        assert_eq!(Instant::now(), by);
    }
}
