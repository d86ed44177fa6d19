//! How much of a person a role sees (C2): pure decisions, no IO.
//!
//! What is not known to be harmless is masked whole: a new sealed field of any room is hidden until
//! this file knows its shape.

use std::net::IpAddr;

use kernel::Timestamp;
use serde_json::Value as Json;
use web::feed::Net;

const DOTS: &str = "•••";
/// Items of a list that are shown.
const ITEMS_MAX: usize = 20;

/// How much of a person is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing: auditors, and roles that have no business with persons.
    Nothing,
    /// Enough to recognise what one knows already.
    Masked,
    /// Everything, after asking.
    Whole,
}

impl Sight {
    /// What these roles see without asking. Nobody sees whole values so.
    pub(crate) fn of(roles: &[String]) -> Self {
        let has = |role: &str| roles.iter().any(|held| held == role);
        if has("admin") || has("support") { Self::Masked } else { Self::Nothing }
    }

    /// A text as this sight sees it; none where it sees nothing.
    pub(crate) fn text(self, text: &str) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Masked => Some(masked(text)),
            Self::Whole => Some(text.to_owned()),
        }
    }

    /// What a client calls itself: no secret of a person, and what an owner recognises.
    pub(crate) fn agent(self, text: &str) -> Option<String> {
        (self != Self::Nothing).then(|| text.to_owned())
    }

    /// A sealed value as this sight sees it; none where it sees nothing.
    pub(crate) fn value(self, name: &str, value: &Json) -> Option<String> {
        if self == Self::Nothing {
            return None;
        }
        Some(match value {
            Json::Null => "none".to_owned(),
            Json::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Json::Number(number) => number_of(name, number),
            Json::String(text) if name == "_agent" => text.clone(),
            Json::String(text) => self.text(text)?,
            Json::Array(items) => {
                let shown = items.iter().take(ITEMS_MAX).filter_map(|item| self.value(name, item));
                let mut shown: Vec<String> = shown.collect();
                if items.len() > ITEMS_MAX {
                    shown.push(format!("and {} more", items.len() - ITEMS_MAX));
                }
                if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
            }
            Json::Object(_) if self == Self::Whole => value.to_string(),
            Json::Object(_) => DOTS.to_owned(),
        })
    }
}

/// Moments stand as microseconds; they are told by their names.
fn number_of(name: &str, number: &serde_json::Number) -> String {
    let moment = name == "until" || name == "at" || name.ends_with("_at");
    match number.as_i64() {
        Some(micros) if moment => crate::told::clock(Timestamp::from_micros(micros)),
        Some(_) | None => number.to_string(),
    }
}

/// A text that tells no more than its shape.
pub(crate) fn masked(text: &str) -> String {
    if is_id(text) {
        return text.to_owned();
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return masked_address(address);
    }
    if text.contains('/') && text.parse::<Net>().is_ok() {
        let address = text.split('/').next().and_then(|address| address.parse().ok());
        return address.map_or_else(|| DOTS.to_owned(), masked_address);
    }
    masked_email(text).unwrap_or_else(|| DOTS.to_owned())
}

/// A neighbourhood: three of four parts of IPv4, the first 48 bits of IPv6.
pub(crate) fn masked_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.{DOTS}")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{DOTS}")
        }
    }
}

/// First letters and the ending: `a•••@e•••.com`.
fn masked_email(text: &str) -> Option<String> {
    let (name, host) = text.rsplit_once('@')?;
    let (host, ending) = host.rsplit_once('.')?;
    let first = |part: &str| part.chars().next();
    let plain = ending.chars().all(|c| c.is_ascii_alphanumeric()) && ending.len() <= 12;
    plain.then_some(())?;
    Some(format!("{}{DOTS}@{}{DOTS}.{ending}", first(name)?, first(host)?))
}

/// Whether it is an id of the house: three letters, an underscore, 26 letters and digits.
fn is_id(text: &str) -> bool {
    let Some((noun, rest)) = text.split_once('_') else { return false };
    noun.len() == 3
        && rest.len() == kernel::ID_TEXT_LEN
        && noun.bytes().all(|b| b.is_ascii_lowercase())
        && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn roles(roles: &[&str]) -> Vec<String> {
        roles.iter().map(|role| (*role).to_owned()).collect()
    }

    // C2
    #[test]
    fn each_role_has_its_sight_and_none_sees_all_without_asking() {
        for (held, sight) in [
            (&["admin"][..], Sight::Masked),
            (&["support"], Sight::Masked),
            (&["auditor"], Sight::Nothing),
            (&["moderator", "finance"], Sight::Nothing),
            (&["auditor", "support"], Sight::Masked),
            (&[], Sight::Nothing),
        ] {
            assert_eq!(Sight::of(&roles(held)), sight, "{held:?}");
        }
    }

    // C2
    #[test]
    fn what_is_masked_keeps_its_shape_only() {
        let id = "usr_01hf7yat00c1t2m3n4p5q6r7s8";
        for (text, shown) in [
            ("ada.lovelace@example.co.uk", "a•••@e•••.uk"),
            ("203.0.113.77", "203.0.113.•••"),
            ("2001:db8:1:2:3::4", "2001:db8:1:•••"),
            ("::ffff:192.0.2.9", "192.0.2.•••"),
            ("198.51.100.0/24", "198.51.100.•••"),
            ("she rang and said so", "•••"),
            ("Ada", "•••"),
            ("a@b", "•••"),
            ("x@y.<script>", "•••"),
            ("", "•••"),
            (id, id),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }

    #[test]
    fn values_of_every_sort() {
        let see = |sight: Sight, value: Json| sight.value("x", &value);
        assert_eq!(see(Sight::Nothing, json!("a@b.test")), None);
        assert_eq!(see(Sight::Nothing, json!(7)), None);
        assert_eq!(see(Sight::Masked, json!(null)).unwrap(), "none");
        assert_eq!(see(Sight::Masked, json!(["a@b.test", 1])).unwrap(), "a•••@b•••.test, 1");
        assert_eq!(see(Sight::Masked, json!({"name": "Ada"})).unwrap(), "•••");
        assert_eq!(see(Sight::Whole, json!("Ada")).unwrap(), "Ada");
        let until = json!(1_795_487_140_000_000_i64);
        assert_eq!(Sight::Masked.value("until", &until).unwrap(), "2026-11-24 02:25:40");
    }
}
