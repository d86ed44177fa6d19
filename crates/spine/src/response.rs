//! Answers: what a rule or a person asks of the room that owns a thing. Both use this one door.

use std::net::IpAddr;

use kernel::{AccountId, EventId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{About, Error, Subject, Tx};

/// What shall be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// End all sessions of the account.
    EndSessions,
    /// End one session of the account, with its tokens.
    EndSession,
    /// Ask the account for a fresh proof before anything sensitive.
    StepUp,
    /// Turn away a client at the edge.
    BlockClient,
    /// Let a client in again.
    UnblockClient,
    /// Only tell a person.
    Alert,
}

crate::events! {
    room = "watch";
    /// A rule or a person asked for an answer; with `dry_run`, it is only told what would be asked.
    ResponseRequested = "response_requested" {
        plain { action: ActionKind, rule: String, reason: String, dry_run: bool }
        sealed {
            account: Option<AccountId>, session: Option<SessionId>, address: Option<IpAddr>,
            until: Option<Timestamp>
        }
        retain_days = 365, ocsf = 2004
    }
}

impl ResponseRequested {
    /// Asks for it, in the transaction of what led to it. The owner room reads it from the log.
    ///
    /// # Errors
    /// As [`Tx::emit`]: the key of the account, or of the day, must have been resolved.
    pub fn request(self, tx: &mut Tx) -> Result<EventId, Error> {
        let about = match self.account {
            Some(account) => About::account(account, 0),
            None => About {
                subject: Subject::Day(tx.ctx().now.day()),
                aggregate: "client",
                aggregate_id: [0; 16],
                version: 0,
            },
        };
        tx.emit(about, self)
    }
}
