//! What the spine itself tells of.

crate::events! {
    room = "spine";
    /// Rows stood in the outbox that the program did not write; they were kept out of the log.
    ForgedEventsFound = "forged_events_found" {
        plain { count: u32 } sealed {} retain_days = 3650, ocsf = 2004
    }
    /// The log goes on under a new name after a restore; the old one's last known tree is named.
    LogReopened = "log_reopened" {
        plain { old_origin: String, old_size: u64, old_root: String, restored_size: u64,
            reason: String }
        sealed {} retain_days = 3650, ocsf = 3004
    }
}
