//! From the log's events to what the rules see: which signal, whose client, which account.
//!
//! Rules see keyed digests only. The address itself is opened from the event's sealed origin and
//! kept beside, for the answer; an event whose sealed part is gone means nothing to the rules.

use std::net::IpAddr;

use kernel::{AccountId, SessionId, Timestamp};
use spine::{Opened, Recorded};
use vault::Vault;

use crate::engine::{Mark, Seen};
use crate::net::{client_of, neighbours_of};
use crate::rule::Signal;

/// What this room reads of the log.
pub(crate) const KINDS: &[&str] = &[
    "identity.login_failed",
    "identity.login_succeeded",
    "identity.password_refused",
    "identity.password_confirmed",
    "identity.refresh_reused",
    "identity.second_factor_refused",
    "identity.signed_up",
    "identity.sign_up_repeated",
    "identity.reset_requested",
    "spine.forged_events_found",
    "vault.keys_opened",
    "watch.limits_hit",
    spine::ACCOUNT_ERASED,
];

/// Whom an answer would meet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Target {
    pub(crate) account: Option<AccountId>,
    pub(crate) session: Option<SessionId>,
    pub(crate) address: Option<IpAddr>,
}

fn signal_of(event: &Recorded) -> Option<Signal> {
    let at_console =
        event.plain.get("client").and_then(|client| client.as_str()) == Some("console");
    match event.kind.as_str() {
        // A guess is a guess, at the door or inside a session.
        "identity.login_failed" | "identity.password_refused" if at_console => {
            Some(Signal::OperatorFailed)
        }
        "identity.login_failed" | "identity.password_refused" => Some(Signal::SignInFailed),
        "identity.login_succeeded" | "identity.password_confirmed" if at_console => {
            Some(Signal::OperatorSignedIn)
        }
        "identity.login_succeeded" | "identity.password_confirmed" => Some(Signal::SignedIn),
        "identity.refresh_reused" => Some(Signal::RefreshReused),
        "identity.second_factor_refused" => Some(Signal::CodeFailed),
        "identity.signed_up" | "identity.sign_up_repeated" => Some(Signal::SignedUp),
        "identity.reset_requested" => Some(Signal::ResetAsked),
        "spine.forged_events_found" => Some(Signal::Forged),
        "vault.keys_opened" => Some(Signal::KeysOpened),
        "watch.limits_hit" => Some(Signal::LimitHit),
        _ => None,
    }
}

fn cut([bytes @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32]) -> Mark {
    Mark(bytes)
}

/// The mark of an account.
pub(crate) fn account_mark(vault: &Vault, account: AccountId) -> Mark {
    cut(vault.blind("watch.account", account.as_bytes()))
}

/// The mark of a client.
pub(crate) fn client_mark(vault: &Vault, address: IpAddr) -> Mark {
    cut(vault.blind("watch.client", &client_of(address)))
}

fn neighbours_mark(vault: &Vault, address: IpAddr) -> Mark {
    cut(vault.blind("watch.neighbours", &neighbours_of(address)))
}

fn address_mark(vault: &Vault, email: &str) -> Mark {
    cut(vault.blind("watch.email", email.trim().to_lowercase().as_bytes()))
}

/// What an event means to the rules; none where it means nothing, or its sealed part is gone.
pub(crate) fn decode(vault: &Vault, event: &Recorded, now: Timestamp) -> Option<(Seen, Target)> {
    let signal = signal_of(event)?;
    if !matches!(event.sealed, Opened::Whole(_)) {
        return None;
    }
    let account = event.account();
    let address = match signal {
        Signal::LimitHit => event.sealed_text("client").and_then(|text| text.parse().ok()),
        Signal::SignInFailed
        | Signal::SignedIn
        | Signal::OperatorFailed
        | Signal::OperatorSignedIn
        | Signal::RefreshReused
        | Signal::SignedUp
        | Signal::ResetAsked
        | Signal::Forged
        | Signal::KeysOpened
        | Signal::CodeFailed => event.origin().address,
    };
    let known = account.map(|account| account_mark(vault, account));
    let unknown = || event.sealed_text("email").map(|email| address_mark(vault, email));
    let weighed_by = match signal {
        Signal::LimitHit => Some("count"),
        Signal::KeysOpened => Some("opened"),
        Signal::SignInFailed
        | Signal::SignedIn
        | Signal::OperatorFailed
        | Signal::OperatorSignedIn
        | Signal::RefreshReused
        | Signal::SignedUp
        | Signal::ResetAsked
        | Signal::Forged
        | Signal::CodeFailed => None,
    };
    let weight = weighed_by.and_then(|field| event.plain.get(field)?.as_u64()).unwrap_or(1);
    let seen = Seen {
        id: event.id,
        // A clock that runs ahead must not push everybody else's events out of the window.
        at: event.at.min(now),
        signal,
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
        client: address.map(|address| client_mark(vault, address)),
        neighbours: address.map(|address| neighbours_mark(vault, address)),
        account: known.or_else(unknown),
    };
    let session = event.sealed_text("session").and_then(|text| text.parse().ok());
    Some((seen, Target { account, session, address }))
}
