//! Answers: what a rule or a person asks of the room that owns a thing. Both use this one door.

use std::net::IpAddr;

use kernel::{AccountId, EventId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{About, Error, Subject, Tx};

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

/// One line for each answer: its name in events, whom it meets, and what it does in words.
macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $action:ident = $name:literal, $meets:ident, $words:literal;)+) => {
        /// What shall be done: the answers that the house knows. A new one is a line here, and an
        /// entry in `obeys` of the room that owns it.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum ActionKind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $action,)+
        }

        impl ActionKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$action),+];

            /// Its name, as in events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$action => $name,)+
                }
            }

            /// Whom it meets.
            #[must_use]
            pub const fn meets(self) -> Meets {
                match self {
                    $(Self::$action => Meets::$meets,)+
                }
            }

            /// What it does, as a person reads it.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$action => $words,)+
                }
            }
        }
    };
}

actions! {
    /// End all sessions of the account.
    EndSessions = "end_sessions", Account, "end sessions";
    /// End one session of the account, with its tokens.
    EndSession = "end_session", Session, "end the session";
    /// Ask the account for a fresh proof before anything sensitive.
    StepUp = "step_up", Account, "ask for the password";
    /// Turn away a client at the edge.
    BlockClient = "block_client", Client, "block the client";
    /// Let a client in again.
    UnblockClient = "unblock_client", Client, "unblock the client";
    /// Only tell a person.
    Alert = "alert", Nobody, "alert";
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
