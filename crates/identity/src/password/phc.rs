//! A password's hash as text: the PHC string format, of which only argon2id version 19 is known.
//!
//! The text carries its own costs, so that a hash made under older settings can still be checked
//! and is then made anew.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::error::Error;

/// Bytes of a salt.
pub(crate) const SALT_BYTES: usize = 16;
/// Bytes of a hash.
pub(crate) const HASH_BYTES: usize = 32;
/// The most memory that a stored hash may ask for, KiB: a forged row must not exhaust the host.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 32;

/// What one hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Memory, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

/// A hash with its salt and its costs; parallelism is always 1.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Phc {
    pub cost: Cost,
    pub salt: [u8; SALT_BYTES],
    pub hash: [u8; HASH_BYTES],
}

impl std::fmt::Debug for Phc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phc").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Phc {
    /// Writes the text.
    pub(crate) fn to_text(&self) -> String {
        format!(
            "$argon2id$v=19$m={},t={},p=1${}${}",
            self.cost.memory_kib,
            self.cost.passes,
            STANDARD_NO_PAD.encode(self.salt),
            STANDARD_NO_PAD.encode(self.hash),
        )
    }

    /// Reads what [`Phc::to_text`] wrote.
    ///
    /// # Errors
    /// [`Error::Broken`]: the stored text was altered, or another program wrote it.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        Self::read(text).ok_or(Error::Broken("a stored password hash cannot be read"))
    }

    fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("$argon2id$v=19$m=")?;
        let (memory, rest) = rest.split_once(",t=")?;
        let (passes, rest) = rest.split_once(",p=1$")?;
        let (salt, hash) = rest.split_once('$')?;
        let cost = Cost { memory_kib: memory.parse().ok()?, passes: passes.parse().ok()? };
        let bounded = (8..=MEMORY_KIB_MAX).contains(&cost.memory_kib)
            && (1..=PASSES_MAX).contains(&cost.passes);
        if !bounded {
            return None;
        }
        Some(Self {
            cost,
            salt: STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?,
            hash: STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips(
            memory_kib in 8u32..MEMORY_KIB_MAX, passes in 1u32..PASSES_MAX,
            salt in any::<[u8; 16]>(), hash in any::<[u8; 32]>(),
        ) {
            let phc = Phc { cost: Cost { memory_kib, passes }, salt, hash };
            prop_assert_eq!(Phc::parse(&phc.to_text()).unwrap(), phc);
        }

        #[test]
        fn any_other_text_is_an_error(text in "\\PC{0,120}") {
            prop_assert!(Phc::parse(&text).is_err());
        }
    }

    #[test]
    fn costs_of_a_forged_row_are_refused() {
        let forged =
            format!("$argon2id$v=19$m=4294967295,t=1,p=1${}${}", "A".repeat(22), "A".repeat(43));
        assert!(Phc::parse(&forged).is_err());
    }
}
