//! The kinds of fact that the shop may tell: the built-in ones and the shop's own, as data. What a
//! field holds decides whether it may stand in the log in the clear: words, numbers and flags may;
//! ids, accounts and texts never do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ConfigProblem;

/// Kinds of the shop's own.
const OWN_MAX: usize = 200;
/// Fields of one kind.
pub(crate) const FIELDS_MAX: usize = 32;
/// Words of one field.
const WORDS_MAX: usize = 64;
/// The longest text of one field, bytes.
pub(crate) const TEXT_BYTES: usize = 4_096;

/// First parts of kinds that are the house's own.
const RESERVED: &[&str] = &[
    "access",
    "audit",
    "cardvault",
    "chat",
    "console",
    "edge",
    "identity",
    "kernel",
    "key",
    "ledger",
    "live",
    "merkle",
    "moderation",
    "payments",
    "privacy",
    "spine",
    "stagedoor",
    "store",
    "vault",
    "watch",
    "web",
];

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// A text. Sealed.
    Text,
    /// An id of the shop's, 1 to 128 bytes. Sealed.
    Id,
    /// An account (`usr_…`). Sealed.
    Account,
    /// Up to 50 ids. Sealed.
    Ids,
    /// A whole number.
    Int,
    /// An amount of money in the currency's minor unit, 0 or more.
    Amount,
    /// `true` or `false`.
    Flag,
    /// One of `words`.
    Word,
    /// An ISO 4217 code: three capital letters.
    Currency,
    /// A moment, RFC 3339.
    Time,
}

impl FieldType {
    /// Whether such a field is always sealed.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        match self {
            Self::Text | Self::Id | Self::Account | Self::Ids => true,
            Self::Int | Self::Amount | Self::Flag | Self::Word | Self::Currency | Self::Time => {
                false
            }
        }
    }
}

/// One field of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// Its name: small letters, digits, `_`.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub holds: FieldType,
    /// Whether it may be left out. Default false.
    #[serde(default)]
    pub optional: bool,
    /// Whether it is sealed although its type may stand in the clear. Default false.
    #[serde(default)]
    pub personal: bool,
    /// The words of a `word` field. Default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// The longest text, bytes: 1 to 4096. Default 1024.
    #[serde(default = "text_default")]
    pub max_bytes: usize,
}

const fn text_default() -> usize {
    1_024
}

impl FieldSpec {
    /// Whether it stands sealed in the log.
    #[must_use]
    pub const fn is_sealed(&self) -> bool {
        self.personal || self.holds.is_sealed()
    }
}

/// Whether a kind is about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AboutWhom {
    /// About a customer: the fact names an account, or the shop's own reference of the customer.
    Customer,
    /// About no person.
    Nobody,
}

/// One kind of fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KindSpec {
    /// `noun.what_happened`, in small letters.
    pub name: String,
    /// What happened, in words, for the event catalogue.
    pub says: String,
    /// Whether it is about a person: `customer` or `nobody`.
    pub about: AboutWhom,
    /// The `id` field that names the thing which changed. Default none.
    #[serde(default)]
    pub thing: Option<String>,
    /// The fields. Unknown ones are refused.
    #[serde(default, rename = "field")]
    pub fields: Vec<FieldSpec>,
    /// Days until the event's body is deleted. Default 365.
    #[serde(default = "retain_default")]
    pub retain_days: u32,
}

const fn retain_default() -> u32 {
    365
}

impl KindSpec {
    /// The noun of the thing that changed, as the log has it.
    pub(crate) fn noun(&self) -> &'static str {
        match self.name.split('.').next() {
            Some("order") => "order",
            Some("product") => "product",
            Some("chat") => "message",
            Some(_) | None => "fact",
        }
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Every kind that the shop may tell.
#[derive(Clone, Debug)]
pub struct Catalogue(BTreeMap<String, KindSpec>);

impl Catalogue {
    /// The built-in kinds and those of the configuration; what is wrong with them is added to
    /// `problems`.
    pub(crate) fn new(own: &[KindSpec], problems: &mut Vec<ConfigProblem>) -> Self {
        let mut kinds: BTreeMap<String, KindSpec> =
            built_in().into_iter().map(|kind| (kind.name.clone(), kind)).collect();
        if own.len() > OWN_MAX {
            let detail = format!("at most {OWN_MAX} kinds");
            problems.push(ConfigProblem { key: "access.facts.kind".to_owned(), detail });
        }
        for kind in own {
            check(kind, problems);
            if kinds.insert(kind.name.clone(), kind.clone()).is_some() {
                let key = format!("[[access.facts.kind]] \"{}\": name", kind.name);
                let detail = "is built in, or used twice: give it another name".to_owned();
                problems.push(ConfigProblem { key, detail });
            }
        }
        Self(kinds)
    }

    /// The kind of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&KindSpec> {
        self.0.get(name)
    }

