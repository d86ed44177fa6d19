//! Events as operators read them: in lists, live, one by one with its proof.

mod http;
mod live;
mod proof;

pub(crate) use live::session_over;

use kernel::{AccountId, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use spine::{EventFilter, Opened, Recorded};
use web::{Problem, wrong_field};

pub(crate) use http::{file, routes, tell};

use crate::room::Console;
use crate::sight::Sight;
use crate::told;

const SUMMARY_CHARS: usize = 140;
const KIND_BYTES: usize = 80;

/// An event in a list. Nothing in it is personal but the account's id, which only some see.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) index: i64,
    pub(crate) href: String,
    pub(crate) kind: String,
    pub(crate) what: String,
    pub(crate) tone: &'static str,
    pub(crate) actor: &'static str,
    pub(crate) fields: String,
    pub(crate) at: String,
    pub(crate) machine: String,
    pub(crate) ago: String,
}

impl Line {
    pub(crate) fn of(console: &Console, event: &Recorded, now: Timestamp) -> Self {
        Self {
            index: event.index,
            href: format!("/console/events/{}", event.id),
            what: console.headline(&event.kind),
            tone: tone(&event.kind),
            actor: actor(&event.actor_kind),
            fields: summary(&event.plain),
            at: told::clock(event.at),
            machine: told::machine(event.at),
            ago: told::ago(now, event.at),
            kind: event.kind.clone(),
        }
    }

    /// The same as one flat document, for the page's live list.
    pub(crate) fn json(&self) -> Json {
        serde_json::json!({
            "index": told::grouped(self.index),
            "href": self.href,
            "kind": self.kind,
            "what": self.what,
            "tone": self.tone,
            "actor": self.actor,
            "fields": self.fields,
            "at": self.at,
        })
    }
}

/// The colour of a kind: what needs eyes first.
pub(crate) fn tone(kind: &str) -> &'static str {
    let name = kind.split_once('.').map_or(kind, |(_, name)| name);
    let ends = |words: &[&str]| words.iter().any(|word| name.ends_with(word));
    if ends(&["failed", "reused", "forged_events_found", "raised"]) {
        "bad"
    } else if ends(&["succeeded", "verified", "unblocked", "unlocked", "applied", "closed"]) {
        "good"
    } else if ends(&["blocked", "locked", "withheld", "exceeded", "refused", "repeated"])
        || ends(&["observed", "requested", "revealed", "stopped", "hit"])
    {
        "warn"
    } else {
        "plain"
    }
}

/// Who did it, in words.
pub(crate) fn actor(kind: &str) -> &'static str {
    match kind {
        "nobody" => "a visitor",
        "account" => "an account",
        "operator" => "an operator",
        "service" => "a service",
        "system" => "the house",
        _ => "unknown",
    }
}

/// The clear fields on one line.
fn summary(plain: &Map<String, Json>) -> String {
    let mut text = String::new();
    for (name, value) in plain {
        if !text.is_empty() {
            text.push_str(" · ");
        }
        let (name, value) = with_unit(name, value);
        text.push_str(&format!("{name} {value}"));
    }
    let end = text.floor_char_boundary(SUMMARY_CHARS);
    if end < text.len() {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A field's name without its underscores.
pub(crate) fn spoken(name: &str) -> String {
    name.trim_start_matches('_').replace('_', " ")
}

/// A clear field: a unit at the end of its name goes behind its value.
pub(crate) fn with_unit(name: &str, value: &Json) -> (String, String) {
    match (name.strip_suffix("_s"), value) {
        (Some(name), Json::Number(_)) => (spoken(name), format!("{} s", clear(value))),
        (Some(_) | None, _) => (spoken(name), clear(value)),
    }
}

/// A clear value.
fn clear(value: &Json) -> String {
    match value {
        Json::Null => "none".to_owned(),
        Json::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Json::String(text) => text.replace('_', " "),
        Json::Number(number) => number.as_i64().map_or_else(|| number.to_string(), told::grouped),
        Json::Array(items) => items.iter().map(clear).collect::<Vec<_>>().join(", "),
        Json::Object(_) => value.to_string(),
    }
}

/// A field of the sealed part as one operator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Where it leads, if anywhere.
    pub(crate) href: Option<String>,
    /// What to say of it: `hidden`, `erased`, `deleted`, `missing`, `forged`, or nothing.
    pub(crate) state: &'static str,
}

/// The sealed fields of an event (C2).
pub(crate) fn sealed_fields(console: &Console, event: &Recorded, sight: Sight) -> Vec<Shown> {
    let gone = |state: &'static str| {
        let names = console.spec(&event.kind).map_or(&[][..], |spec| spec.sealed);
        let names = names.iter().copied().chain(["_actor", "_address"]);
        let shown =
            names.map(|name| Shown { name: label(name), value: String::new(), href: None, state });
        shown.collect()
    };
    match &event.sealed {
        Opened::Erased => gone("erased"),
        Opened::Deleted => gone("deleted"),
        Opened::Missing => gone("missing"),
        Opened::Forged => gone("forged"),
        Opened::Whole(fields) => fields
            .iter()
            .map(|(name, value)| {
                let seen = sight.value(name, value);
                let href = seen.as_deref().and_then(leads_to);
                let state = if seen.is_none() { "hidden" } else { "" };
                Shown { name: label(name), value: seen.unwrap_or_default(), href, state }
            })
            .collect(),
    }
}

