//! The SQL of a wish.

use kernel::Timestamp;
use spine::{FromRow, Row, StoreError};

use super::WishId;

spine::sql! {
    read OF = "SELECT id, text_sealed, made_at FROM wishes_wish \
         WHERE account = $1 AND dropped_at IS NULL AND id > $2 ORDER BY id LIMIT $3";
    fact MAKE in wishes_wish = "INSERT INTO wishes_wish (id, version, account, text_sealed, made_at) \
         VALUES ($1, 1, $2, $3, $4) RETURNING id";
    fact DROP in wishes_wish = "UPDATE wishes_wish SET dropped_at = $3, version = version + 1 \
         WHERE id = $1 AND account = $2 AND dropped_at IS NULL RETURNING id, version";
}

/// A row of `wishes_wish`.
pub(crate) struct Stored {
    pub id: WishId,
    pub text_sealed: Vec<u8>,
    pub made_at: Timestamp,
}

impl FromRow for Stored {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: WishId::from_bytes(row.id16("id")?),
            text_sealed: row.bytes("text_sealed")?,
            made_at: row.time("made_at")?,
        })
    }
}