    /// All kinds, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &KindSpec> {
        self.0.values()
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 48
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn check(kind: &KindSpec, problems: &mut Vec<ConfigProblem>) {
    let mut say = |key: &str, detail: &str| {
        let key = format!("[[access.facts.kind]] \"{}\": {key}", kind.name);
        problems.push(ConfigProblem { key, detail: detail.to_owned() });
    };
    match kind.name.split_once('.') {
        Some((first, _)) if RESERVED.contains(&first) => {
            say(
                "name",
                "begins as kinds of the house do: begin with a noun of your own, as \"loyalty.\"",
            );
        }
        Some((first, second)) if is_name(first) && is_name(second) => {}
        Some(_) | None => {
            say("name", "must be noun.what_happened, in small letters, digits and `_`")
        }
    }
    if kind.says.trim().is_empty() || kind.says.len() > 200 {
        say("says", "must say what happened in 1 to 200 bytes");
    }
    if !(1..=3_660).contains(&kind.retain_days) {
        say("retain_days", "must be 1 to 3660");
    }
    if kind.fields.len() > FIELDS_MAX {
        say("field", "at most 32 fields");
    }
    let mut names = BTreeSet::new();
    for field in &kind.fields {
        let key = format!("field \"{}\"", field.name);
        if !is_name(&field.name) || !names.insert(field.name.as_str()) {
            say(&key, "needs a name of its own, in small letters, digits and `_`");
        }
        if !(1..=TEXT_BYTES).contains(&field.max_bytes) {
            say(&key, "max_bytes must be 1 to 4096");
        }
        let words = field.words.iter().all(|word| is_name(word));
        let wanted = field.holds == FieldType::Word;
        if field.words.is_empty() == wanted || !words || field.words.len() > WORDS_MAX {
            say(&key, "a `word` field lists 1 to 64 `words` in small letters; others list none");
        }
    }
    if let Some(thing) = &kind.thing {
        let id = kind.field(thing).is_some_and(|f| f.holds == FieldType::Id && !f.optional);
        if !id {
            say("thing", "must be the name of an `id` field that is not optional");
        }
    }
}

fn field(name: &str, holds: FieldType) -> FieldSpec {
    FieldSpec {
        name: name.to_owned(),
        holds,
        optional: false,
        personal: false,
        words: Vec::new(),
        max_bytes: text_default(),
    }
}

fn optional(name: &str, holds: FieldType) -> FieldSpec {
    FieldSpec { optional: true, ..field(name, holds) }
}

/// An amount that somebody paid or got back: theirs to know.
fn paid(name: &str) -> FieldSpec {
    FieldSpec { personal: true, ..field(name, FieldType::Amount) }
}

fn order(name: &str, says: &str, fields: Vec<FieldSpec>) -> KindSpec {
    KindSpec {
        name: name.to_owned(),
        says: says.to_owned(),
        about: AboutWhom::Customer,
        thing: Some("order".to_owned()),
        fields,
        retain_days: 2_555,
    }
}

/// The kinds that the house knows how to use.
fn built_in() -> Vec<KindSpec> {
    use FieldType::{Account, Amount, Currency, Flag, Id, Int, Text, Word};
    let change = FieldSpec {
        words: ["made", "price", "stock", "text", "removed"].map(str::to_owned).to_vec(),
        ..field("change", Word)
    };
    vec![
        order(
            "order.paid",
            "A customer paid an order.",
            vec![
                field("order", Id),
                paid("amount_minor"),
                field("currency", Currency),
                optional("items", Int),
                optional("creator", Account),
                optional("code", Id),
                optional("stream", Id),
            ],
        ),
        order(
            "order.refunded",
            "An order was paid back, in part or in whole.",
            vec![
                field("order", Id),
                optional("refund", Id),
                paid("amount_minor"),
                field("currency", Currency),
                optional("whole", Flag),
                optional("reason", Text),
            ],
        ),
        KindSpec {
            about: AboutWhom::Nobody,
            thing: Some("product".to_owned()),
            ..order(
                "product.changed",
                "A product was made, changed or removed.",
                vec![
                    field("product", Id),
                    change,
                    optional("price_minor", Amount),
                    optional("currency", Currency),
                    optional("stock", Int),
                    optional("seller", Account),
                ],
            )
        },
        KindSpec {
            thing: Some("message".to_owned()),
            retain_days: 90,
            ..order(
                "chat.sent",
                "A customer wrote in the shop's own chat.",
                vec![
                    field("message", Id),
                    field("room", Id),
                    FieldSpec { max_bytes: TEXT_BYTES, ..field("text", Text) },
                ],
            )
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_kinds_pass_their_own_check() {
        let mut problems = Vec::new();
        for kind in built_in().iter().filter(|kind| !kind.name.starts_with("chat.")) {
            check(kind, &mut problems);
        }
        assert_eq!(problems, []);
    }

    // A9
    #[test]
    fn kinds_of_the_house_and_broken_ones_are_refused() {
        let own = |name: &str| KindSpec {
            name: name.to_owned(),
            says: "It happened.".to_owned(),
            about: AboutWhom::Nobody,
            thing: None,
            fields: Vec::new(),
            retain_days: 30,
        };
        for name in [
            "identity.login_failed",
            "watch.x",
            "spine.y",
            "order.paid",
            "Loyal.x",
            "x",
            "a.b.c",
            "chat.x",
        ] {
            let mut problems = Vec::new();
            Catalogue::new(&[own(name)], &mut problems);
            assert_eq!(problems.len(), 1, "{name}: {problems:?}");
        }
        let mut problems = Vec::new();
        assert!(
            Catalogue::new(&[own("loyalty.joined")], &mut problems)
                .find("loyalty.joined")
                .is_some()
        );
        assert_eq!(problems, []);
    }
}
