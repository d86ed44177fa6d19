//! What leaves the log by right: the bodies whose time is over, and the link to an erased person.
//!
//! Both are told in the log itself. A body or a link that is missing and was not told of is a
//! fault: who has the database's password cannot blank an event and call it retention.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kernel::{AccountId, Timestamp};
use serde_json::{Map, Value as Json};
use store::{FromRow, Row, args, sql};

use crate::events::{BodiesRetired, SubjectCut};
use crate::leaf::Leaf;
use crate::{About, Error, Event as _, Spine, Subject};

sql! {
    read DUE = "SELECT kind, MIN(at) AS oldest, MIN(idx) AS low, MAX(idx) AS high \
         FROM spine_leaf WHERE body IS NOT NULL GROUP BY kind";
    upkeep DELETE_BODIES in spine_leaf =
        "UPDATE spine_leaf SET body = NULL WHERE kind = $1 AND at < $2 AND body IS NOT NULL \
         AND idx >= $3 AND idx < $4";
    upkeep CUT_SUBJECT in spine_leaf = "UPDATE spine_leaf SET subject = NULL WHERE subject = $1";
    upkeep CUT_PENDING in spine_outbox =
        "UPDATE spine_outbox SET subject = NULL WHERE subject = $1";
}

/// Leaves that one statement looks at, so that none holds SQLite's writer for long.
const WINDOW: i64 = 2_000;

struct Due {
    kind: String,
    oldest: Timestamp,
    low: i64,
    high: i64,
}

impl FromRow for Due {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        let (kind, oldest) = (row.text("kind")?, row.time("oldest")?);
        Ok(Self { kind, oldest, low: row.int("low")?, high: row.int("high")? })
    }
}

impl Spine {
    /// Cuts the link between an erased person and the person's events, also those that wait for
    /// their leaf, and tells so; to be called once the key is destroyed. Returns how many events
    /// there were.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`].
    pub async fn cut_subject(&self, account: AccountId) -> Result<u64, Error> {
        self.0.sealer.resolve(&[Subject::House]).await?;
        let subject = Subject::Account(account).to_bytes();
        let ctx = self.system_ctx("erasure");
        crate::transact!(self, &ctx, tx => {
            let mut cut = tx.upkeep(&CUT_SUBJECT, args![subject]).await?;
            cut += tx.upkeep(&CUT_PENDING, args![subject]).await?;
            if cut > 0 {
                let subject = hex(&self.0.sealer.pseudonym(&subject));
                tx.emit(About::house("log", [0; 16], 0), SubjectCut { subject })?;
            }
            Ok::<_, Error>(cut)
        })
    }

    /// Deletes the bodies of events whose time is over; entries and hashes stay. `kinds` are kinds
    /// of event with the days that their bodies are kept. Returns how many were deleted.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`].
    pub async fn retire_bodies(
        &self,
        kinds: impl IntoIterator<Item = (String, u32)>,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let days: BTreeMap<String, u32> = kinds.into_iter().collect();
        let due: Vec<Due> = self.read().await?.all(&DUE, args![]).await?;
        let mut deleted = 0;
        for due in due {
            let Some(days) = days.get(&due.kind) else { continue };
            let before = now.minus(Duration::from_secs(u64::from(*days) * 86_400));
            if due.oldest < before {
                self.tell_retirement(&due.kind, before).await?;
                deleted += self.delete_bodies(&due, before).await?;
            }
        }
        Ok(deleted)
    }

    /// First told, then done: a crash between the two leaves bodies, and no fault.
    async fn tell_retirement(&self, kind: &str, before: Timestamp) -> Result<(), Error> {
        self.0.sealer.resolve(&[Subject::House]).await?;
        let ctx = self.system_ctx("retention");
        crate::transact!(self, &ctx, tx => {
            let told = BodiesRetired { of_kind: kind.to_owned(), before_us: before.micros() };
            tx.emit(About::house("log", [0; 16], 0), told)?;
            Ok::<_, Error>(())
        })
    }

    async fn delete_bodies(&self, due: &Due, before: Timestamp) -> Result<u64, Error> {
        let mut deleted = 0;
        let mut from = due.low;
        while from <= due.high {
            let to = from.saturating_add(WINDOW);
            let mut upkeep = self.upkeep().await?;
            let window = args![due.kind.as_str(), before, from, to];
            deleted += upkeep.run(&DELETE_BODIES, window).await?;
            upkeep.commit().await?;
            from = to;
        }
        Ok(deleted)
    }
}

/// What is missing from the log, and what was told of it.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    /// The youngest missing body of each kind: its time, and its leaf where it has one.
    gone: BTreeMap<String, (i64, Option<i64>)>,
    /// Until when the bodies of each kind were told to be retired.
    told: BTreeMap<String, i64>,
    /// Subjects, by pseudonym, whose link is missing, with a leaf where it is.
    cut: BTreeMap<[u8; 16], Option<i64>>,
    /// Subjects that were told to be cut, by pseudonym in hex.
    told_cut: BTreeSet<String>,
}

impl Retired {
    /// Takes in a leaf without faults.
    pub(crate) fn learn(&mut self, index: Option<i64>, leaf: &Leaf) {
        let Some(entry) = &leaf.entry else { return };
        if leaf.subject.is_none() {
            self.cut.entry(entry.subject).or_insert(index);
        }
        let Some((plain, _)) = &leaf.body else {
            let youngest = self.gone.entry(entry.kind.clone()).or_insert((entry.at, index));
            *youngest = (*youngest).max((entry.at, index));
            return;
        };
        if entry.kind == BodiesRetired::SPEC.kind || entry.kind == SubjectCut::SPEC.kind {
            let fields: Map<String, Json> = serde_json::from_slice(plain).unwrap_or_default();
            self.learn_told(&fields);
        }
    }

    fn learn_told(&mut self, fields: &Map<String, Json>) {
        let text = |name: &str| fields.get(name).and_then(Json::as_str).map(str::to_owned);
        if let (Some(kind), Some(before)) =
            (text("of_kind"), fields.get("before_us").and_then(Json::as_i64))
        {
            let until = self.told.entry(kind).or_insert(before);
            *until = (*until).max(before);
        }
        self.told_cut.extend(text("subject"));
    }

    /// What is missing and was not told of: a leaf, and what is wrong there.
    pub(crate) fn faults(&self) -> Vec<(Option<i64>, &'static str)> {
        let bodies = self.gone.iter().filter_map(|(kind, (at, index))| {
            let told = self.told.get(kind).is_some_and(|before| at < before);
            (!told).then_some((*index, "its body is gone, and nothing tells why"))
        });
        let subjects = self.cut.iter().filter_map(|(subject, index)| {
            let told = self.told_cut.contains(&hex(subject));
            (!told).then_some((*index, "its subject is gone, and nothing tells why"))
        });
        bodies.chain(subjects).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
