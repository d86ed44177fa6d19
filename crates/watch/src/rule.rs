//! What a rule is: data that says which events count, for whom, how many within how long are too
//! many, and what is asked for then. Rules have no code of their own, so that a rule can be shown,
//! tuned, replayed over history and tested like any value.

use spine::ActionKind;

spine::words! {
    /// How much an alert matters.
    pub Severity {
        /// Worth a look this week.
        Low = "low",
        /// Worth a look today.
        Medium = "medium",
        /// Worth a look now.
        High = "high",
        /// Wakes somebody.
        Critical = "critical",
    }
}

/// What an event means to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// A sign-in was refused at the shop or the app.
    SignInFailed,
    /// A sign-in at the shop or the app.
    SignedIn,
    /// A sign-in was refused at the operators' console.
    OperatorFailed,
    /// An operator signed in.
    OperatorSignedIn,
    /// A refresh token was used twice.
    RefreshReused,
    /// A visitor opened an account, or tried to with a known address.
    SignedUp,
    /// A password reset was asked for.
    ResetAsked,
    /// The edge refused requests over a limit; weighs as many as it refused.
    LimitHit,
    /// Rows stood in the outbox that the program did not write.
    Forged,
    /// The keyholder's process opened persons' keys; weighs as many as it opened.
    KeysOpened,
    /// A code of a second factor was wrong: whoever tries it knows the password.
    CodeFailed,
}

impl Signal {
    /// All of them; a signal's place here is its number.
    pub const ALL: [Self; 11] = [
        Self::SignInFailed,
        Self::SignedIn,
        Self::OperatorFailed,
        Self::OperatorSignedIn,
        Self::RefreshReused,
        Self::SignedUp,
        Self::ResetAsked,
        Self::LimitHit,
        Self::Forged,
        Self::KeysOpened,
        Self::CodeFailed,
    ];
}

spine::words! {
    /// What a rule counts by.
    pub Key {
        /// One client: an IPv4 address, an IPv6 /64.
        Client = "client",
        /// A client's neighbourhood: an IPv4 /24, an IPv6 /48.
        Neighbours = "neighbours",
        /// One account, or one e-mail address that has none.
        Account = "account",
        /// One account from one client.
        Pair = "pair",
        /// The whole house.
        House = "house",
    }
}

spine::words! {
    /// What a rule counts.
    pub Measure {
        /// Events, with their weight.
        Events = "events",
        /// Different accounts.
        Accounts = "accounts",
        /// Different clients.
        Clients = "clients",
    }
}

spine::words! {
    /// Which event lets a rule fire once its threshold is met.
    pub Trigger {
        /// A bad one.
        Bad = "bad",
        /// A good one that follows: what was tried has worked.
        Good = "good",
    }
}

/// A built-in rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, in configuration, events and counters. Never reused for another meaning.
    pub name: &'static str,
    /// What it finds, in words.
    pub words: &'static str,
    /// The technique of MITRE ATT&CK that it answers.
    pub attack: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What counts.
    pub bad: &'static [Signal],
    /// What speaks for the client, or, with [`Trigger::Good`], completes the attack. A good event
    /// of an account takes that account out of the count of bad ones: its owner mistyped.
    pub good: &'static [Signal],
    /// By what it counts.
    pub key: Key,
    /// What it counts.
    pub measure: Measure,
    /// When it fires.
    pub trigger: Trigger,
    /// How many within the window are too many.
    pub threshold: u32,
    /// The window, s.
    pub window_s: u32,
    /// The least part of all that must be bad, percent; 0 where it does not matter. This is what
    /// lets a carrier's NAT with many honest people through.
    pub share_percent: u32,
    /// From so many bad on, the share excuses nothing: an attacker could sign in to own accounts to
    /// look honest. 0 where nothing is beyond excuse.
    pub excuse_max: u32,
    /// What is asked for. Empty: an alert only.
    pub answers: &'static [ActionKind],
    /// Answers within one hour of the clock; over it, alerts only.
    pub budget_per_hour: u32,
    /// The life of an answer, s; for the same time the same key is not answered again.
    pub answer_ttl_s: u32,
}
