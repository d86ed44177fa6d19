//! From what the shop sent to what the log may keep: every field by its kind's word, nothing
//! unknown, split into what may stand in the clear and what is sealed. Pure, but for the keyed
//! digests by which a repeated fact is known.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use kernel::FieldProblem;
use kernel::{AccountId, Timestamp};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use vault::Vault;

use super::kind::{AboutWhom, Catalogue, FIELDS_MAX, FieldSpec, FieldType, KindSpec};
use crate::moment;

/// Facts in one batch.
pub(crate) const BATCH_MAX: usize = 500;
/// The longest id of a fact, of a thing, of a customer, bytes.
const ID_BYTES: usize = 128;
/// Ids in one `ids` field.
const IDS_MAX: usize = 50;
/// All fields of one fact, as JSON, bytes.
const FACT_BYTES: usize = 32_768;
/// The largest amount: a thousand million million minor units.
const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
/// Wrong fields that one answer names.
const ERRORS_MAX: usize = 50;

/// Facts to be taken together: all of them or none.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FactBatch)]
pub struct Batch {
    /// The facts, 1 to 500.
    pub facts: Vec<Fact>,
}

/// One fact of the shop.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// The shop's own id of this fact, 1 to 128 bytes: the same id is taken once.
    pub id: String,
    /// Its kind (`order.paid`).
    pub kind: String,
    /// When it happened, RFC 3339; when it is taken, where left out.
    #[serde(default)]
    pub at: Option<String>,
    /// The customer's account (`usr_…`), for kinds about a customer.
    #[serde(default)]
    pub account: Option<AccountId>,
    /// The shop's own reference of the customer, 1 to 128 bytes, instead of the account.
    #[serde(default)]
    pub customer: Option<String>,
    /// The version of the thing after the change, 1 or more, where the shop counts them.
    #[serde(default)]
    pub version: Option<i64>,
    /// The fields of the kind.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub fields: Fields,
}

/// Fields by name; a name that stands twice is refused, where JSON would take the last.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.len() >= 2 * FIELDS_MAX {
                        return Err(A::Error::custom("has too many fields"));
                    }
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("has a field twice: send it once"));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// Half of a keyed digest: 128 bits tell facts apart, and keep the table of them small.
pub(crate) type Digest = [u8; 16];

pub(crate) fn half(digest: [u8; 32]) -> Digest {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(digest) {
        *to = from;
    }
    half
}

/// Whose a fact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Nobody,
    Account(AccountId),
    Customer(String),
}

/// A fact whose form is right.
#[derive(Clone, Debug)]
pub(crate) struct Checked<'a> {
    /// Its place in the batch.
    pub place: usize,
    pub id: &'a str,
    pub kind: &'a KindSpec,
    /// The keyed digest of its id.
    pub index: Digest,
    /// The keyed digest of all the rest.
    pub body: Digest,
    pub at: Option<Timestamp>,
    pub whose: Whose,
    pub version: i64,
    pub thing: Option<String>,
    pub plain: Map<String, Value>,
    pub sealed: Map<String, Value>,
}

/// What is wrong so far, bounded.
#[derive(Debug, Default)]
struct Wrong(Vec<FieldProblem>);

impl Wrong {
    fn say(&mut self, field: String, detail: impl Into<String>) {
        if self.0.len() < ERRORS_MAX {
            self.0.push(FieldProblem::new(field, detail));
        }
    }
}

/// Checks a batch.
///
/// # Errors
/// Every field that is wrong, 50 at most.
pub(crate) fn check<'a>(
    batch: &'a Batch,
    kinds: &'a Catalogue,
    vault: &Vault,
) -> Result<Vec<Checked<'a>>, Vec<FieldProblem>> {
    let mut wrong = Wrong::default();
    if batch.facts.is_empty() || batch.facts.len() > BATCH_MAX {
        wrong.say("facts".to_owned(), "must hold 1 to 500 facts: send more in another batch");
        return Err(wrong.0);
    }
    let mut ids = HashSet::with_capacity(batch.facts.len());
    let mut checked = Vec::with_capacity(batch.facts.len());
    for (place, fact) in batch.facts.iter().enumerate() {
        if !ids.insert(fact.id.as_str()) {
            wrong.say(format!("facts[{place}].id"), "is in this batch twice: send it once");
        }
        checked.extend(check_one(&mut wrong, place, fact, kinds, vault));
    }
    if wrong.0.is_empty() { Ok(checked) } else { Err(wrong.0) }
}

fn check_one<'a>(
    wrong: &mut Wrong,
    place: usize,
    fact: &'a Fact,
    kinds: &'a Catalogue,
    vault: &Vault,
) -> Option<Checked<'a>> {
    let path = |field: &str| format!("facts[{place}].{field}");
    if !is_id(&fact.id) {
        wrong.say(path("id"), "must be 1 to 128 bytes without control characters");
    }
    let Some(kind) = kinds.find(&fact.kind) else {
        wrong
            .say(path("kind"), "is no kind that the shop may tell: GET /v1/facts/kinds lists them");
        return None;
    };
    let at = fact.at.as_deref().map(moment::read);
    if at == Some(None) {
        wrong.say(path("at"), "must be RFC 3339, as 2026-11-24T02:25:40Z");
    }
    if fact.version.is_some_and(|version| version < 1) {
        wrong.say(path("version"), "must be 1 or more");
    }
    let whose = whose(wrong, &path, fact, kind);
    let (plain, sealed) = split(wrong, place, &fact.fields.0, kind);
    let thing = kind.thing.as_ref().and_then(|thing| fact.fields.0.get(thing)?.as_str());
    // Fields in order of name: the same fact gives the same bytes however it was spaced.
    let body = (&fact.kind, &fact.at, &fact.account, &fact.customer, fact.version, &fact.fields.0);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Some(Checked {
        place,
        id: &fact.id,
        kind,
        index: half(vault.blind("access_fact.id", fact.id.as_bytes())),
        body: half(vault.blind("access_fact.body", &body)),
        at: at.flatten(),
        whose: whose?,
        version: fact.version.unwrap_or(0),
        thing: thing.map(str::to_owned),
        plain,
        sealed,
    })
}

