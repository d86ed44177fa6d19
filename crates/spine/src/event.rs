//! Events: past tense, one struct each, with a part that the log shows and a part that is sealed.

use std::borrow::Cow;

use kernel::{AccountId, EventId, Origin, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Subject;

/// What the catalogue says of a kind of event.
#[derive(Clone, Copy, Debug)]
pub struct EventSpec {
    /// `room.what_happened`.
    pub kind: &'static str,
    /// What happened, in words.
    pub about: &'static str,
    /// Fields that stand in the clear in the log: no ids, nothing personal.
    pub plain: &'static [&'static str],
    /// Fields sealed under the subject's key.
    pub sealed: &'static [&'static str],
    /// Days until the body is deleted; its hashes stay.
    pub retain_days: u32,
    /// The OCSF class (schema.ocsf.io) that an exporter maps it to.
    pub ocsf: u32,
}

/// A kind of event. Declared by [`events!`](crate::events) only.
pub trait Event: Serialize + DeserializeOwned + Send + 'static {
    /// What the catalogue says.
    const SPEC: EventSpec;
}

/// Declares a room's events, and `EVENTS`, their catalogue.
///
/// ```
/// spine::events! {
///     room = "demo";
///     /// A thing was made.
///     ThingMade = "thing_made" {
///         plain { size: u32 } sealed { note: String } retain_days = 365, ocsf = 3001
///     }
/// }
/// assert_eq!(EVENTS.first().map(|spec| spec.kind), Some("demo.thing_made"));
/// ```
#[macro_export]
macro_rules! events {
    (room = $room:literal; $($(#[doc = $about:literal])+ $name:ident = $kind:literal {
        plain { $($plain:ident: $plain_type:ty),* $(,)? }
        sealed { $($sealed:ident: $sealed_type:ty),* $(,)? }
        retain_days = $days:literal, ocsf = $ocsf:literal $(,)?
    })+) => {
        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, $crate::private::Serialize, $crate::private::Deserialize)]
            #[serde(crate = "spine::private::serde")]
            #[allow(missing_docs, unreachable_pub, clippy::allow_attributes, reason = "fields speak")]
            pub struct $name {
                $(pub $plain: $plain_type,)*
                $(pub $sealed: $sealed_type,)*
            }

            impl $crate::Event for $name {
                const SPEC: $crate::EventSpec = $crate::EventSpec {
                    kind: ::core::concat!($room, ".", $kind),
                    about: ::core::concat!($($about),+),
                    plain: &[$(::core::stringify!($plain)),*],
                    sealed: &[$(::core::stringify!($sealed)),*],
                    retain_days: $days,
                    ocsf: $ocsf,
                };
            }
        )+

        /// The room's events.
        #[allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "for the catalogue")]
        pub const EVENTS: &[$crate::EventSpec] =
            &[$(<$name as $crate::Event>::SPEC),+];
    };
}

/// What an event is about: whose key seals it, and which thing it changed.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Whose key seals its personal part.
    pub subject: Subject,
    /// The noun of the thing that changed (`account`, `session`, `order`).
    pub aggregate: &'static str,
    /// The thing's id.
    pub aggregate_id: [u8; 16],
    /// The thing's version after the change, so that consumers can fold out of order; 0 where it
    /// has none.
    pub version: i64,
}

impl About {
    /// About an account itself.
    #[must_use]
    pub const fn account(id: AccountId, version: i64) -> Self {
        let aggregate_id = *id.as_bytes();
        Self { subject: Subject::Account(id), aggregate: "account", aggregate_id, version }
    }

    /// About a thing of an account.
    #[must_use]
    pub const fn thing_of(
        owner: AccountId,
        aggregate: &'static str,
        aggregate_id: [u8; 16],
        version: i64,
    ) -> Self {
        Self { subject: Subject::Account(owner), aggregate, aggregate_id, version }
    }

    /// About a thing of the house.
    #[must_use]
    pub const fn house(aggregate: &'static str, aggregate_id: [u8; 16], version: i64) -> Self {
        Self { subject: Subject::House, aggregate, aggregate_id, version }
    }

    /// About persons unknown, on the day of `now`.
    #[must_use]
    pub const fn unknown(now: Timestamp, aggregate: &'static str, aggregate_id: [u8; 16]) -> Self {
        Self { subject: Subject::Day(now.day()), aggregate, aggregate_id, version: 0 }
    }
}

