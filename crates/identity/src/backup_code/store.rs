//! The SQL of backup codes.

use spine::{FromRow, Row, StoreError};

spine::sql! {
    read LEFT =
        "SELECT COUNT(*) AS count FROM identity_backup_code \
         WHERE account = $1 AND used_at IS NULL";
    read FIND =
        "SELECT COUNT(*) AS count FROM identity_backup_code \
         WHERE account = $1 AND code_hash = $2 AND used_at IS NULL";
    fact ADD in identity_backup_code =
        "INSERT INTO identity_backup_code (id, version, account, code_hash, created_at) \
         VALUES ($1, 1, $2, $3, $4) RETURNING id";
    /// Of all who show a code at one moment, one gets here.
    fact USE in identity_backup_code =
        "UPDATE identity_backup_code SET used_at = $3, version = version + 1 \
         WHERE account = $1 AND code_hash = $2 AND used_at IS NULL RETURNING id";
    fact ERASE in identity_backup_code =
        "DELETE FROM identity_backup_code WHERE account = $1 RETURNING id";
}

/// How many.
pub(crate) struct Count(pub u32);

impl FromRow for Count {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self(u32::try_from(row.int("count")?).unwrap_or(u32::MAX)))
    }
}
