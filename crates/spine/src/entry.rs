//! The bytes of a log entry and of its body: length-framed, versioned, the same on every machine.
//!
//! The entry is what the log hashes. It names the event, the rows that changed with their digests,
//! and the hashes of the body's parts, but holds no part itself: so a body can be deleted, or its
//! key destroyed, and the entry still proves what it proved. Ids stand in it as keyed pseudonyms.

use aws_lc_rs::digest::{SHA256, digest};

/// The format of entries and bodies.
const FORMAT: u8 = 1;

/// A row that a transaction changed, as its event attests it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMark {
    /// The table.
    pub table: String,
    /// The pseudonym of the row's id.
    pub row: [u8; 16],
    /// The row's version; after a deletion, the version that it had.
    pub version: i64,
    /// The row's digest; none once it is deleted.
    pub digest: Option<[u8; 32]>,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event's id: random, so no pseudonym is needed.
    pub id: [u8; 16],
    /// When it happened, microseconds.
    pub at: i64,
    /// `room.what_happened`.
    pub kind: String,
    /// What sort of actor.
    pub actor_kind: String,
    /// The pseudonym of the subject.
    pub subject: [u8; 16],
    /// The noun of the thing that changed.
    pub aggregate: String,
    /// The pseudonym of the thing's id.
    pub aggregate_id: [u8; 16],
    /// The thing's version.
    pub version: i64,
    /// The rows that changed with it.
    pub rows: Vec<RowMark>,
    /// SHA-256 of the body's plain part.
    pub plain: [u8; 32],
    /// SHA-256 of the body's sealed part.
    pub sealed: [u8; 32],
}

/// Appends `bytes` behind their length (32 bits, big-endian).
pub(crate) fn frame(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// SHA-256.
#[must_use]
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

impl Entry {
    /// The entry's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 + self.rows.len() * 96);
        out.push(FORMAT);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.at.to_be_bytes());
        frame(&mut out, self.kind.as_bytes());
        frame(&mut out, self.actor_kind.as_bytes());
        out.extend_from_slice(&self.subject);
        frame(&mut out, self.aggregate.as_bytes());
        out.extend_from_slice(&self.aggregate_id);
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.plain);
        out.extend_from_slice(&self.sealed);
        for row in &self.rows {
            frame(&mut out, row.table.as_bytes());
            out.extend_from_slice(&row.row);
            out.extend_from_slice(&row.version.to_be_bytes());
            match &row.digest {
                Some(digest) => {
                    out.push(1);
                    out.extend_from_slice(digest);
                }
                None => out.push(0),
            }
        }
        out
    }

    /// Reads what [`Entry::to_bytes`] wrote; none for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.take::<1>()? != [FORMAT] {
            return None;
        }
        let mut entry = Self {
            id: reader.take()?,
            at: i64::from_be_bytes(reader.take()?),
            kind: reader.text()?,
            actor_kind: reader.text()?,
            subject: reader.take()?,
            aggregate: reader.text()?,
            aggregate_id: reader.take()?,
            version: i64::from_be_bytes(reader.take()?),
            plain: reader.take()?,
            sealed: reader.take()?,
            rows: Vec::new(),
        };
        while !reader.0.is_empty() {
            entry.rows.push(RowMark {
                table: reader.text()?,
                row: reader.take()?,
                version: i64::from_be_bytes(reader.take()?),
                digest: match reader.take::<1>()? {
                    [0] => None,
                    [1] => Some(reader.take()?),
                    _ => return None,
                },
            });
        }
        Some(entry)
    }
}

/// The two parts of a body as stored: plain JSON, sealed bytes.
#[must_use]
pub(crate) fn body(plain: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + plain.len() + sealed.len());
    out.push(FORMAT);
    frame(&mut out, plain);
    frame(&mut out, sealed);
    out
}

/// Splits what [`body`] joined; none for anything else.
#[must_use]
pub(crate) fn split_body(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader(bytes);
    if reader.take::<1>()? != [FORMAT] {
        return None;
    }
    let parts = (reader.framed()?, reader.framed()?);
    reader.0.is_empty().then_some(parts)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn framed(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(self.take()?)).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.framed()?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Entry> {
        let row = ("[a-z_]{1,20}", any::<[u8; 16]>(), any::<i64>(), any::<Option<[u8; 32]>>())
            .prop_map(|(table, row, version, digest)| RowMark { table, row, version, digest });
        let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 16]>());
        (ids, any::<(i64, i64)>(), "[a-z.]{0,30}", any::<([u8; 32], [u8; 32])>()).prop_flat_map(
            move |(ids, numbers, kind, parts)| {
                prop::collection::vec(row.clone(), 0..4).prop_map(move |rows| Entry {
                    id: ids.0,
                    at: numbers.0,
                    kind: kind.clone(),
                    actor_kind: "system".to_owned(),
                    subject: ids.1,
                    aggregate: "thing".to_owned(),
                    aggregate_id: ids.2,
                    version: numbers.1,
                    rows,
                    plain: parts.0,
                    sealed: parts.1,
                })
            },
        )
    }

    proptest! {
        #[test]
        fn entries_round_trip(entry in entries()) {
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()), Some(entry));
        }

        #[test]
        fn other_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(entry) = Entry::from_bytes(&bytes) {
                prop_assert_eq!(entry.to_bytes(), bytes);
            }
        }

        #[test]
        fn bodies_round_trip(plain in any::<Vec<u8>>(), sealed in any::<Vec<u8>>()) {
            let joined = body(&plain, &sealed);
            prop_assert_eq!(split_body(&joined), Some((&plain[..], &sealed[..])));
        }
    }
}
