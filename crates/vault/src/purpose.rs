//! What the installation's own keys are for, and which of their versions is in use at a moment.

use kernel::Timestamp;
use serde::Serialize;

/// What a key of the installation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Seals what belongs to no person ([`spine::Subject::House`]).
    Field,
    /// Pseudonyms of ids in the exported log. Never rotated.
    Pseudonym,
    /// Blind indexes. Never rotated in place: an index is made anew by its room.
    Blind,
    /// Keyed digests of secrets and cursors ([`crate::Vault::mac`]).
    Mac,
    /// Signs the short session tokens that the edge checks.
    Session,
    /// Signs access tokens.
    Access,
    /// Signs the log's checkpoints.
    Checkpoint,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Field,
        Self::Pseudonym,
        Self::Blind,
        Self::Mac,
        Self::Session,
        Self::Access,
        Self::Checkpoint,
    ];

    /// Its name in the key database, at the command line and in `key list`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Pseudonym => "pseudonym",
            Self::Blind => "blind",
            Self::Mac => "mac",
            Self::Session => "session",
            Self::Access => "access",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// The purpose of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    /// Whether its keys sign, and so have a public half.
    #[must_use]
    pub const fn signs(self) -> bool {
        match self {
            Self::Session | Self::Access | Self::Checkpoint => true,
            Self::Field | Self::Pseudonym | Self::Blind | Self::Mac => false,
        }
    }

    /// Whether `rotate` may give it a new version. Pseudonyms and blind indexes are compared with
    /// what was stored long ago, so a new key would make them all strangers.
    #[must_use]
    pub const fn rotates(self) -> bool {
        match self {
            Self::Pseudonym | Self::Blind => false,
            Self::Field | Self::Mac | Self::Session | Self::Access | Self::Checkpoint => true,
        }
    }

    /// Whether old versions end. Those that open or compare what was stored never do.
    #[must_use]
    pub const fn retires(self) -> bool {
        match self {
            Self::Session | Self::Access => true,
            Self::Field | Self::Pseudonym | Self::Blind | Self::Mac | Self::Checkpoint => false,
        }
    }
}

/// Where a version stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Published, but not used before its beginning.
    Next,
    /// Used for all that is new.
    Current,
    /// Opens and verifies what it made; makes nothing new.
    Retiring,
    /// Its end has come.
    Retired,
}

/// The life of one version, as its row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) version: u32,
    pub(crate) not_before: Timestamp,
    pub(crate) retire_at: Option<Timestamp>,
}

/// The place in `lives` of the version to use at `now`: the newest that has begun.
///
/// Where none has begun (a clock that was set back), the oldest is used: a vault that stops
/// sealing because of a clock would be the worse fault.
pub(crate) fn current(lives: &[Life], now: Timestamp) -> Option<u32> {
    let begun = lives.iter().filter(|life| life.not_before <= now);
    let newest = begun.max_by_key(|life| life.version);
    newest.or_else(|| lives.iter().min_by_key(|life| life.version)).map(|life| life.version)
}

/// Where a version stands at `now`.
pub(crate) fn phase(life: &Life, current: u32, now: Timestamp) -> Phase {
    if life.version == current {
        return Phase::Current;
    }
    if life.version > current {
        return Phase::Next;
    }
    match life.retire_at {
        Some(end) if end <= now => Phase::Retired,
        Some(_) | None => Phase::Retiring,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn life(version: u32, from: i64, to: Option<i64>) -> Life {
        Life {
            version,
            not_before: Timestamp::from_seconds(from),
            retire_at: match to {
                Some(to) => Some(Timestamp::from_seconds(to)),
                None => None,
            },
        }
    }

    #[test]
    fn names_are_found_again() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::named(purpose.name()), Some(purpose));
        }
        assert_eq!(Purpose::named("root"), None);
    }

    // V8
    #[test]
    fn a_version_is_published_then_used_then_retired() {
        let lives = [life(1, 0, Some(200)), life(2, 100, None)];
        let at = |seconds| {
            let now = Timestamp::from_seconds(seconds);
            let current = current(&lives, now).expect("one");
            lives.map(|life| phase(&life, current, now))
        };
        assert_eq!(at(50), [Phase::Current, Phase::Next]);
        assert_eq!(at(100), [Phase::Retiring, Phase::Current]);
        assert_eq!(at(200), [Phase::Retired, Phase::Current]);
        assert_eq!(at(-9), [Phase::Current, Phase::Next]);
    }
}
