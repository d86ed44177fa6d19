//! What a refresh token is, and what becomes of one that is shown: pure.
//!
//! A token names its family (one sign-in on one device) and its generation, and proves both by a
//! MAC over family, generation and the family's nonce. So every token that ever was can be told
//! from a forged one, though the database keeps only the digest of the present one; and the
//! successor of a generation is always the same, so that two clients that race get one and the
//! same.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::{Secret, SessionId, Timestamp};

/// Letters before a token, so that scanners of leaked secrets can know it.
const PREFIX: &str = "sdr";
/// The longest text that is looked at, bytes.
const TOKEN_BYTES_MAX: usize = 160;

/// A refresh token as shown, taken apart. Nothing about it is believed yet.
pub(crate) struct Shown {
    pub family: SessionId,
    pub generation: i64,
    pub mac: Secret<[u8; 32]>,
}

impl Shown {
    /// Takes a text apart; none for a text of another shape.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let mut parts = text.split('.');
        let prefix = parts.next()?;
        let family = parts.next()?.parse().ok()?;
        let generation = parts.next()?;
        let mac = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        let plain = !generation.starts_with(['+', '-', '0']);
        if prefix != PREFIX || parts.next().is_some() || !plain {
            return None;
        }
        let generation = generation.parse().ok()?;
        Some(Self { family, generation, mac: Secret::new(mac.try_into().ok()?) })
    }

    /// The text of a token.
    pub(crate) fn text(family: SessionId, generation: i64, mac: &[u8; 32]) -> Secret<String> {
        let mac = URL_SAFE_NO_PAD.encode(mac);
        Secret::new(format!("{PREFIX}.{family}.{generation}.{mac}"))
    }
}

/// The bytes that a token's MAC is over: lengths are fixed, so nothing can be shifted between them.
pub(crate) fn mac_input(family: SessionId, generation: i64, nonce: &[u8; 16]) -> [u8; 40] {
    let mut bytes = [0; 40];
    let parts = family.as_bytes().iter().chain(nonce).copied().chain(generation.to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = from;
    }
    bytes
}

/// A family as it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// The present generation, the first is 1.
    pub generation: i64,
    /// When it came to be the present one.
    pub rotated_at: Timestamp,
    /// Its end without use.
    pub idle_until: Timestamp,
    /// Whether its session still lives.
    pub live: bool,
}

/// What becomes of a genuine token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is the present one: it gets a successor.
    Rotate,
    /// It is the direct predecessor, within the grace window: it gets the same successor again.
    Same,
    /// It was used before, and not a moment ago: the family ends.
    Reused {
        /// How many generations behind it is.
        behind: i64,
    },
    /// The family has ended, or no one used it for too long.
    Over,
}

/// Decides about a token of `generation` that is genuine.
pub(crate) fn judge(generation: i64, standing: Standing, now: Timestamp, grace: Duration) -> Fate {
    let behind = standing.generation.saturating_sub(generation);
    if !standing.live {
        return Fate::Over;
    }
    match behind {
        0 if now > standing.idle_until => Fate::Over,
        0 => Fate::Rotate,
        1 if now.since(standing.rotated_at) <= grace => Fate::Same,
        // A generation that is still to come cannot be genuine; whoever has it has our keys.
        _ => Fate::Reused { behind },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn standing(generation: i64) -> Standing {
        Standing {
            generation,
            rotated_at: Timestamp::from_seconds(1_000),
            idle_until: Timestamp::from_seconds(5_000),
            live: true,
        }
    }

    #[test]
    fn only_the_direct_predecessor_has_grace() {
        let now = Timestamp::from_seconds(1_005);
        assert_eq!(judge(7, standing(7), now, GRACE), Fate::Rotate);
        assert_eq!(judge(6, standing(7), now, GRACE), Fate::Same);
        assert_eq!(judge(5, standing(7), now, GRACE), Fate::Reused { behind: 2 });
        assert_eq!(judge(8, standing(7), now, GRACE), Fate::Reused { behind: -1 });
    }

    #[test]
    fn grace_ends_at_its_edge() {
        let edge = Timestamp::from_seconds(1_010);
        assert_eq!(judge(6, standing(7), edge, GRACE), Fate::Same);
        let after = edge.plus(Duration::from_micros(1));
        assert_eq!(judge(6, standing(7), after, GRACE), Fate::Reused { behind: 1 });
        // another node's clock is a little behind
        assert_eq!(judge(6, standing(7), Timestamp::from_seconds(999), GRACE), Fate::Same);
    }

    #[test]
    fn what_is_over_stays_over() {
        let late = Timestamp::from_seconds(5_001);
        assert_eq!(judge(7, standing(7), late, GRACE), Fate::Over);
        let ended = Standing { live: false, ..standing(7) };
        for generation in [5, 6, 7] {
            assert_eq!(judge(generation, ended, Timestamp::from_seconds(1_001), GRACE), Fate::Over);
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(
            family in any::<[u8; 16]>(), generation in 1i64.., mac in any::<[u8; 32]>(),
        ) {
            let family = SessionId::from_bytes(family);
            let text = Shown::text(family, generation, &mac);
            let shown = Shown::parse(text.expose()).unwrap();
            prop_assert_eq!((shown.family, shown.generation), (family, generation));
            prop_assert!(shown.mac.matches(&mac));
        }

        #[test]
        fn any_other_text_is_refused_or_canonical(text in "sdr\\.[a-z0-9_.+-]{0,120}") {
            if let Some(shown) = Shown::parse(&text) {
                let again = Shown::text(shown.family, shown.generation, shown.mac.expose());
                prop_assert_eq!(again.expose(), &text);
            }
        }

        #[test]
        fn tokens_differ_in_every_part(
            family in any::<[u8; 16]>(), nonce in any::<[u8; 16]>(), generation in 1i64..i64::MAX,
        ) {
            let id = SessionId::from_bytes(family);
            let this = mac_input(id, generation, &nonce);
            prop_assert_ne!(this, mac_input(id, generation + 1, &nonce));
            let mut other = nonce;
            other[0] ^= 1;
            prop_assert_ne!(this, mac_input(id, generation, &other));
        }
    }
}
