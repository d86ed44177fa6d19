//! The SQL of passwords. A row's id is its account's.

use spine::{FromRow, Row, StoreError};

spine::sql! {
    read FIND = "SELECT version, hash_sealed FROM identity_password WHERE id = $1";
    fact SET in identity_password =
        "INSERT INTO identity_password (id, version, hash_sealed, changed_at) \
         VALUES ($1, 1, $2, $3) ON CONFLICT (id) DO UPDATE SET \
         hash_sealed = excluded.hash_sealed, changed_at = excluded.changed_at, \
         version = identity_password.version + 1 RETURNING id";
    fact REPLACE in identity_password =
        "UPDATE identity_password SET hash_sealed = $3, changed_at = $4, version = version + 1 \
         WHERE id = $1 AND version = $2 RETURNING id";
    fact ERASE in identity_password = "DELETE FROM identity_password WHERE id = $1 RETURNING id";
}

/// A row of `identity_password`.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub version: i64,
    pub hash_sealed: Vec<u8>,
}

impl FromRow for Stored {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { version: row.int("version")?, hash_sealed: row.bytes("hash_sealed")? })
    }
}
