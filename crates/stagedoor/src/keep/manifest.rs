//! What a backup says of itself: its head, before the rows, and its end, behind them.

use anyhow::Context as _;
use kernel::Timestamp;
use serde::{Deserialize, Serialize};
use store::Migration;
use store::copy::{Shape, Tally};

/// The format that this program writes and reads.
const FORMAT: u32 = 1;

/// What is in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The facts and the log.
    Data,
    /// The keys, wrapped, and the files that open them.
    Keys,
}

impl Kind {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Keys => "keys",
        }
    }
}

/// The head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub format: u32,
    pub kind: Kind,
    /// The version of the program that took it.
    pub program: String,
    pub taken_at_us: i64,
    /// Which vault's keys open what is in it.
    pub vault: String,
    /// The log at the moment of the backup; only with data.
    pub log: Option<LogAt>,
    pub steps: Vec<Step>,
    pub tables: Vec<TableShape>,
}

/// Where the log stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogAt {
    pub origin: String,
    pub leaves: u64,
    pub checkpoint: String,
}

/// A step of the schema that the rows have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub version: i64,
    pub name: String,
    pub mark: i64,
}

/// A table's columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableShape {
    pub table: String,
    pub columns: Vec<String>,
}

/// The end: what there was of each table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub tables: Vec<TableEnd>,
}

/// How much of a table there was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableEnd {
    pub rows: u64,
    pub bytes: u64,
    pub digest: String,
}

/// What a manifest is made from.
pub(crate) struct Taken<'a> {
    pub kind: Kind,
    pub at: Timestamp,
    pub vault: [u8; 16],
    pub steps: &'a [Migration],
    pub shapes: &'a [Shape],
}

impl Manifest {
    /// The head of a backup that this program takes now.
    pub(crate) fn of(taken: &Taken<'_>) -> Self {
        let step = |step: &Migration| Step {
            version: step.version,
            name: step.name.to_owned(),
            mark: step.mark(),
        };
        let table = |shape: &Shape| TableShape {
            table: shape.table().to_owned(),
            columns: shape.columns().to_vec(),
        };
        Self {
            format: FORMAT,
            kind: taken.kind,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at_us: taken.at.micros(),
            vault: vault_text(taken.vault),
            log: None,
            steps: taken.steps.iter().map(step).collect(),
            tables: taken.shapes.iter().map(table).collect(),
        }
    }

    /// Reads a head, and refuses what this program cannot restore.
    pub(crate) fn read(bytes: &[u8], kind: Kind) -> anyhow::Result<Self> {
        let manifest: Self = serde_json::from_slice(bytes)
            .context("its head is not one that this program reads: it may be of a newer one")?;
        anyhow::ensure!(
            manifest.format == FORMAT,
            "it has the format {}, and this program reads {FORMAT}: run the newer program",
            manifest.format
        );
        anyhow::ensure!(
            manifest.kind == kind,
            "it is a backup of {}, not of {}",
            manifest.kind.word(),
            kind.word()
        );
        Ok(manifest)
    }

    /// When it was taken.
    pub(crate) const fn taken_at(&self) -> Timestamp {
        Timestamp::from_micros(self.taken_at_us)
    }

    /// Its tables.
    pub(crate) fn shapes(&self) -> anyhow::Result<Vec<Shape>> {
        let shape = |table: &TableShape| Ok(Shape::new(&table.table, table.columns.clone())?);
        self.tables.iter().map(shape).collect()
    }

    /// The steps that its rows have, and those that came since.
    ///
    /// # Errors
    /// Where this program lacks one, or has another text of it.
    pub(crate) fn steps(
        &self,
        ours: &[Migration],
    ) -> anyhow::Result<(Vec<Migration>, Vec<Migration>)> {
        for step in &self.steps {
            let known = ours.iter().find(|ours| ours.version == step.version);
            let known = known.with_context(|| {
                let (name, program) = (&step.name, &self.program);
                format!(
                    "it has step {name} of the schema, which this program does not know: restore \
                     with version {program} or newer"
                )
            })?;
            anyhow::ensure!(
                known.mark() == step.mark,
                "step {} of its schema is another than this program's",
                step.name
            );
        }
        let mut steps = ours.to_vec();
        steps.sort_by_key(|step| step.version);
        let has = |ours: &Migration| self.steps.iter().any(|step| step.version == ours.version);
        Ok(steps.into_iter().partition(has))
    }
}

impl End {
    /// The end of a backup with these tables.
    pub(crate) fn of(tallies: &[Tally]) -> Self {
        let end = |tally: &Tally| TableEnd {
            rows: tally.rows,
            bytes: tally.bytes,
            digest: tally.digest_text(),
        };
        Self { tables: tallies.iter().map(end).collect() }
    }
}

/// A vault's name as text.
pub(crate) fn vault_text(name: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Migration = Migration { version: 1, name: "demo/0001_a", text: "a" };
    const B: Migration = Migration { version: 2, name: "demo/0002_b", text: "b" };

    fn manifest(steps: &[Migration]) -> Manifest {
        let taken = Taken {
            kind: Kind::Data,
            at: Timestamp::from_micros(7),
            vault: [1; 16],
            steps,
            shapes: &[Shape::new("demo_thing", ["id"]).unwrap()],
        };
        Manifest::of(&taken)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let written = manifest(&[A]);
        let bytes = serde_json::to_vec(&written).unwrap();
        assert_eq!(Manifest::read(&bytes, Kind::Data).unwrap(), written);
        assert!(Manifest::read(&bytes, Kind::Keys).is_err());
        assert!(Manifest::read(b"{}", Kind::Data).is_err());
    }

    #[test]
    fn an_older_backup_is_brought_forward_and_a_newer_one_refused() {
        let (has, since) = manifest(&[A]).steps(&[A, B]).unwrap();
        assert_eq!((has.len(), since.len()), (1, 1));
        assert_eq!(since[0].version, 2);
        let newer = manifest(&[A, B]).steps(&[A]).unwrap_err().to_string();
        assert!(newer.contains("does not know"), "{newer}");
        let edited = Migration { text: "other", ..A };
        assert!(manifest(&[edited]).steps(&[A]).is_err());
    }
}
