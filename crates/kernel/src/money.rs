//! Money (K4): integer minor units of a named currency, checked arithmetic, no floating point.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, MoneyError> {
        let letters: [u8; 3] = code.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        if !letters.iter().all(u8::is_ascii_uppercase) {
            return Err(MoneyError::Currency);
        }
        Ok(Self(letters))
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| fmt::Write::write_char(f, char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount in the currency's minor unit (cents, pence, yen).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// The amount; negative is owed.
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
}

/// Why an amount cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("a currency is three capital letters of ISO 4217")]
    Currency,
    /// Two currencies in one sum.
    #[error("amounts of two currencies cannot be added")]
    Mixed,
    /// More than 64 bits hold.
    #[error("the amount is too large")]
    Overflow,
}

impl Money {
    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::Mixed`] for two currencies, [`MoneyError::Overflow`] beyond 64 bits.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed);
        }
        let amount_minor =
            self.amount_minor.checked_add(other.amount_minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { amount_minor, currency: self.currency })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // K4
        #[test]
        fn sums_are_exact_or_refused(a in any::<i64>(), b in any::<i64>()) {
            let currency = Currency::try_from("EUR".to_owned()).unwrap();
            let sum = Money { amount_minor: a, currency }.plus(Money { amount_minor: b, currency });
            match a.checked_add(b) {
                Some(exact) => prop_assert_eq!(sum.unwrap().amount_minor, exact),
                None => prop_assert_eq!(sum, Err(MoneyError::Overflow)),
            }
        }
    }

    #[test]
    fn currencies_do_not_mix() {
        let euro = Money { amount_minor: 1, currency: Currency(*b"EUR") };
        let pound = Money { amount_minor: 1, currency: Currency(*b"GBP") };
        assert_eq!(euro.plus(pound), Err(MoneyError::Mixed));
        assert_eq!(Currency::try_from("eur".to_owned()), Err(MoneyError::Currency));
    }
}
