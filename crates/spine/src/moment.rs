//! What is copied where a house moves or is backed up: every declared table, and of which log it is
//! at the moment of the copy.

use store::copy::{Shape, Snapshot};
use store::{args, sql};

use crate::{Error, Rooms};

sql! {
    read STANDS = "SELECT origin, size, note FROM spine_head WHERE id = 1";
}

/// Where the log stands in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The log's name.
    pub origin: String,
    /// Its leaves.
    pub size: u64,
    /// The newest checkpoint; empty before the first.
    pub checkpoint: String,
}

impl Moment {
    /// That of a snapshot; none where the log was never begun.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn of(snapshot: &mut Snapshot) -> Result<Option<Self>, Error> {
        let rows = snapshot.rows(STANDS.text(), args![]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Self {
            origin: row.text("origin")?,
            size: u64::try_from(row.int("size")?).unwrap_or(0),
            checkpoint: row.text("note")?,
        }))
    }
}

impl Rooms {
    /// Every table with its columns, as they travel.
    ///
    /// # Errors
    /// [`Error::Store`] where a table has a name that is none of ours.
    pub fn shapes(&self) -> Result<Vec<Shape>, Error> {
        let shape = |table: crate::Table| {
            Ok(Shape::new(table.name, table.columns.iter().map(|column| column.name))?)
        };
        self.tables().into_iter().map(shape).collect()
    }
}
