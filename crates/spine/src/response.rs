//! Answers: what a rule or a person asks of the room that owns a thing. Both use this one door.

use std::net::IpAddr;

use kernel::{AccountId, EventId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{About, Error, Subject, Tx};

/// What shall be done: the answers that the house knows. A new one is a variant here, with its
/// words and whom it meets, and an entry in `obeys` of the room that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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

/// Whom an answer meets: what must be known before it can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// An account.
    Account,
    /// A session of an account.
    Session,
    /// A client's address.
    Client,
    /// Nobody: it only tells.
    Nobody,
}

impl ActionKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::EndSessions,
        Self::EndSession,
        Self::StepUp,
        Self::BlockClient,
        Self::UnblockClient,
        Self::Alert,
    ];

    /// Its name, as in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndSessions => "end_sessions",
            Self::EndSession => "end_session",
            Self::StepUp => "step_up",
            Self::BlockClient => "block_client",
            Self::UnblockClient => "unblock_client",
            Self::Alert => "alert",
        }
    }

    /// Whom it meets.
    #[must_use]
    pub const fn meets(self) -> Meets {
        match self {
            Self::EndSessions | Self::StepUp => Meets::Account,
            Self::EndSession => Meets::Session,
            Self::BlockClient | Self::UnblockClient => Meets::Client,
            Self::Alert => Meets::Nobody,
        }
    }

    /// What it does, as a person reads it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::EndSessions => "end sessions",
            Self::EndSession => "end the session",
            Self::StepUp => "ask for the password",
            Self::BlockClient => "block the client",
            Self::UnblockClient => "unblock the client",
            Self::Alert => "alert",
        }
    }
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
    /// A request that is in earnest and names nobody yet.
    #[must_use]
    pub fn new(action: ActionKind, rule: &str, reason: impl Into<String>) -> Self {
        Self {
            action,
            rule: rule.to_owned(),
            reason: reason.into(),
            dry_run: false,
            account: None,
            session: None,
            address: None,
            until: None,
        }
    }

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
