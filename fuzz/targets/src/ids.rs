//! Ids and currencies arrive in paths, forms and facts: what parses must be written back the same,
//! so that one thing has one name.

use kernel::{AccountId, Currency, SessionId};

/// Ids that parse.
pub const TEXT_SEEDS: &[&[u8]] = &[
    b"usr_01jd0000000000000000000000",
    b"ses_7zzzzzzzzzzzzzzzzzzzzzzzzz",
    b"usr_00000000000000000000000000",
];
/// Currencies that parse.
pub const CURRENCY_SEEDS: &[&[u8]] = &[b"EUR", b"JPY"];

/// The text of an id.
pub fn text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let account = text.parse::<AccountId>();
    let session = text.parse::<SessionId>();
    assert!(account.is_err() || session.is_err(), "one text names two nouns");
    match (account, session) {
        (Ok(id), _) => assert_eq!(id.to_string(), text),
        (_, Ok(id)) => assert_eq!(id.to_string(), text),
        (Err(_), Err(_)) => return false,
    }
    true
}

/// A currency's code.
pub fn currency(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(currency) = Currency::try_from(text.to_owned()) else { return false };
    assert_eq!(currency.to_string(), text);
    true
}
