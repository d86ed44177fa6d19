//! The SQL of the key database and its rows. Nothing here knows a key: only wrapped bytes pass.

use kernel::{KeyId, Timestamp};
use spine::Subject;
use store::{FromRow, Migration, Row, multi_row, sql};

use crate::purpose::Life;

/// The key database's schema. It is a database of its own: versions of its own.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "vault/0001_keys",
    text: include_str!("../migrations/0001_keys.sql"),
}];

/// The most subjects that one statement asks for.
pub(crate) const FIND_MANY: usize = 64;
/// The most rows that one statement re-wraps.
pub(crate) const REWRAP_MANY: usize = 64;

const FIND_HEAD: &str = "SELECT subject, key_id, epoch, wrapped, created_at, erased_at \
     FROM key_subject WHERE subject IN ";
/// The first row matches nothing: it gives the others their types on PostgreSQL.
const REWRAP_HEAD: &str = "UPDATE key_subject SET epoch = $131, wrapped = v.column2 \
     FROM (VALUES ((SELECT subject FROM key_subject WHERE 1 = 0), \
     (SELECT wrapped FROM key_subject WHERE 1 = 0)), ";

sql! {
    read VAULT = "SELECT name, day_horizon, created_at FROM key_vault WHERE id = 1";
    upkeep ADD_VAULT in key_vault =
        "INSERT INTO key_vault (id, name, day_horizon, created_at) VALUES (1, $1, 0, $2) \
         ON CONFLICT (id) DO NOTHING RETURNING id";
    // Whoever begins or destroys an epoch holds this row, so that files and rows change together.
    upkeep LOCK in key_vault = "UPDATE key_vault SET day_horizon = day_horizon WHERE id = 1";
    upkeep RAISE_HORIZON in key_vault =
        "UPDATE key_vault SET day_horizon = $1 WHERE id = 1 AND day_horizon < $1";

    read EPOCHS =
        "SELECT epoch, wrapped, created_at FROM key_epoch WHERE tenant = $1 ORDER BY epoch";
    /// Of all tenants: their epochs share the folder's files.
    read EPOCHS_NEEDED = "SELECT DISTINCT epoch FROM key_epoch ORDER BY epoch";
    upkeep ADD_EPOCH in key_epoch =
        "INSERT INTO key_epoch (tenant, epoch, wrapped, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant, epoch) DO NOTHING RETURNING epoch";
    // The foreign keys refuse this too, where a row slips in after the look.
    upkeep CLOSE_EPOCH in key_epoch =
        "DELETE FROM key_epoch WHERE tenant = $1 AND epoch = $2 \
         AND NOT EXISTS (SELECT 1 FROM key_subject s WHERE s.tenant = $1 AND s.epoch = $2) \
         AND NOT EXISTS (SELECT 1 FROM key_purpose p WHERE p.tenant = $1 AND p.epoch = $2) \
         RETURNING epoch";

    read FIND_ONE =
        "SELECT subject, key_id, epoch, wrapped, created_at, erased_at FROM key_subject \
         WHERE tenant = $1 AND subject = $2";
    read FIND = multi_row!(FIND_HEAD, 64, 1, " AND tenant = $65");
    read COUNT_SUBJECTS =
        "SELECT COUNT(*) AS count FROM key_subject WHERE tenant = $1 AND state = $2";
    read ERASED =
        "SELECT subject FROM key_subject WHERE tenant = $1 AND state = 2 AND subject > $2 \
         ORDER BY subject LIMIT $3";
    // No row where the epoch is over, the day retired, or the subject has a row of any state.
    upkeep ADD_SUBJECT in key_subject =
        "INSERT INTO key_subject (tenant, subject, key_id, epoch, wrapped, created_at, state) \
         SELECT e.tenant, $2, $3, e.epoch, $5, $6, 1 FROM key_epoch e \
         WHERE e.tenant = $1 AND e.epoch = $4 \
         AND $7 >= (SELECT v.day_horizon FROM key_vault v WHERE v.id = 1) \
         ON CONFLICT (tenant, subject) DO NOTHING RETURNING subject";
    upkeep ERASE in key_subject =
        "UPDATE key_subject SET state = 2, epoch = NULL, wrapped = $3, erased_at = $4 \
         WHERE tenant = $1 AND subject = $2 AND state = 1 RETURNING subject";
    upkeep ADD_TOMBSTONE in key_subject =
        "INSERT INTO key_subject (tenant, subject, key_id, wrapped, created_at, erased_at, state) \
         VALUES ($1, $2, $3, $4, $5, $5, 2) ON CONFLICT (tenant, subject) DO NOTHING \
         RETURNING subject";
    upkeep DROP_DAYS in key_subject =
        "DELETE FROM key_subject WHERE tenant = $1 AND subject >= $2 AND subject < $3";
    read UNDER_EPOCH =
        "SELECT subject, key_id, epoch, wrapped, created_at, erased_at FROM key_subject \
         WHERE tenant = $1 AND epoch = $2 AND subject > $3 ORDER BY subject LIMIT $4";
    read COUNT_UNDER_EPOCH =
        "SELECT COUNT(*) AS count FROM key_subject WHERE tenant = $1 AND epoch = $2";
    // The plus keeps SQLite from walking through the whole epoch for each statement.
    upkeep REWRAP in key_subject = multi_row!(
        REWRAP_HEAD, 2, 64,
        ") AS v WHERE tenant = $129 AND +epoch = $130 AND subject = v.column1"
    );
    upkeep REWRAP_ONE in key_subject =
        "UPDATE key_subject SET epoch = $5, wrapped = $2 \
         WHERE tenant = $3 AND subject = $1 AND epoch = $4";

    read PURPOSES =
        "SELECT purpose, version, key_id, epoch, wrapped, public_key, created_at, not_before, \
         retire_at, uses FROM key_purpose WHERE tenant = $1 ORDER BY purpose, version";
    upkeep ADD_PURPOSE in key_purpose =
        "INSERT INTO key_purpose (tenant, purpose, version, key_id, epoch, wrapped, public_key, \
         created_at, not_before, uses) \
         SELECT e.tenant, $2, $3, $4, e.epoch, $6, $7, $8, $9, 0 FROM key_epoch e \
         WHERE e.tenant = $1 AND e.epoch = $5 \
         ON CONFLICT (tenant, purpose, version) DO NOTHING RETURNING version";
    upkeep RETIRE_AT in key_purpose =
        "UPDATE key_purpose SET retire_at = $4 \
         WHERE tenant = $1 AND purpose = $2 AND version < $3 AND retire_at IS NULL";
    upkeep REWRAP_PURPOSE in key_purpose =
        "UPDATE key_purpose SET epoch = $5, wrapped = $6 \
         WHERE tenant = $1 AND purpose = $2 AND version = $3 AND epoch = $4";
    upkeep END_PURPOSES in key_purpose =
        "UPDATE key_purpose SET epoch = NULL, wrapped = $2 \
         WHERE tenant = $1 AND retire_at <= $3 AND epoch IS NOT NULL";
    upkeep COUNT_USES in key_purpose =
        "UPDATE key_purpose SET uses = uses + $3 WHERE tenant = $1 AND key_id = $2";
}

