//! The SQL of refresh families: one row each, replaced by compare-and-set on its generation.

use kernel::{AccountId, SessionId, Timestamp};
use spine::{FromRow, Row, StoreError, word_of};

use crate::account::AccountKind;

spine::sql! {
    /// A family with whether its session and account still live.
    read FIND =
        "SELECT r.id, r.account, r.version, r.generation, r.nonce, r.token_hash, r.rotated_at, \
         r.idle_until, s.ends_at, a.kind, CASE WHEN s.ended_at IS NULL AND s.ends_at > $2 \
         AND a.state = 'active' AND a.epoch = s.epoch THEN 1 ELSE 0 END AS live \
         FROM identity_refresh r JOIN identity_session s ON s.id = r.id \
         JOIN identity_account a ON a.id = r.account WHERE r.id = $1";
    fact OPEN in identity_refresh =
        "INSERT INTO identity_refresh (id, version, account, generation, nonce, token_hash, \
         rotated_at, idle_until) VALUES ($1, 1, $2, 1, $3, $4, $5, $6) RETURNING id";
    /// Replaces the generation that was read by its successor: one of those who race succeeds.
    fact ROTATE in identity_refresh =
        "UPDATE identity_refresh SET generation = generation + 1, token_hash = $3, \
         rotated_at = $4, idle_until = $5, version = version + 1 \
         WHERE id = $1 AND generation = $2 RETURNING id, version";
    fact ERASE in identity_refresh =
        "DELETE FROM identity_refresh WHERE account = $1 RETURNING id";
    fact SWEEP in identity_refresh =
        "DELETE FROM identity_refresh WHERE id IN (SELECT r.id FROM identity_refresh r \
         WHERE NOT EXISTS (SELECT 1 FROM identity_session s WHERE s.id = r.id) LIMIT $1) \
         RETURNING id";
}

/// A row of `identity_refresh` with its session's end.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub id: SessionId,
    pub account: AccountId,
    pub generation: i64,
    pub nonce: [u8; 16],
    pub token_hash: [u8; 32],
    pub rotated_at: Timestamp,
    pub idle_until: Timestamp,
    pub ends_at: Timestamp,
    pub kind: AccountKind,
    pub live: bool,
}

impl FromRow for Family {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: SessionId::from_bytes(row.id16("id")?),
            account: AccountId::from_bytes(row.id16("account")?),
            generation: row.int("generation")?,
            nonce: row.fixed("nonce")?,
            token_hash: row.fixed("token_hash")?,
            rotated_at: row.time("rotated_at")?,
            idle_until: row.time("idle_until")?,
            ends_at: row.time("ends_at")?,
            kind: word_of(row, "kind")?,
            live: row.flag("live")?,
        })
    }
}