fn whose(
    wrong: &mut Wrong,
    path: &dyn Fn(&str) -> String,
    fact: &Fact,
    kind: &KindSpec,
) -> Option<Whose> {
    match (kind.about, fact.account, &fact.customer) {
        (AboutWhom::Nobody, None, None) => Some(Whose::Nobody),
        (AboutWhom::Nobody, Some(_), _) => {
            wrong.say(path("account"), "is for kinds about a customer: leave it out");
            None
        }
        (AboutWhom::Nobody, None, Some(_)) => {
            wrong.say(path("customer"), "is for kinds about a customer: leave it out");
            None
        }
        (AboutWhom::Customer, Some(account), None) => Some(Whose::Account(account)),
        (AboutWhom::Customer, None, Some(customer)) if is_id(customer) => {
            Some(Whose::Customer(customer.clone()))
        }
        (AboutWhom::Customer, None, Some(_)) => {
            wrong.say(path("customer"), "must be 1 to 128 bytes without control characters");
            None
        }
        (AboutWhom::Customer, Some(_), Some(_)) => {
            wrong.say(path("customer"), "is not wanted beside `account`: leave one out");
            None
        }
        (AboutWhom::Customer, None, None) => {
            wrong.say(path("account"), "is missing: send it, or your own reference as `customer`");
            None
        }
    }
}

/// The fields, split into what may stand in the clear and what is sealed.
fn split(
    wrong: &mut Wrong,
    place: usize,
    fields: &BTreeMap<String, Value>,
    kind: &KindSpec,
) -> (Map<String, Value>, Map<String, Value>) {
    let path = |field: &str| format!("facts[{place}].fields.{field}");
    let (mut plain, mut sealed) = (Map::new(), Map::new());
    let mut bytes = 0;
    for (name, value) in fields {
        let Some(spec) = kind.field(name) else {
            // The name is what the caller sent: not repeated unless it is a plain one.
            let shown =
                name.len() <= 48 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let at = if shown { path(name) } else { format!("facts[{place}].fields") };
            wrong.say(at, "is not known here: leave it out");
            continue;
        };
        match read(value, spec) {
            Ok(value) => {
                bytes += name.len() + value.to_string().len();
                let part = if spec.is_sealed() { &mut sealed } else { &mut plain };
                part.insert(name.clone(), value);
            }
            Err(detail) => wrong.say(path(name), detail),
        }
    }
    for spec in kind.fields.iter().filter(|spec| !spec.optional) {
        if !fields.contains_key(&spec.name) {
            wrong.say(path(&spec.name), "is missing: send it");
        }
    }
    if bytes > FACT_BYTES {
        wrong.say(format!("facts[{place}].fields"), "are more than 32768 bytes in all: send less");
    }
    (plain, sealed)
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A value as its field's type has it, or how to mend it.
fn read(value: &Value, spec: &FieldSpec) -> Result<Value, String> {
    let text = || value.as_str();
    let good = match spec.holds {
        FieldType::Text => {
            let fine = |text: &str| text.len() <= spec.max_bytes && !text.contains('\0');
            return good(text().is_some_and(fine), value, || {
                format!(
                    "is not what is wanted here: send a text of at most {} bytes",
                    spec.max_bytes
                )
            });
        }
        FieldType::Word => {
            let fine = |text: &str| spec.words.iter().any(|word| word == text);
            return good(text().is_some_and(fine), value, || {
                format!("is not what is wanted here: send one of {}", spec.words.join(", "))
            });
        }
        FieldType::Id => (text().is_some_and(is_id), "an id of 1 to 128 bytes"),
        FieldType::Account => {
            let fine = |text: &str| text.parse::<AccountId>().is_ok();
            (text().is_some_and(fine), "an account's id, as usr_ and 26 letters")
        }
        FieldType::Ids => {
            let fine = |list: &Vec<Value>| {
                list.len() <= IDS_MAX && list.iter().all(|id| id.as_str().is_some_and(is_id))
            };
            (value.as_array().is_some_and(fine), "a list of at most 50 ids")
        }
        FieldType::Int => (value.is_i64(), "a whole number"),
        FieldType::Amount => {
            let fine = |amount: i64| (0..=AMOUNT_MAX).contains(&amount);
            (value.as_i64().is_some_and(fine), "a whole number of minor units, 0 or more")
        }
        FieldType::Flag => (value.is_boolean(), "true or false"),
        FieldType::Currency => {
            let fine = |text: &str| kernel::Currency::try_from(text.to_owned()).is_ok();
            (text().is_some_and(fine), "a currency, as EUR")
        }
        FieldType::Time => {
            let fine = |text: &str| moment::read(text).is_some();
            (text().is_some_and(fine), "a moment, as 2026-11-24T02:25:40Z")
        }
    };
    let (fine, wanted) = good;
    self::good(fine, value, || format!("is not what is wanted here: send {wanted}"))
}

fn good(fine: bool, value: &Value, mend: impl FnOnce() -> String) -> Result<Value, String> {
    if fine { Ok(value.clone()) } else { Err(mend()) }
}