/// What a program with a vault needs of each table of the key database.
#[must_use]
pub fn needs() -> store::Needs {
    store::needs(&["key_vault", "key_epoch", "key_subject", "key_purpose"], STATEMENTS)
}

/// Every statement, for the test that prepares them on both databases.
#[must_use]
pub fn statements() -> Vec<store::Statement> {
    STATEMENTS.to_vec()
}

/// The one row of `key_vault`.
#[derive(Debug)]
pub(crate) struct VaultRow {
    pub(crate) name: [u8; 16],
    pub(crate) day_horizon: i64,
}

impl FromRow for VaultRow {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        Ok(Self { name: row.id16("name")?, day_horizon: row.int("day_horizon")? })
    }
}

/// A row of `key_epoch`.
#[derive(Debug)]
pub(crate) struct EpochRow {
    pub(crate) epoch: i64,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) created_at: Timestamp,
}

impl FromRow for EpochRow {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        Ok(Self {
            epoch: row.int("epoch")?,
            wrapped: row.bytes("wrapped")?,
            created_at: row.time("created_at")?,
        })
    }
}

/// A row of `key_subject`.
#[derive(Debug)]
pub(crate) struct SubjectRow {
    pub(crate) subject: Subject,
    pub(crate) key: KeyId,
    /// None: a tombstone.
    pub(crate) epoch: Option<i64>,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) created_at: Timestamp,
    pub(crate) erased_at: Option<Timestamp>,
}

impl FromRow for SubjectRow {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        let subject = Subject::from_bytes(&row.bytes("subject")?)
            .ok_or(store::Error::Column { column: "subject" })?;
        Ok(Self {
            subject,
            key: KeyId::from_bytes(row.id16("key_id")?),
            epoch: row.opt_int("epoch")?,
            wrapped: row.bytes("wrapped")?,
            created_at: row.time("created_at")?,
            erased_at: row.opt_time("erased_at")?,
        })
    }
}

/// A row of `key_purpose`.
#[derive(Debug)]
pub(crate) struct PurposeRow {
    pub(crate) purpose: String,
    pub(crate) key: KeyId,
    /// None: the key itself was destroyed.
    pub(crate) epoch: Option<i64>,
    pub(crate) wrapped: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) created_at: Timestamp,
    pub(crate) life: Life,
    pub(crate) uses: u64,
}

impl FromRow for PurposeRow {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        let version = u32::try_from(row.int("version")?)
            .map_err(|_| store::Error::Column { column: "version" })?;
        Ok(Self {
            purpose: row.text("purpose")?,
            key: KeyId::from_bytes(row.id16("key_id")?),
            epoch: row.opt_int("epoch")?,
            wrapped: row.bytes("wrapped")?,
            public_key: row.bytes("public_key")?,
            created_at: row.time("created_at")?,
            life: Life {
                version,
                not_before: row.time("not_before")?,
                retire_at: row.opt_time("retire_at")?,
            },
            uses: u64::try_from(row.int("uses")?).unwrap_or(0),
        })
    }
}

/// An epoch's number.
pub(crate) struct EpochNumber(pub(crate) i64);

impl FromRow for EpochNumber {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        row.int("epoch").map(Self)
    }
}

/// A count.
pub(crate) struct Count(pub(crate) u64);

impl FromRow for Count {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        Ok(Self(u64::try_from(row.int("count")?).unwrap_or(0)))
    }
}
