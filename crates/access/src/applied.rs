//! The edge's configuration in force: planned, applied, shown, and put back. Each version of each
//! section is a row, so any earlier configuration can be read again; one row changes once, when its
//! version goes out of force.

use std::sync::Arc;

use kernel::{AccountId, Actor, Ctx, KeyId, Limits, Timestamp};
use serde::Serialize;
use spine::{About, FromRow, Row, StoreError, Tx, args, sql, transact};
use utoipa::ToSchema;
use web::feed::{Delta, RouteTable};

use crate::edge_config::EdgeConfig;
use crate::error::{ConfigProblem, Error};
use crate::events::ConfigApplied;
use crate::plan::{Diff, Section, Sections, assemble, compare, plan, sections};
use crate::room::Access;

sql! {
    read IN_FORCE = "SELECT id, section, name, body FROM access_config \
        WHERE to_revision IS NULL ORDER BY section, name";
    read AT = "SELECT id, section, name, body FROM access_config WHERE from_revision <= $1 \
        AND (to_revision IS NULL OR to_revision > $1) ORDER BY section, name";
    read NEWEST = "SELECT CAST(COALESCE(MAX(number), 0) AS BIGINT) AS number FROM access_revision";
    read REVISIONS = "SELECT number, author, added, changed, removed, applied_at \
        FROM access_revision WHERE number < $1 ORDER BY number DESC LIMIT $2";
    fact REVISE in access_revision = "INSERT INTO access_revision \
        (id, version, number, author, added, changed, removed, applied_at) \
        VALUES ($1, 1, $2, $3, $4, $5, $6, $7) ON CONFLICT (number) DO NOTHING RETURNING id";
    fact BEGIN in access_config = "INSERT INTO access_config \
        (id, version, section, name, body, from_revision, to_revision) \
        VALUES ($1, 1, $2, $3, $4, $5, NULL) RETURNING id";
    fact END in access_config = "UPDATE access_config SET to_revision = $2, version = version + 1 \
        WHERE id = $1 AND to_revision IS NULL RETURNING id";
}

/// What an apply did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision in force now; the one before where nothing changed.
    pub revision: i64,
    /// What changed.
    pub diff: Diff,
}

/// One change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EdgeRevision)]
pub struct Revision {
    /// Its number, from 1.
    pub number: i64,
    /// The operator's account; none for the command line.
    pub author: Option<AccountId>,
    /// Sections that came.
    pub added: i64,
    /// Sections that became others.
    pub changed: i64,
    /// Sections that went.
    pub removed: i64,
    /// When, in microseconds since 1970.
    pub applied_at: Timestamp,
}

impl FromRow for Revision {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let author: Option<[u8; 16]> = row
            .opt_bytes("author")?
            .map(|bytes| bytes.try_into())
            .transpose()
            .map_err(|_| StoreError::Column { column: "author" })?;
        Ok(Self {
            number: row.int("number")?,
            author: author.map(AccountId::from_bytes),
            added: row.int("added")?,
            changed: row.int("changed")?,
            removed: row.int("removed")?,
            applied_at: row.time("applied_at")?,
        })
    }
}

struct SectionRow {
    id: [u8; 16],
    section: Section,
    name: String,
    body: String,
}

impl FromRow for SectionRow {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let section = Section::parse(&row.text("section")?);
        Ok(Self {
            id: row.id16("id")?,
            section: section.ok_or(StoreError::Column { column: "section" })?,
            name: row.text("name")?,
            body: row.text("body")?,
        })
    }
}

struct Number(i64);

impl FromRow for Number {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.int("number").map(Self)
    }
}

/// In order of name, which no two databases spell alike.
fn config_of(rows: &[SectionRow]) -> Result<EdgeConfig, Error> {
    let mut rows: Vec<&SectionRow> = rows.iter().collect();
    rows.sort_by_key(|row| (row.section, &row.name));
    assemble(rows.iter().map(|row| (row.section, row.body.clone())))
}

impl Access {
    /// The configuration in force and its revision; empty, 0, before the first apply.
    ///
    /// # Errors
    /// [`Error::Spine`].
    pub async fn in_force(&self) -> Result<(i64, EdgeConfig), Error> {
        let mut read = self.spine().read().await?;
        // The number first: a change in between makes an apply of this plan stale, never wrong.
        let Number(number) = read.one(&NEWEST, args![]).await?;
        let rows: Vec<SectionRow> = read.all(&AT, args![number]).await?;
        Ok((number, config_of(&rows)?))
    }

    /// What an apply of `wanted` would change, and the revision that it would change.
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot be in force; [`Error::Spine`].
    pub async fn plan(&self, wanted: &EdgeConfig) -> Result<(i64, Diff), Error> {
        let (revision, current) = self.in_force().await?;
        Ok((revision, plan(&current, wanted)?))
    }

    /// Puts `wanted` in force, tells it, and publishes it to the edges after the commit. `base` is
    /// the revision that was planned on, where one was. Nothing is told where nothing changes.
    ///
    /// # Errors
    /// [`Error::Config`] where it cannot be in force, or changes more than 500 rows at once;
    /// [`Error::ConfigChanged`] where another apply came first; [`Error::Spine`].
    pub async fn apply(
        &self,
        ctx: &Ctx,
        wanted: &EdgeConfig,
        base: Option<i64>,
    ) -> Result<Applied, Error> {
        wanted.table()?;
        let wanted = sections(wanted)?;
        // As a cold edge will read it: in order of name.
        let bodies = wanted.iter().map(|((section, _), body)| {
            (*section, serde_json::Value::Object(body.clone()).to_string())
        });
        let table = assemble(bodies)?.table()?;
        transact!(self.spine(), ctx, tx => {
            self.apply_in(&mut tx, &wanted, base, &table).await
        })
    }

