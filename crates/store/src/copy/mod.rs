//! Whole tables on their way: out of a database or an archive, into a database or an archive. One
//! engine for moving house, for backups and for restoring them (S7).
//!
//! A source pours its rows, some at a time, into a [`Sink`]; [`Counted`] stands between and keeps a
//! [`Tally`] of each table, so that both ends can be held against each other afterwards. Nothing
//! here holds more than a batch of rows in memory.

mod archive;
mod encode;
mod fill;
mod pour;

use std::future::Future;

use aws_lc_rs::digest::{SHA256, digest};

use crate::{Error, Value};

pub use archive::{ArchiveReader, ArchiveWriter, FILE_BYTES_MAX, FILES_MAX, Frame};
pub use fill::Filling;
pub use pour::Snapshot;

/// The most rows, and about the most bytes, that travel at once.
const BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// Longest name of a table or column.
const NAME_BYTES_MAX: usize = 63;

/// A table and its columns, in the order in which their values travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    table: String,
    columns: Vec<String>,
}

impl Shape {
    /// A table with these columns.
    ///
    /// # Errors
    /// [`Error::Copy`] where a name is none that we would give: small letters, digits, underscores.
    pub fn new<C: Into<String>>(
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Result<Self, Error> {
        let shape =
            Self { table: table.into(), columns: columns.into_iter().map(Into::into).collect() };
        let names = std::iter::once(&shape.table).chain(&shape.columns);
        if shape.columns.is_empty() || !names.clone().all(|name| is_name(name)) {
            return Err(Error::Copy(format!("`{}` is no table of ours", shape.table)));
        }
        Ok(shape)
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The columns' names.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn columns_text(&self) -> String {
        let quoted: Vec<String> = self.columns.iter().map(|name| format!("\"{name}\"")).collect();
        quoted.join(", ")
    }
}

/// Names go into statements as they are: nothing but what our own migrations use.
fn is_name(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits)
}

/// How much of a table went by, and the digest of all of it whatever the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// The sum, modulo 2^256, of the SHA-256 of each row.
    pub digest: [u8; 32],
}

impl Tally {
    fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.bytes += row.len() as u64;
        let hash = digest(&SHA256, row);
        let mut carry = 0;
        for (sum, more) in self.digest.iter_mut().zip(hash.as_ref()).rev() {
            let total = u16::from(*sum) + u16::from(*more) + carry;
            let [high, low] = total.to_be_bytes();
            (*sum, carry) = (low, u16::from(high));
        }
    }

    /// The digest as text.
    #[must_use]
    pub fn digest_text(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Where rows go.
pub trait Sink: Send {
    /// Takes rows of the table of this number.
    fn put(
        &mut self,
        table: usize,
        rows: Vec<Vec<Value>>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Takes rows and keeps none: to count what is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Sink for Nowhere {
    async fn put(&mut self, _: usize, _: Vec<Vec<Value>>) -> Result<(), Error> {
        Ok(())
    }
}

/// Whoever watches a copy: the table's number and what went by of it so far.
pub type Watch<'a> = &'a mut (dyn FnMut(usize, &Tally) + Send);

/// Counts what goes into a sink.
pub struct Counted<'a, S> {
    into: &'a mut S,
    tallies: Vec<Tally>,
    watch: Watch<'a>,
}

impl<S> std::fmt::Debug for Counted<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").field("tallies", &self.tallies).finish_non_exhaustive()
    }
}

impl<'a, S: Sink> Counted<'a, S> {
    /// Counts rows of so many tables on their way into `into`.
    pub fn new(into: &'a mut S, tables: usize, watch: Watch<'a>) -> Self {
        Self { into, tallies: vec![Tally::default(); tables], watch }
    }

    /// What went by, in the order of the tables.
    #[must_use]
    pub fn tallies(self) -> Vec<Tally> {
        self.tallies
    }
}

impl<S: Sink> Sink for Counted<'_, S> {
    async fn put(&mut self, table: usize, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        let tally = self.tallies.get_mut(table);
        let tally = tally.ok_or_else(|| Error::Copy("rows of no known table".to_owned()))?;
        let mut bytes = Vec::new();
        for row in &rows {
            bytes.clear();
            encode::row(row, &mut bytes);
            tally.add(&bytes);
        }
        (self.watch)(table, tally);
        self.into.put(table, rows).await
    }
}

/// Holds two tallies against each other, table by table.
///
/// # Errors
/// [`Error::Copy`] with the first table that differs.
pub fn compare(shapes: &[Shape], wanted: &[Tally], found: &[Tally]) -> Result<(), Error> {
    if shapes.len() != wanted.len() || shapes.len() != found.len() {
        return Err(Error::Copy("not the same tables on both sides".to_owned()));
    }
    for ((shape, wanted), found) in shapes.iter().zip(wanted).zip(found) {
        if wanted != found {
            return Err(Error::Copy(format!(
                "{} is not the same on both sides: {} rows ({}) here, {} rows ({}) there",
                shape.table,
                wanted.rows,
                wanted.digest_text().get(..16).unwrap_or_default(),
                found.rows,
                found.digest_text().get(..16).unwrap_or_default(),
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_rows_makes_no_difference_and_each_byte_does() {
        let tally = |rows: &[&[u8]]| {
            let mut tally = Tally::default();
            rows.iter().for_each(|row| tally.add(row));
            tally
        };
        assert_eq!(tally(&[b"one", b"two", b"three"]), tally(&[b"three", b"one", b"two"]));
        assert_ne!(tally(&[b"one", b"two"]), tally(&[b"one", b"twp"]));
        assert_ne!(tally(&[b"one", b"one"]).digest, tally(&[b"two", b"two"]).digest);
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        assert!(Shape::new("spine_leaf", ["idx", "at"]).is_ok());
        for (table, column) in [("a\"b", "c"), ("a", "c;"), ("", "c"), ("A", "c"), ("a", "")] {
            assert!(Shape::new(table, [column]).is_err(), "{table}.{column}");
        }
        assert!(Shape::new("a", Vec::<String>::new()).is_err());
    }
}
