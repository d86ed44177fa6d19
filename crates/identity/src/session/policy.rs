//! When a session is over by itself, and when it is too old for what is sensitive: pure decisions.

use std::time::Duration;

use kernel::Timestamp;

/// Whether nobody used it for longer than `idle`. The last moment still counts.
pub(super) fn is_idle(used_at: Timestamp, now: Timestamp, idle: Duration) -> bool {
    now.since(used_at) > idle
}

/// Whether the password was proved within `span`, and since the account was asked to prove it
/// again.
pub(super) fn is_fresh(
    auth_at: Timestamp,
    fresh_after: Timestamp,
    now: Timestamp,
    span: Duration,
) -> bool {
    auth_at >= fresh_after && now.since(auth_at) <= span
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn idleness_begins_after_the_last_moment() {
        let used = Timestamp::from_seconds(1_000);
        assert!(!is_idle(used, used.plus(MINUTE), MINUTE));
        assert!(is_idle(used, used.plus(MINUTE).plus(Duration::from_micros(1)), MINUTE));
        // a clock that was set back ends nothing
        assert!(!is_idle(used, used.minus(MINUTE), MINUTE));
    }

    #[test]
    fn a_step_up_makes_every_earlier_proof_stale() {
        let proved = Timestamp::from_seconds(1_000);
        let now = proved.plus(Duration::from_secs(30));
        assert!(is_fresh(proved, Timestamp::default(), now, MINUTE));
        assert!(!is_fresh(proved, proved.plus(Duration::from_micros(1)), now, MINUTE));
        assert!(!is_fresh(proved, Timestamp::default(), proved.plus(MINUTE * 2), MINUTE));
    }
}
