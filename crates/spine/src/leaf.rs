//! A row of the outbox or of the log, held against what it says of itself: its entry, its mark, its
//! columns and its body. The sequencer lets in what passes; the check of the log looks again.

use merkle::Hash;
use store::Row;

use crate::entry::{Entry, sha256, split_body};
use crate::{Sealer, Subject};

/// Before the leaf hash in what is marked, so that no pseudonym of an id is ever a mark.
const MARK: &[u8] = b"spine leaf";

/// The keyed mark of a leaf: only the program can make it.
pub(crate) fn mark(sealer: &dyn Sealer, leaf: &[u8]) -> [u8; 16] {
    sealer.pseudonym(&[MARK, leaf].concat())
}

/// A row as read, with what is wrong about it.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// The hash of the entry as it stands.
    pub hash: Hash,
    /// The entry; none where it cannot be read.
    pub entry: Option<Entry>,
    /// Whose key seals the body; none where the link was cut.
    pub subject: Option<Subject>,
    /// The plain and the sealed part; none where they were deleted.
    pub body: Option<(Vec<u8>, Vec<u8>)>,
    /// What is not as it was written.
    pub faults: Vec<&'static str>,
}

impl Leaf {
    /// Reads and checks all columns but the leaf's number.
    pub(crate) fn read(sealer: &dyn Sealer, row: &Row) -> Self {
        let bytes = row.bytes("entry").unwrap_or_default();
        let hash = merkle::leaf_hash(&bytes);
        let entry = Entry::from_bytes(&bytes);
        let mut leaf = Self { hash, entry, subject: None, body: None, faults: Vec::new() };
        leaf.expect(
            same(row.fixed::<32>("leaf"), hash.as_bytes()),
            "its entry does not hash to it",
        );
        let marked = same(row.id16("mac"), &mark(sealer, hash.as_bytes()));
        leaf.expect(marked, "this program did not write it");
        match leaf.entry.clone() {
            None => leaf.faults.push("its entry cannot be read"),
            Some(entry) => {
                leaf.check_columns(&entry, row);
                leaf.check_subject(sealer, &entry, row);
                leaf.check_body(&entry, row);
            }
        }
        leaf
    }

    fn expect(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.faults.push(what);
        }
    }

    fn check_columns(&mut self, entry: &Entry, row: &Row) {
        self.expect(same(row.id16("id"), &entry.id), "its id was changed");
        self.expect(same(row.int("at"), &entry.at), "its time was changed");
        self.expect(same(row.text("kind"), &entry.kind), "its kind was changed");
        self.expect(same(row.text("actor_kind"), &entry.actor_kind), "its actor was changed");
        self.expect(same(row.text("aggregate"), &entry.aggregate), "its aggregate was changed");
        self.expect(same(row.int("version"), &entry.version), "its version was changed");
    }

    fn check_subject(&mut self, sealer: &dyn Sealer, entry: &Entry, row: &Row) {
        let thing = row.id16("aggregate_id").map(|id| sealer.pseudonym(&id));
        self.expect(same(thing, &entry.aggregate_id), "its aggregate's id was changed");
        match row.opt_bytes("subject") {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                self.subject = Subject::from_bytes(&bytes);
                let ours = self.subject.is_some() && sealer.pseudonym(&bytes) == entry.subject;
                self.expect(ours, "its subject was changed");
            }
            Err(_) => self.faults.push("its subject was changed"),
        }
    }

    fn check_body(&mut self, entry: &Entry, row: &Row) {
        match row.opt_bytes("body") {
            Ok(None) => {}
            Ok(Some(body)) => match split_body(&body) {
                Some((plain, sealed)) => {
                    let ours = sha256(plain) == entry.plain && sha256(sealed) == entry.sealed;
                    self.expect(ours, "its body is not the one that was logged");
                    self.body = Some((plain.to_vec(), sealed.to_vec()));
                }
                None => {
                    self.body = Some((Vec::new(), Vec::new()));
                    self.faults.push("its body cannot be read");
                }
            },
            Err(_) => self.faults.push("its body cannot be read"),
        }
    }
}

/// Whether a column holds what it should; one of another type does not.
fn same<T: PartialEq>(column: Result<T, store::Error>, expected: &T) -> bool {
    column.is_ok_and(|value| value == *expected)
}
