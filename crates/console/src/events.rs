//! What the console itself tells of: looks at personal data, reasons, checks of the log.

use kernel::EventId;
use serde::{Deserialize, Serialize};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revealed {
    /// The sealed part of an event.
    Event,
    /// Name, address and places of an account.
    Account,
}

spine::events! {
    room = "console";
    /// An operator looked at personal data in the clear.
    PersonalDataRevealed = "personal_data_revealed" {
        plain { what: Revealed, kind: String } sealed { event: Option<EventId>, reason: String }
        retain_days = 2555, ocsf = 6005
    }
    /// An operator gave the reason for what they did next.
    ReasonGiven = "reason_given" {
        plain { act: String } sealed { reason: String } retain_days = 2555, ocsf = 3004
    }
    /// An operator had the whole log and every fact row checked against it.
    LogVerified = "log_verified" {
        plain { holds: bool, size: u64, rows: u64, faults: u64, covered: u64, pending: u64 }
        sealed { } retain_days = 2555, ocsf = 2003
    }
}