    async fn apply_in(
        &self,
        tx: &mut Tx,
        wanted: &Sections,
        base: Option<i64>,
        table: &RouteTable,
    ) -> Result<Applied, Error> {
        let Number(in_force) = tx.one(&NEWEST, args![]).await?;
        if base.is_some_and(|base| base != in_force) {
            return Err(Error::ConfigChanged { in_force });
        }
        let rows: Vec<SectionRow> = tx.all(&IN_FORCE, args![]).await?;
        let current = sections(&config_of(&rows)?)?;
        let diff = compare(&current, wanted)?;
        if diff.is_empty() {
            return Ok(Applied { revision: in_force, diff });
        }
        refuse_too_much(&diff)?;
        let revision = in_force + 1;
        self.write(tx, revision, &diff).await?;
        for row in &rows {
            let key = (row.section, row.name.clone());
            if wanted.get(&key) != current.get(&key) {
                let ended = tx.change_one(&END, args![row.id, revision]).await?;
                ended.ok_or(Error::ConfigChanged { in_force: revision })?;
            }
        }
        for (key, body) in wanted.iter().filter(|(key, body)| current.get(*key) != Some(*body)) {
            let id = KeyId::generate(tx.ctx().now, tx.ctx().entropy());
            let body = serde_json::to_string(body).map_err(spine::Error::from)?;
            let args = args![id.as_bytes(), key.0.as_str(), &key.1, body, revision];
            tx.change_one(&BEGIN, args).await?;
        }
        let (publisher, table) = (self.publisher().clone(), revised(table.clone(), revision));
        tx.after_commit(move || {
            publisher.publish(Delta::Routes(table));
        });
        Ok(Applied { revision, diff })
    }

    /// The revision's own row, and its event.
    async fn write(&self, tx: &mut Tx, revision: i64, diff: &Diff) -> Result<(), Error> {
        let id = KeyId::generate(tx.ctx().now, tx.ctx().entropy());
        let author = match tx.ctx().actor {
            Actor::Operator { id } => id.map(|id| *id.as_bytes()),
            Actor::Account { id, .. } => Some(*id.as_bytes()),
            Actor::Nobody | Actor::System(_) | Actor::Service { .. } => None,
        };
        let count = |changes: &[crate::plan::Change]| u64::try_from(changes.len()).unwrap_or(0);
        let (added, changed, removed) =
            (count(&diff.added), count(&diff.changed), count(&diff.removed));
        let int = |count: u64| i64::try_from(count).unwrap_or(0);
        let now = tx.ctx().now;
        let counts = (int(added), int(changed), int(removed));
        let args = args![id.as_bytes(), revision, author, counts.0, counts.1, counts.2, now];
        if tx.change_one(&REVISE, args).await?.is_none() {
            return Err(Error::ConfigChanged { in_force: revision });
        }
        let event = ConfigApplied { revision, added, changed, removed, diff: diff.told() };
        tx.emit(About::house("edge_config", [0; 16], revision), event)?;
        Ok(())
    }

    /// Puts the configuration of an earlier revision in force again, as a new revision.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there was no such revision; as [`Access::apply`].
    pub async fn roll_back(&self, ctx: &Ctx, revision: i64) -> Result<Applied, Error> {
        let earlier = self.config_at(revision).await?;
        self.apply(ctx, &earlier, None).await
    }

    /// The configuration that a revision put in force.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there was no such revision.
    pub async fn config_at(&self, revision: i64) -> Result<EdgeConfig, Error> {
        let mut read = self.spine().read().await?;
        let Number(newest) = read.one(&NEWEST, args![]).await?;
        if !(1..=newest).contains(&revision) {
            return Err(Error::NotFound);
        }
        let rows: Vec<SectionRow> = read.all(&AT, args![revision]).await?;
        config_of(&rows)
    }

    /// Earlier changes, newest first, below a number.
    ///
    /// # Errors
    /// [`Error::Spine`].
    pub async fn revisions(&self, before: Option<i64>, limit: i64) -> Result<Vec<Revision>, Error> {
        let limit = limit.clamp(1, Limits::PAGE_ROWS);
        let mut read = self.spine().read().await?;
        Ok(read.all(&REVISIONS, args![before.unwrap_or(i64::MAX), limit]).await?)
    }

    /// The routes in force, where their revision is later than the one that was seen last.
    pub(crate) async fn newer_routes(
        &self,
        seen: i64,
    ) -> Result<Option<(i64, Arc<RouteTable>)>, Error> {
        let mut read = self.spine().read().await?;
        let Number(newest) = read.one(&NEWEST, args![]).await?;
        drop(read);
        if newest <= seen {
            return Ok(None);
        }
        let (revision, config) = self.in_force().await?;
        Ok(Some((revision, revised(config.table()?, revision))))
    }
}

/// A table that says which revision made it: commits may call out of their order, and nodes too.
pub(crate) fn revised(table: RouteTable, revision: i64) -> Arc<RouteTable> {
    let revision = u64::try_from(revision).unwrap_or(0);
    Arc::new(RouteTable { revision, ..table })
}

/// One transaction marks so many rows and no more; one of them is the revision's.
fn refuse_too_much(diff: &Diff) -> Result<(), Error> {
    let most = Limits::EVENTS_PER_TX - 12;
    if diff.rows() <= most {
        return Ok(());
    }
    let detail =
        format!("changes {} rows, and one apply may change {most}: take two steps", diff.rows());
    Err(Error::Config(vec![ConfigProblem { key: "[[route]]".to_owned(), detail }]))
}
