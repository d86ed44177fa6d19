//! Facts of the shop: taken once each, all of a batch or none, told as events of the shop's kinds.
//!
//! What was taken is remembered by a keyed digest of its id, in the transaction of its event. Of
//! two that send the same at once, one takes it; the other finds it taken, and answers alike.

mod check;
mod kind;
mod store;

use std::collections::{BTreeMap, HashMap};

use kernel::FieldProblem;
use kernel::{AccountId, Ctx, EventId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use spine::{About, SealError, Subject, Tx, transact};
use utoipa::ToSchema;
use vault::Place;

pub(crate) use self::store::STATEMENTS;
pub use check::{Batch, Fact, Fields};
pub use kind::{AboutWhom, Catalogue, FieldSpec, FieldType, KindSpec};

use crate::error::Error;
use crate::room::Access;
use check::{Checked, Digest, Whose, half};
use store::Known;

/// Tries at a batch that others are taking too; each failed one means that another got on.
const TRIES: u32 = 16;

/// A fact that was taken, now or before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TakenFact)]
pub struct Taken {
    /// The shop's id of it.
    pub id: String,
    /// The event that tells it.
    pub event: EventId,
}

/// A fact, and whose key seals it.
struct Aimed<'a> {
    fact: &'a Checked<'a>,
    subject: Subject,
}

impl Access {
    /// Takes facts of the shop: all of them, or none. A fact that was taken before is not taken
    /// again and is answered alike, as long as its id is remembered.
    ///
    /// # Errors
    /// [`Error::Fields`] with everything that is wrong; [`Error::FactConflict`] where an id was
    /// used before for another fact; [`Error::Raced`]; the store's and the vault's.
    pub async fn take_facts(&self, ctx: &Ctx, batch: &Batch) -> Result<Vec<Taken>, Error> {
        let facts = check::check(batch, self.kinds(), self.vault()).map_err(Error::Fields)?;
        for _ in 0..TRIES {
            let known = self.known_facts(&facts, ctx.now).await?;
            refuse_conflicts(&facts, &known)?;
            let fresh: Vec<&Checked<'_>> =
                facts.iter().filter(|fact| !known.contains_key(&fact.index)).collect();
            if fresh.is_empty() {
                return answer(&facts, &known, &HashMap::new());
            }
            self.refuse_skew(&fresh, ctx.now)?;
            let aimed = self.aim(ctx, &fresh).await?;
            match self.tell(ctx, &aimed).await {
                Ok(events) => return answer(&facts, &known, &events),
                Err(Error::Raced) => {}
                Err(other) => return Err(other),
            }
        }
        Err(Error::Raced)
    }