fn label(name: &str) -> String {
    match name {
        "_actor" => "Who did it".to_owned(),
        "_address" => "From address".to_owned(),
        "_agent" => "With program".to_owned(),
        "_fingerprint" => "TLS fingerprint".to_owned(),
        _ => capitalised(&spoken(name)),
    }
}

/// With a capital letter, as the heads of a list of pairs have it.
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// The page of a thing whose id stands alone in a value.
fn leads_to(text: &str) -> Option<String> {
    let room = match text.split_once('_')?.0 {
        "usr" => "accounts",
        "evt" => "events",
        "alr" => "alerts",
        _ => return None,
    };
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        .then(|| format!("/console/{room}/{text}"))
}

/// Which events a page lists, as its address says.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    /// A kind, or a room with its dot.
    #[serde(default)]
    pub(crate) kind: String,
    /// What sort of actor.
    #[serde(default)]
    pub(crate) actor: String,
    /// Whose.
    #[serde(default)]
    pub(crate) account: String,
    /// Only older than this leaf.
    #[serde(default)]
    pub(crate) before: Option<i64>,
    /// Only newer than this leaf; for the live list.
    #[serde(default)]
    pub(crate) after: Option<i64>,
}

/// What [`Wanted`] asks for, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) kind: Option<String>,
    pub(crate) actor: Option<String>,
    pub(crate) account: Option<AccountId>,
}

const ACTORS: &[&str] = &["nobody", "account", "operator", "service", "system"];

impl Wanted {
    /// Checks each field.
    ///
    /// # Errors
    /// A problem of the wrong field; forbidden where somebody asks for an account's events who
    /// sees nothing of accounts (C2).
    pub(crate) fn check(&self, sight: Sight) -> Result<Asked, Problem> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._".contains(&b);
        if self.kind.len() > KIND_BYTES || !self.kind.bytes().all(letter) {
            return Err(wrong_field("kind", "is no kind of event"));
        }
        if !self.actor.is_empty() && !ACTORS.contains(&self.actor.as_str()) {
            return Err(wrong_field("actor", "is no sort of actor"));
        }
        let account = match self.account.trim() {
            "" => None,
            _ if sight == Sight::Nothing => return Err(Problem::forbidden()),
            text => {
                let wrong = |_| wrong_field("account", "is no account: it begins with usr_");
                Some(text.parse().map_err(wrong)?)
            }
        };
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Asked { kind: filled(&self.kind), actor: filled(&self.actor), account })
    }
}

impl Asked {
    /// A page of these events, newest first.
    ///
    /// # Errors
    /// As the log says.
    pub(crate) async fn page(
        &self,
        console: &Console,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Recorded>, spine::Error> {
        let filter = EventFilter {
            kind: self.kind.clone(),
            actor_kind: self.actor.clone(),
            account: self.account,
            before,
            limit,
        };
        console.spine().events(&filter).await
    }

    /// Whether an event is among them: one account's events are not filtered by their actor in the
    /// database.
    pub(crate) fn takes(&self, event: &Recorded) -> bool {
        self.actor.as_ref().is_none_or(|actor| *actor == event.actor_kind)
    }

    /// The address of the same list.
    pub(crate) fn query(&self) -> String {
        let account = self.account.map(|account| account.to_string());
        let parts = [("kind", &self.kind), ("actor", &self.actor), ("account", &account)];
        let given = parts
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("&{name}={value}")));
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_say_what_matters() {
        assert_eq!(tone("identity.login_failed"), "bad");
        assert_eq!(tone("identity.login_succeeded"), "good");
        assert_eq!(tone("access.client_blocked"), "warn");
        assert_eq!(tone("access.client_unblocked"), "good");
        assert_eq!(tone("order.paid"), "plain");
        let plain =
            json!({"reason": "wrong_password", "count": 1200, "dry_run": false, "lasts_s": 90});
        let text = summary(plain.as_object().unwrap());
        assert_eq!(text, "count 1,200 · dry run no · lasts 90 s · reason wrong password");
        let long = json!({"why": "é".repeat(200)});
        assert!(summary(long.as_object().unwrap()).len() <= SUMMARY_CHARS + 3);
    }

    // C2
    #[test]
    fn who_sees_nothing_cannot_ask_for_a_person() {
        let account = AccountId::from_bytes([7; 16]).to_string();
        let wanted = Wanted { account, ..Wanted::default() };
        assert_eq!(wanted.check(Sight::Nothing).unwrap_err().code(), "web.forbidden");
        let asked = wanted.check(Sight::Masked).unwrap();
        assert_eq!(asked.query(), format!("&account={}", AccountId::from_bytes([7; 16])));
    }

    #[test]
    fn addresses_of_lists_hold_nothing_wild() {
        for kind in ["<b>", "a b", "identity.%", "Ä"] {
            let wanted = Wanted { kind: kind.to_owned(), ..Wanted::default() };
            assert!(wanted.check(Sight::Masked).is_err(), "{kind}");
        }
        assert_eq!(leads_to("usr_0/../x"), None);
        assert_eq!(leads_to("ses_01"), None);
        assert_eq!(leads_to("evt_01").as_deref(), Some("/console/events/evt_01"));
    }
}
