//! Events as OCSF 1.5 (schema.ocsf.io): the class that the catalogue names for a kind, with what
//! that class asks for. What has no place there stands under `unmapped`.
//!
//! Ids, addresses and e-mails are keyed pseudonyms, 32 hexadecimal digits: the same person or
//! address is the same each time, and nobody without the vault's key can tell who it is (O3).

mod meaning;

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::AccountId;
use serde_json::{Map, Value, json};
use spine::{EventSpec, Opened, Recorded, Sealer, Subject};

use meaning::{Meaning, Status};

/// The version of the schema that is spoken.
pub const VERSION: &str = "1.5.0";
/// The class of the shop's own facts: an activity of its API.
const API_ACTIVITY: u32 = 6003;

/// Writes events as OCSF.
#[derive(Clone)]
pub struct Mapper {
    /// The catalogue: class and words of each kind.
    pub catalogue: Arc<BTreeMap<&'static str, EventSpec>>,
    /// Makes the pseudonyms.
    pub sealer: Arc<dyn Sealer>,
    /// The log's present name.
    pub origin: String,
    /// The program's version.
    pub product_version: &'static str,
    /// People as they are.
    pub include_personal: bool,
}

impl std::fmt::Debug for Mapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapper").field("include_personal", &self.include_personal).finish()
    }
}

/// An event as it is told outside.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its leaf.
    pub index: i64,
    /// `room.what_happened`.
    pub kind: String,
    /// OCSF severity: 1 informational to 5 critical.
    pub severity: u8,
    /// When, milliseconds since 1970.
    pub time_ms: i64,
    /// The whole, without a line break.
    pub json: Value,
}

impl Mapper {
    /// The event as OCSF.
    #[must_use]
    pub fn tell(&self, event: &Recorded) -> Told {
        let spec = self.catalogue.get(event.kind.as_str());
        let class = spec.map_or(API_ACTIVITY, |spec| spec.ocsf);
        let about = spec.map_or("A fact that the shop told.", |spec| spec.about.trim());
        let meaning = Meaning::of(class, &event.kind, &event.plain);
        let mut told = json!({
            "class_uid": class,
            "category_uid": class / 1_000,
            "activity_id": meaning.activity,
            "type_uid": u64::from(class) * 100 + u64::from(meaning.activity),
            "severity_id": meaning.severity,
            "time": event.at.millis(),
            "message": about.split_whitespace().collect::<Vec<_>>().join(" "),
            "metadata": {
                "version": VERSION,
                "product": {
                    "name": "Stagedoor", "vendor_name": "Stagedoor",
                    "version": self.product_version,
                },
                "uid": event.id.to_string(),
                "sequence": event.index,
                "event_code": event.kind,
                "log_name": self.origin,
            },
            "actor": self.actor(event),
            "src_endpoint": self.endpoint(event),
            "unmapped": self.unmapped(event),
        });
        if let Value::Object(fields) = &mut told {
            if meaning.activity == 99 {
                let word = event.kind.rsplit_once('.').map_or("", |(_, word)| word);
                fields.insert("activity_name".to_owned(), json!(word.replace('_', " ")));
            }
            self.of_class(class, event, &meaning, fields);
        }
        let (index, kind) = (event.index, event.kind.clone());
        Told { index, kind, severity: meaning.severity, time_ms: event.at.millis(), json: told }
    }

