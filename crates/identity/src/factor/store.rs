//! The SQL of second factors.

use kernel::Timestamp;
use spine::{FromRow, Row, StoreError, word_of};

use super::FactorId;
use crate::gate::Method;

spine::sql! {
    read LIST =
        "SELECT id, method, name_sealed, secret_sealed, last_step, confirmed_at, used_at \
         FROM identity_factor WHERE account = $1 ORDER BY id LIMIT 50";
    fact BEGIN in identity_factor =
        "INSERT INTO identity_factor (id, version, account, method, name_sealed, secret_sealed, \
         last_step, created_at) VALUES ($1, 1, $2, $3, $4, $5, -1, $6) RETURNING id";
    /// What was begun and never confirmed.
    fact FORGET_BEGUN in identity_factor =
        "DELETE FROM identity_factor WHERE account = $1 AND confirmed_at IS NULL RETURNING id";
    fact CONFIRM in identity_factor =
        "UPDATE identity_factor SET confirmed_at = $3, used_at = $3, last_step = $4, \
         version = version + 1 WHERE id = $1 AND account = $2 AND confirmed_at IS NULL \
         RETURNING id, version";
    /// A code is good for once: of all who show it at one moment, one gets here.
    fact USE in identity_factor =
        "UPDATE identity_factor SET last_step = $3, used_at = $4, version = version + 1 \
         WHERE id = $1 AND account = $2 AND last_step < $3 RETURNING id";
    fact REMOVE in identity_factor =
        "DELETE FROM identity_factor WHERE id = $1 AND account = $2 AND confirmed_at IS NOT NULL \
         RETURNING id";
    fact ERASE in identity_factor = "DELETE FROM identity_factor WHERE account = $1 RETURNING id";
    fact SWEEP in identity_factor =
        "DELETE FROM identity_factor WHERE id IN (SELECT id FROM identity_factor \
         WHERE confirmed_at IS NULL AND created_at < $1 ORDER BY id LIMIT $2) RETURNING id";
}

/// A row of `identity_factor`.
pub(crate) struct Factor {
    pub id: FactorId,
    pub method: Method,
    pub name_sealed: Vec<u8>,
    pub secret_sealed: Vec<u8>,
    /// The step of the last code that was taken; -1 before the first.
    pub last_step: i64,
    pub confirmed_at: Option<Timestamp>,
    pub used_at: Option<Timestamp>,
}

impl FromRow for Factor {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: FactorId::from_bytes(row.id16("id")?),
            method: word_of(row, "method")?,
            name_sealed: row.bytes("name_sealed")?,
            secret_sealed: row.bytes("secret_sealed")?,
            last_step: row.int("last_step")?,
            confirmed_at: row.opt_time("confirmed_at")?,
            used_at: row.opt_time("used_at")?,
        })
    }
}
