//! The SQL of sessions. A session is live where it has not ended, its account is active, and
//! neither has moved on to another epoch since it began.

use kernel::{AccountId, SessionId, Timestamp};
use spine::{FromRow, Row, StoreError, word_of};

use super::{Client, LiveSession};
use crate::account::{AccountKind, roles_of};
use crate::gate::Methods;

spine::sql! {
    read LIVE_BY_SECRET =
        "SELECT s.id, s.account, s.client, s.auth_at, s.created_at, s.ends_at, s.methods, a.kind, \
         a.roles, a.fresh_after, COALESCE(u.used_at, s.created_at) AS used_at \
         FROM identity_session s JOIN identity_account a ON a.id = s.account \
         LEFT JOIN identity_session_use u ON u.session = s.id \
         WHERE s.secret_hash = $1 AND s.ended_at IS NULL AND s.ends_at > $2 \
         AND a.state = 'active' AND a.epoch = s.epoch";
    read LIVE_BY_ID =
        "SELECT s.id, s.account, s.client, s.auth_at, s.created_at, s.ends_at, s.methods, a.kind, \
         a.roles, a.fresh_after, COALESCE(u.used_at, s.created_at) AS used_at \
         FROM identity_session s JOIN identity_account a ON a.id = s.account \
         LEFT JOIN identity_session_use u ON u.session = s.id \
         WHERE s.id = $1 AND s.ended_at IS NULL AND s.ends_at > $2 \
         AND a.state = 'active' AND a.epoch = s.epoch";
    read LIST =
        "SELECT s.id, s.client, s.origin_sealed, s.created_at, a.kind, \
         COALESCE(u.used_at, s.created_at) AS used_at \
         FROM identity_session s JOIN identity_account a ON a.id = s.account \
         LEFT JOIN identity_session_use u ON u.session = s.id \
         WHERE s.account = $1 AND s.ended_at IS NULL AND s.ends_at > $2 \
         AND a.state = 'active' AND a.epoch = s.epoch ORDER BY s.id DESC LIMIT 200";
    /// The live sessions behind the $2 newest.
    read OLDEST =
        "SELECT id FROM identity_session WHERE account = $1 AND ended_at IS NULL \
         ORDER BY id DESC LIMIT 20 OFFSET $2";
    /// Opens a session, if the account is still as it was when its password was checked.
    fact OPEN in identity_session =
        "INSERT INTO identity_session (id, version, account, epoch, client, secret_hash, \
         origin_sealed, created_at, auth_at, ends_at, methods) \
         SELECT $1, 1, a.id, a.epoch, $4, $5, $6, $7, $7, $8, $9 FROM identity_account a \
         WHERE a.id = $2 AND a.epoch = $3 AND a.state = 'active' RETURNING id";
    fact END in identity_session =
        "UPDATE identity_session SET ended_at = $3, end_reason = $4, version = version + 1 \
         WHERE id = $1 AND account = $2 AND ended_at IS NULL RETURNING id";
    fact END_ALL_BUT in identity_session =
        "UPDATE identity_session SET ended_at = $3, end_reason = $4, version = version + 1 \
         WHERE account = $1 AND id <> $2 AND ended_at IS NULL RETURNING id";
    /// Takes the session that is kept into its account's new epoch.
    fact MOVE_ALONG in identity_session =
        "UPDATE identity_session SET epoch = $2, version = version + 1 \
         WHERE id = $1 AND ended_at IS NULL RETURNING id";
    fact ERASE in identity_session =
        "DELETE FROM identity_session WHERE account = $1 RETURNING id";
    fact SWEEP in identity_session =
        "DELETE FROM identity_session WHERE id IN (SELECT id FROM identity_session \
         WHERE ends_at < $1 OR ended_at < $1 ORDER BY ends_at LIMIT $2) RETURNING id";
    upkeep USE in identity_session_use =
        "INSERT INTO identity_session_use (session, account, used_at) VALUES ($1, $2, $3) \
         ON CONFLICT (session) DO UPDATE SET used_at = excluded.used_at \
         WHERE identity_session_use.used_at < excluded.used_at";
    upkeep ERASE_USE in identity_session_use =
        "DELETE FROM identity_session_use WHERE account = $1";
    upkeep SWEEP_USE in identity_session_use =
        "DELETE FROM identity_session_use WHERE NOT EXISTS \
         (SELECT 1 FROM identity_session s WHERE s.id = identity_session_use.session)";
}

/// A session's id.
pub(crate) struct Id(pub SessionId);

impl FromRow for Id {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.id16("id").map(SessionId::from_bytes).map(Self)
    }
}

/// A live session with its account.
pub(crate) struct Live(pub LiveSession);

impl FromRow for Live {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self(LiveSession {
            id: SessionId::from_bytes(row.id16("id")?),
            account: AccountId::from_bytes(row.id16("account")?),
            client: word_of(row, "client")?,
            kind: word_of(row, "kind")?,
            roles: roles_of(&row.text("roles")?),
            methods: Methods::read(row.opt_text("methods")?.as_deref()),
            auth_at: row.time("auth_at")?,
            fresh_after: row.time("fresh_after")?,
            ends_at: row.time("ends_at")?,
            used_at: row.time("used_at")?,
        }))
    }
}

/// A session in its owner's list, sealed.
pub(crate) struct Listed {
    pub id: SessionId,
    pub client: Client,
    pub kind: AccountKind,
    pub origin_sealed: Vec<u8>,
    pub created_at: Timestamp,
    pub used_at: Timestamp,
}

impl FromRow for Listed {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: SessionId::from_bytes(row.id16("id")?),
            client: word_of(row, "client")?,
            kind: word_of(row, "kind")?,
            origin_sealed: row.bytes("origin_sealed")?,
            created_at: row.time("created_at")?,
            used_at: row.time("used_at")?,
        })
    }
}
