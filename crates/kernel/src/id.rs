//! Typed ids (K3): 128 bits, time-ordered, shown as `usr_` and 26 letters of Crockford's base 32.

use thiserror::Error;

/// Letters after the prefix and its underscore.
pub const ID_TEXT_LEN: usize = 26;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a text is not the id of a noun.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// It begins with another noun's prefix, or none.
    #[error("an id that begins with `{expected}_` is wanted")]
    Prefix {
        /// The prefix that is wanted, without its underscore.
        expected: &'static str,
    },
    /// The rest is not 26 letters of the alphabet.
    #[error("an id ends in {ID_TEXT_LEN} letters and digits (no i, l, o, u)")]
    Letters,
}

/// Writes 16 bytes as 26 letters, highest bits first.
#[must_use]
pub fn encode(prefix: &str, bytes: &[u8; 16]) -> String {
    let value = u128::from_be_bytes(*bytes);
    let mut text = String::with_capacity(prefix.len() + 1 + ID_TEXT_LEN);
    text.push_str(prefix);
    text.push('_');
    for place in (0..ID_TEXT_LEN).rev() {
        let index = usize::try_from((value >> (5 * place)) & 31).unwrap_or(0);
        text.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'0')));
    }
    text
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`IdError`] where the prefix or a letter is another, or the number needs more than 128 bits.
pub fn decode(prefix: &'static str, text: &str) -> Result<[u8; 16], IdError> {
    let letters = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or(IdError::Prefix { expected: prefix })?;
    if letters.len() != ID_TEXT_LEN {
        return Err(IdError::Letters);
    }
    let mut value: u128 = 0;
    for letter in letters.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == letter).ok_or(IdError::Letters)?;
        if value >> 123 != 0 {
            return Err(IdError::Letters);
        }
        value = (value << 5) | u128::try_from(digit).map_err(|_| IdError::Letters)?;
    }
    Ok(value.to_be_bytes())
}

/// Declares an id type: `kernel::id! { /// What it names.  pub ShowId = "shw"; }`.
///
/// The type is 16 bytes that sort by the time of making; its text carries the prefix.
#[macro_export]
macro_rules! id {
    ($($(#[$doc:meta])* $vis:vis $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name([u8; 16]);

        impl $name {
            /// The prefix of the text form, without its underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id: 48 bits of milliseconds, then 80 random bits.
            #[must_use]
            pub fn generate(now: $crate::Timestamp, entropy: &dyn $crate::Entropy) -> Self {
                let mut bytes = [0u8; 16];
                entropy.fill(&mut bytes);
                let millis = now.millis().to_be_bytes();
                for (to, from) in bytes.iter_mut().zip(millis.iter().skip(2)) {
                    *to = *from;
                }
                Self(bytes)
            }

            /// The id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes, as stored.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(&$crate::private::encode($prefix, &self.0))
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::private::decode($prefix, text).map(Self)
            }
        }

        impl $crate::private::serde::Serialize for $name {
            fn serialize<S>(&self, serializer: S) -> Result<S::Ok, S::Error>
            where
                S: $crate::private::serde::Serializer,
            {
                serializer.collect_str(self)
            }
        }

        impl $crate::private::utoipa::PartialSchema for $name {
            fn schema() -> $crate::private::utoipa::openapi::RefOr<
                $crate::private::utoipa::openapi::Schema
            > {
                $crate::private::of_id($prefix)
            }
        }

        impl $crate::private::utoipa::ToSchema for $name {}

        impl<'de> $crate::private::serde::Deserialize<'de> for $name {
            fn deserialize<D>(deserializer: D) -> Result<Self, D::Error>
            where
                D: $crate::private::serde::Deserializer<'de>,
            {
                let text = <::std::borrow::Cow<'de, str>
                    as $crate::private::serde::Deserialize<'de>>::deserialize(deserializer)?;
                text.parse().map_err($crate::private::serde::de::Error::custom)
            }
        }
    )+};
}

id! {
    /// An account: a customer, influencer, wholesaler or one of the staff.
    pub AccountId = "usr";
    /// One sign-in on one device.
    pub SessionId = "ses";
    /// An event on the spine.
    pub EventId = "evt";
    /// One HTTP request or one command, for logs and problems.
    pub RequestId = "req";
    /// A shop; an installation has one today.
    pub TenantId = "ten";
    /// A key: of the vault, or of an API client.
    pub KeyId = "key";
    /// A delivery or another thing that a consumer keeps account of.
    pub ConsumerId = "con";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{SystemEntropy, Timestamp};

    proptest! {
        // K3
        #[test]
        fn text_round_trips_and_sorts(a in any::<[u8; 16]>(), b in any::<[u8; 16]>()) {
            let (a, b) = (AccountId::from_bytes(a), AccountId::from_bytes(b));
            prop_assert_eq!(a.to_string().parse(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn another_text_is_refused_not_misread(text in ".{0,40}") {
            if let Ok(id) = text.parse::<AccountId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    // K3
    #[test]
    fn another_noun_is_refused() {
        let id = SessionId::generate(Timestamp::from_seconds(1), &SystemEntropy);
        assert_eq!(id.to_string().parse::<AccountId>(), Err(IdError::Prefix { expected: "usr" }));
        assert_eq!("usr_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<AccountId>(), Err(IdError::Letters));
    }

    #[test]
    fn later_ids_sort_later() {
        let early = EventId::generate(Timestamp::from_seconds(1), &SystemEntropy);
        let late = EventId::generate(Timestamp::from_seconds(2), &SystemEntropy);
        assert!(early < late);
    }
}
