//! The SQL of trusted devices.

use kernel::Timestamp;
use spine::{FromRow, Row, StoreError, word_of};

use super::TrustId;
use crate::session::Client;

spine::sql! {
    /// A device that the account trusts: for this client, since nothing ended its sessions.
    read FIND =
        "SELECT t.id, t.client, t.agent_sealed, t.created_at, t.used_at, t.expires_at \
         FROM identity_trusted_device t JOIN identity_account a ON a.id = t.account \
         WHERE t.secret_hash = $1 AND t.account = $2 AND t.expires_at > $3 AND t.epoch = a.epoch";
    /// Whose last secret but one this is.
    read FIND_BEFORE =
        "SELECT id, client, agent_sealed, created_at, used_at, expires_at \
         FROM identity_trusted_device WHERE before_hash = $1 AND account = $2";
    read LIST =
        "SELECT t.id, t.client, t.agent_sealed, t.created_at, t.used_at, t.expires_at \
         FROM identity_trusted_device t JOIN identity_account a ON a.id = t.account \
         WHERE t.account = $1 AND t.expires_at > $2 AND t.epoch = a.epoch \
         ORDER BY t.id DESC LIMIT 50";
    fact TRUST in identity_trusted_device =
        "INSERT INTO identity_trusted_device (id, version, account, epoch, client, secret_hash, \
         agent_sealed, created_at, used_at, expires_at) \
         SELECT $1, 1, a.id, a.epoch, $3, $4, $5, $6, $6, $7 FROM identity_account a \
         WHERE a.id = $2 RETURNING id";
    /// Each secret is good for one sign-in: of two who show it at one moment, one gets here.
    fact ROTATE in identity_trusted_device =
        "UPDATE identity_trusted_device SET secret_hash = $3, before_hash = $2, used_at = $4, \
         version = version + 1 WHERE id = $1 AND secret_hash = $2 RETURNING id, version";
    fact END in identity_trusted_device =
        "DELETE FROM identity_trusted_device WHERE id = $1 AND account = $2 RETURNING id";
    fact ERASE in identity_trusted_device =
        "DELETE FROM identity_trusted_device WHERE account = $1 RETURNING id";
    fact SWEEP in identity_trusted_device =
        "DELETE FROM identity_trusted_device WHERE id IN (SELECT id FROM identity_trusted_device \
         WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING id";
}

/// A row of `identity_trusted_device`.
pub(crate) struct Trusted {
    pub id: TrustId,
    pub client: Client,
    pub agent_sealed: Vec<u8>,
    pub created_at: Timestamp,
    pub used_at: Timestamp,
    pub expires_at: Timestamp,
}

impl FromRow for Trusted {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: TrustId::from_bytes(row.id16("id")?),
            client: word_of(row, "client")?,
            agent_sealed: row.bytes("agent_sealed")?,
            created_at: row.time("created_at")?,
            used_at: row.time("used_at")?,
            expires_at: row.time("expires_at")?,
        })
    }
}