    /// What the class asks for beyond what all have.
    fn of_class(
        &self,
        class: u32,
        event: &Recorded,
        meaning: &Meaning,
        fields: &mut Map<String, Value>,
    ) {
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        match class {
            2_003 | 2_004 => {
                let title = event.plain.get("rule").and_then(Value::as_str);
                let title = title.unwrap_or(event.kind.as_str());
                let uid = self.pseudonym(&event.aggregate_id);
                put("finding_info", json!({ "uid": uid, "title": title }));
                put("status_id", json!(meaning.finding_state()));
                if class == 2_003 {
                    let holds = event.plain.get("holds").and_then(Value::as_bool);
                    let state = if holds == Some(true) { 1 } else { 3 };
                    let control = "the log and every row that it attests";
                    let kept = json!({ "control": control, "status_id": state, "standards": [] });
                    put("compliance", kept);
                }
                return;
            }
            3_001 | 3_002 => {
                put("user", self.user(event));
            }
            3_004 => {
                let uid = self.pseudonym(&event.aggregate_id);
                put("entity", json!({ "name": event.aggregate, "uid": uid }));
            }
            3_005 => {
                put("user", self.user(event));
                let given = event.plain.get("roles").or_else(|| event.plain.get("kind"));
                let given = given.and_then(Value::as_str).unwrap_or_default();
                let given: Vec<&str> =
                    given.split([' ', ',']).filter(|word| !word.is_empty()).collect();
                put("privileges", json!(given));
            }
            4_002 => {
                put("http_request", json!({ "http_headers": [] }));
            }
            6_005 => {
                put("database", json!({ "name": "stagedoor", "type_id": 1 }));
            }
            _ => {
                let service = json!({ "name": "stagedoor" });
                put("api", json!({ "operation": event.kind, "service": service }));
            }
        }
        if class == 3_002 {
            put("service", json!({ "name": "stagedoor" }));
        }
        put("status_id", json!(if meaning.status == Status::Failure { 2 } else { 1 }));
    }

    fn pseudonym(&self, bytes: &[u8]) -> String {
        hex(&self.sealer.pseudonym(bytes))
    }

    /// The same pseudonym wherever the account is named.
    fn account(&self, id: AccountId) -> Value {
        let pseudonym = self.pseudonym(&Subject::Account(id).to_bytes());
        if self.include_personal {
            json!({ "uid": id.to_string(), "uid_alt": pseudonym })
        } else {
            json!({ "uid": pseudonym })
        }
    }

    fn actor(&self, event: &Recorded) -> Value {
        let name = event.actor_name();
        let account = name.and_then(|name| name.parse::<AccountId>().ok());
        match (event.actor_kind.as_str(), account, name) {
            (_, Some(id), _) => json!({ "user": self.account(id) }),
            ("system", None, Some(part)) => json!({ "app_name": format!("stagedoor {part}") }),
            ("service", None, Some(key)) => {
                let key = if self.include_personal {
                    key.to_owned()
                } else {
                    self.pseudonym(key.as_bytes())
                };
                json!({ "app_name": "service", "app_uid": key })
            }
            (kind, None, _) => json!({ "app_name": kind }),
        }
    }

    fn endpoint(&self, event: &Recorded) -> Value {
        let named = || event.sealed_text("address").and_then(|text| text.parse().ok());
        match event.origin().address.or_else(named) {
            Some(address) if self.include_personal => json!({ "ip": address.to_string() }),
            Some(address) => json!({ "uid": self.pseudonym(address.to_string().as_bytes()) }),
            None => json!({ "svc_name": "stagedoor" }),
        }
    }

    /// Who it is about: an account, or the e-mail address that was tried.
    fn user(&self, event: &Recorded) -> Value {
        let email = event.sealed_text("email");
        let mut user = match (event.account(), email) {
            (Some(id), _) => self.account(id),
            (None, Some(email)) => {
                json!({ "uid": self.pseudonym(email.trim().to_lowercase().as_bytes()) })
            }
            (None, None) => json!({ "name": "unknown" }),
        };
        if let (Value::Object(fields), Some(email), true) =
            (&mut user, email, self.include_personal)
        {
            fields.insert("email_addr".to_owned(), json!(email));
        }
        user
    }

    fn unmapped(&self, event: &Recorded) -> Value {
        let mut fields = event.plain.clone();
        fields.insert("leaf_hash".to_owned(), json!(hex(&event.leaf)));
        fields.insert("aggregate".to_owned(), json!(event.aggregate));
        fields.insert("aggregate_uid".to_owned(), json!(self.pseudonym(&event.aggregate_id)));
        fields.insert("aggregate_version".to_owned(), json!(event.version));
        let lost = match &event.sealed {
            Opened::Whole(sealed) if self.include_personal => {
                fields.insert("sealed".to_owned(), Value::Object(sealed.clone()));
                None
            }
            Opened::Whole(_) => None,
            Opened::Erased => Some("erased"),
            Opened::Deleted => Some("deleted"),
            Opened::Missing => Some("missing"),
            Opened::Forged => Some("forged"),
        };
        if let Some(why) = lost {
            fields.insert("sealed_part".to_owned(), json!(why));
        }
        Value::Object(fields)
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
