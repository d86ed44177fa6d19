//! The SQL of sign-ins that are half-way.

use kernel::AccountId;
use spine::{FromRow, Row, StoreError, word_of};

use super::{Method, Methods, PendingId};
use crate::session::Client;

spine::sql! {
    /// The methods by which an account can prove more than a password.
    read OWN =
        "SELECT method FROM identity_factor WHERE account = $1 AND confirmed_at IS NOT NULL \
         UNION SELECT 'backup_code' AS method FROM identity_backup_code \
         WHERE account = $1 AND used_at IS NULL";
    read FIND =
        "SELECT p.id, p.account, p.client, p.methods FROM identity_pending p \
         JOIN identity_account a ON a.id = p.account \
         WHERE p.secret_hash = $1 AND p.ended_at IS NULL AND p.expires_at > $2 \
         AND a.state = 'active' AND a.epoch = p.epoch";
    /// Half opens the door, if the account is still as it was when its password was checked.
    fact BEGIN in identity_pending =
        "INSERT INTO identity_pending (id, version, account, epoch, client, methods, secret_hash, \
         created_at, expires_at) \
         SELECT $1, 1, a.id, a.epoch, $4, $5, $6, $7, $8 FROM identity_account a \
         WHERE a.id = $2 AND a.epoch = $3 AND a.state = 'active' RETURNING id";
    fact FINISH in identity_pending =
        "UPDATE identity_pending SET ended_at = $2, version = version + 1 \
         WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 RETURNING id";
    fact ERASE in identity_pending =
        "DELETE FROM identity_pending WHERE account = $1 RETURNING id";
    fact SWEEP in identity_pending =
        "DELETE FROM identity_pending WHERE id IN (SELECT id FROM identity_pending \
         WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING id";
}

/// A method that an account has.
pub(crate) struct Own(pub Method);

impl FromRow for Own {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        word_of(row, "method").map(Self)
    }
}

/// A sign-in that is half-way.
pub(crate) struct Pending {
    pub id: PendingId,
    pub account: AccountId,
    pub client: Client,
    pub proved: Methods,
}

impl FromRow for Pending {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: PendingId::from_bytes(row.id16("id")?),
            account: AccountId::from_bytes(row.id16("account")?),
            client: word_of(row, "client")?,
            proved: Methods::read(Some(&row.text("methods")?)),
        })
    }
}
