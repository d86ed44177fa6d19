//! How fast a client must take what it asked for. Only while something waits for it: a stream that
//! has nothing to say may be silent for as long as it likes.

use std::time::Duration;

use tokio::time::Instant;

use crate::bounds::Bounds;

/// The pace of one client, or of one of its streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uptake {
    window: Duration,
    min_bytes: u64,
    /// When the window ends that is under way, while something waits.
    by: Option<Instant>,
    /// What was taken when it began.
    from: u64,
}

impl Uptake {
    pub(crate) const fn new(bounds: &Bounds) -> Self {
        Self {
            window: Duration::from_millis(bounds.write_idle_ms),
            min_bytes: bounds.write_min_bytes,
            by: None,
            from: 0,
        }
    }

    /// Everything was taken.
    pub(crate) const fn caught_up(&mut self) {
        self.by = None;
    }

    /// Something waits for the client, who has taken so many bytes in all: begins a window where
    /// none is under way.
    pub(crate) fn waits(&mut self, taken: u64) {
        if self.by.is_none() {
            self.by = Some(Instant::now() + self.window);
            self.from = taken;
        }
    }

    /// When to ask whether it is late.
    pub(crate) const fn by(&self) -> Option<Instant> {
        self.by
    }

    /// Whether too little was taken in a window that has ended; otherwise the next one begins.
    pub(crate) fn is_late(&mut self, taken: u64) -> bool {
        let now = Instant::now();
        if self.by.is_none_or(|by| now < by) {
            return false;
        }
        if taken.saturating_sub(self.from) < self.min_bytes {
            return true;
        }
        self.by = Some(now + self.window);
        self.from = taken;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // E4
    #[tokio::test(start_paused = true)]
    async fn each_window_must_bring_enough() {
        let bounds = Bounds { write_idle_ms: 1_000, write_min_bytes: 100, ..Bounds::default() };
        let mut uptake = Uptake::new(&bounds);
        let second = Duration::from_millis(1_001);
        uptake.waits(10);
        assert!(!uptake.is_late(10));
        tokio::time::advance(second).await;
        assert!(!uptake.is_late(110), "enough");
        uptake.waits(150);
        tokio::time::advance(second).await;
        assert!(uptake.is_late(209), "99 in the second window");
        uptake.caught_up();
        tokio::time::advance(second).await;
        assert!(!uptake.is_late(209), "nothing waits");
    }
}