/// The sealed part of a body once opened.
#[derive(Clone, Debug, PartialEq)]
pub enum Opened {
    /// What was sealed: the event's sealed fields, the actor and the origin.
    Whole(Map<String, Value>),
    /// The key was destroyed.
    Erased,
    /// Retention deleted the body.
    Deleted,
    /// The key is not there, and nothing says that it was destroyed: perhaps the keys' database is
    /// older than the log.
    Missing,
    /// The event is not as the program wrote it: nothing of it is shown.
    Forged,
}

impl Opened {
    /// Whether it should be readable and is not: a fault that somebody must look into.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Missing | Self::Forged)
    }
}

/// An event as it stands in the log, opened where its key still lives.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its leaf number.
    pub index: i64,
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// `room.what_happened`.
    pub kind: String,
    /// What sort of actor: `nobody`, `account`, `operator`, `service`, `system`.
    pub actor_kind: String,
    /// Whose key sealed it; none once the person's link was cut.
    pub subject: Option<Subject>,
    /// The noun of the thing that changed.
    pub aggregate: String,
    /// The thing's id.
    pub aggregate_id: [u8; 16],
    /// The thing's version after the change.
    pub version: i64,
    /// The fields in the clear; none once retention deleted the body.
    pub plain: Map<String, Value>,
    /// The sealed part.
    pub sealed: Opened,
    /// The leaf's hash.
    pub leaf: [u8; 32],
}

/// The key of the actor's name in the sealed part.
pub(crate) const ACTOR: &str = "_actor";
const ADDRESS: &str = "_address";
const AGENT: &str = "_agent";
const FINGERPRINT: &str = "_fingerprint";

impl Recorded {
    /// The event as `E`; none where it is of another kind, or its sealed part cannot be had.
    #[must_use]
    pub fn parse<E: Event>(&self) -> Option<E> {
        if self.kind != E::SPEC.kind {
            return None;
        }
        let mut fields = self.plain.clone();
        match &self.sealed {
            Opened::Whole(sealed) => fields.extend(sealed.clone()),
            Opened::Erased | Opened::Deleted | Opened::Missing if E::SPEC.sealed.is_empty() => {}
            Opened::Erased | Opened::Deleted | Opened::Missing | Opened::Forged => return None,
        }
        serde_json::from_value(Value::Object(fields)).ok()
    }

    /// A text of the sealed part by its name.
    #[must_use]
    pub fn sealed_text(&self, name: &str) -> Option<&str> {
        match &self.sealed {
            Opened::Whole(fields) => fields.get(name)?.as_str(),
            Opened::Erased | Opened::Deleted | Opened::Missing | Opened::Forged => None,
        }
    }

    /// The actor's id or name, where it can still be known.
    #[must_use]
    pub fn actor_name(&self) -> Option<&str> {
        self.sealed_text(ACTOR)
    }

    /// Where it came from, as far as it was and can still be known.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            address: self.sealed_text(ADDRESS).and_then(|text| text.parse().ok()),
            agent: self.sealed_text(AGENT).map(str::to_owned),
            fingerprint: self.sealed_text(FINGERPRINT).map(str::to_owned),
        }
    }

    /// The account it is about, where it is about one.
    #[must_use]
    pub const fn account(&self) -> Option<AccountId> {
        match self.subject {
            Some(Subject::Account(id)) => Some(id),
            Some(Subject::Day(_) | Subject::House) | None => None,
        }
    }
}

/// An event before it is written: split into what shows and what is sealed.
#[derive(Debug)]
pub(crate) struct Draft {
    pub kind: Cow<'static, str>,
    pub about: About,
    pub plain: Map<String, Value>,
    pub sealed: Map<String, Value>,
}

impl Draft {
    pub(crate) fn of<E: Event>(about: About, event: &E) -> Result<Self, serde_json::Error> {
        let mut plain = match serde_json::to_value(event)? {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let mut sealed = Map::new();
        for name in E::SPEC.sealed {
            if let Some((name, value)) = plain.remove_entry(*name) {
                sealed.insert(name, value);
            }
        }
        Ok(Self { kind: Cow::Borrowed(E::SPEC.kind), about, plain, sealed })
    }

    /// Adds who did it and from where to the sealed part.
    pub(crate) fn sign_off(&mut self, actor: String, origin: &Origin) {
        // Who tells a fact of the shop's does not say who told it.
        for name in [ACTOR, ADDRESS, AGENT, FINGERPRINT] {
            self.sealed.remove(name);
            self.plain.remove(name);
        }
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                self.sealed.insert(name.to_owned(), Value::String(value));
            }
        };
        add(ACTOR, Some(actor).filter(|name| !name.is_empty()));
        add(ADDRESS, origin.address.map(|address| address.to_string()));
        add(AGENT, origin.agent.clone());
        add(FINGERPRINT, origin.fingerprint.clone());
    }
}
