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
    /// Bodies of a kind of event from before a moment are deleted, because their time is over.
    BodiesRetired = "bodies_retired" {
        plain { of_kind: String, before_us: i64 } sealed {} retain_days = 36500, ocsf = 3004
    }
    /// Rows of an erased person were deleted from a table, as its declaration says.
    RowsErased = "rows_erased" {
        plain { table: String, rows: u64 } sealed {} retain_days = 3650, ocsf = 3004
    }
    /// Rows whose time was over were deleted from a table, as its declaration says.
    RowsRetired = "rows_retired" {
        plain { table: String, rows: u64 } sealed {} retain_days = 365, ocsf = 3004
    }
    /// The events of an erased person no longer name the person; the log's pseudonym is told.
    SubjectCut = "subject_cut" {
        plain { subject: String } sealed {} retain_days = 36500, ocsf = 3004
    }
    /// The key that signs the log was changed; the old key vouches for the new one.
    KeyChanged = "log_key_changed" {
        plain { old_key: String, new_key: String, vouched: String }
        sealed {} retain_days = 36500, ocsf = 3004
    }
    /// A consumer went past events that could not be opened: forged, or without their key.
    UnreadableEventsPassed = "unreadable_events_passed" {
        plain { consumer: String, first_leaf: i64, count: u32 }
        sealed {} retain_days = 3650, ocsf = 2004
    }
}