    /// Tells and claims in one transaction. [`Error::Raced`] where another claimed one of them.
    async fn tell(
        &self,
        ctx: &Ctx,
        aimed: &[Aimed<'_>],
    ) -> Result<HashMap<Digest, EventId>, Error> {
        transact!(self.spine(), ctx, tx => {
            let mut events = BTreeMap::new();
            for one in aimed {
                events.insert(one.fact.index, (one.fact.body, self.tell_one(&mut tx, one)?));
            }
            if self.claim(&mut tx, &events).await? < events.len() {
                return Err(Error::Raced);
            }
            Ok::<_, Error>(events.into_iter().map(|(index, (_, event))| (index, event)).collect())
        })
    }

    fn tell_one(&self, tx: &mut Tx, one: &Aimed<'_>) -> Result<EventId, Error> {
        let fact = one.fact;
        let (mut plain, mut sealed) = (fact.plain.clone(), fact.sealed.clone());
        // Names of fields begin with a letter: these are never one of them.
        if let Some(at) = fact.at {
            plain.insert("_at".to_owned(), Value::from(at.micros()));
        }
        sealed.insert("_fact".to_owned(), Value::from(fact.id));
        if let Whose::Customer(reference) = &fact.whose {
            sealed.insert("_customer".to_owned(), Value::from(reference.as_str()));
        }
        let about = About {
            subject: one.subject,
            aggregate: fact.kind.noun(),
            aggregate_id: self.thing_id(fact),
            version: fact.version,
        };
        match tx.emit_foreign(about, fact.kind.name.clone(), plain, sealed) {
            Ok(event) => Ok(event),
            Err(spine::Error::Seal(SealError::Erased | SealError::Unresolved)) => {
                Err(no_account(fact))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The same thing has the same id in the log, whatever the shop calls it.
    fn thing_id(&self, fact: &Checked<'_>) -> [u8; 16] {
        let Some(thing) = &fact.thing else { return [0; 16] };
        let name = format!("{}|{thing}", fact.kind.noun());
        half(self.vault().blind("access_fact.thing", name.as_bytes()))
    }

    /// Whose key seals each fact; accounts that are unknown or erased are refused.
    async fn aim<'a>(&self, ctx: &Ctx, fresh: &[&'a Checked<'a>]) -> Result<Vec<Aimed<'a>>, Error> {
        let mut references: HashMap<&str, Option<AccountId>> = HashMap::new();
        let mut aimed = Vec::with_capacity(fresh.len());
        for fact in fresh {
            let subject = match &fact.whose {
                Whose::Nobody => Subject::House,
                Whose::Account(account) => Subject::Account(*account),
                Whose::Customer(reference) => {
                    let known = references.get(reference.as_str()).copied();
                    let found = match known {
                        Some(found) => found,
                        None => self.find_customer(reference, ctx).await?,
                    };
                    references.insert(reference, found);
                    // Unknown to us: under the key of the day, which retention destroys.
                    found.map_or(Subject::Day(ctx.now.day()), Subject::Account)
                }
            };
            aimed.push(Aimed { fact, subject });
        }
        let mut subjects: Vec<Subject> = aimed.iter().map(|one| one.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        self.vault().resolve(&subjects).await?;
        self.refuse_strangers(ctx, &aimed)?;
        Ok(aimed)
    }

    async fn find_customer(&self, reference: &str, ctx: &Ctx) -> Result<Option<AccountId>, Error> {
        match &self.parts().customers {
            Some(customers) => Ok(customers.find(reference, ctx).await?),
            None => Ok(None),
        }
    }

    /// An account without a key is none, or was erased: nobody is told which.
    fn refuse_strangers(&self, ctx: &Ctx, aimed: &[Aimed<'_>]) -> Result<(), Error> {
        const PROBE: Place<'static> = Place { table: "access_fact", column: "probe", row: [0; 16] };
        let mut seen: HashMap<Subject, bool> = HashMap::new();
        let mut wrong = Vec::new();
        for one in aimed.iter().filter(|one| matches!(one.subject, Subject::Account(_))) {
            let stands = match seen.get(&one.subject) {
                Some(stands) => *stands,
                None => match self.vault().seal(one.subject, PROBE, &[], ctx.entropy()) {
                    Ok(_) => true,
                    Err(vault::Error::Erased | vault::Error::Unresolved) => false,
                    Err(other) => return Err(other.into()),
                },
            };
            seen.insert(one.subject, stands);
            if !stands && let Error::Fields(fields) = no_account(one.fact) {
                wrong.extend(fields);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::Fields(wrong)) }
    }

    fn refuse_skew(&self, fresh: &[&Checked<'_>], now: Timestamp) -> Result<(), Error> {
        let config = &self.config().facts;
        let (first, last) = (now.minus(config.behind_max()), now.plus(config.ahead_max()));
        let wrong: Vec<FieldProblem> = fresh
            .iter()
            .filter_map(|fact| {
                let at = fact.at?;
                let detail = if at > last {
                    "lies in the future: set the shop's clock by NTP"
                } else if at < first {
                    "lies too far in the past: see access.facts.behind_max_h"
                } else {
                    return None;
                };
                let field = format!("facts[{}].at", fact.place);
                Some(FieldProblem::new(field, detail))
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(Error::Fields(wrong)) }
    }
}

fn no_account(fact: &Checked<'_>) -> Error {
    let field = match fact.whose {
        Whose::Customer(_) => "customer",
        Whose::Nobody | Whose::Account(_) => "account",
    };
    Error::field(
        format!("facts[{}].{field}", fact.place),
        "is no account here: leave this fact out",
    )
}

fn refuse_conflicts(facts: &[Checked<'_>], known: &Known) -> Result<(), Error> {
    let wrong: Vec<FieldProblem> = facts
        .iter()
        .filter(|fact| known.get(&fact.index).is_some_and(|(body, _)| *body != fact.body))
        .map(|fact| {
            let detail = "was used before for a fact with other contents";
            FieldProblem::new(format!("facts[{}].id", fact.place), detail)
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(Error::FactConflict(wrong)) }
}

/// The answer, in the order of the batch.
fn answer(
    facts: &[Checked<'_>],
    known: &Known,
    told: &HashMap<Digest, EventId>,
) -> Result<Vec<Taken>, Error> {
    let event = |fact: &Checked<'_>| {
        let before = known.get(&fact.index).map(|(_, event)| *event);
        before.or_else(|| told.get(&fact.index).copied())
    };
    facts
        .iter()
        .map(|fact| {
            let event = event(fact).ok_or(Error::Broken("a fact was taken without an event"))?;
            Ok(Taken { id: fact.id.to_owned(), event })
        })
        .collect()
}
