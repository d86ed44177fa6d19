//! How a log's readers follow it to a new key: a signed note by which the old key vouches for the
//! new one. Who trusts the old key alone can check what the new one signs.

use crate::Error;
use crate::key::{KeyKind, NoteSigner, VerifyKey};
use crate::note::Note;

/// The first line of the text, which no checkpoint has: its second line is no number.
const HEADER: &str = "stagedoor/log-key-change/v1";

/// Keys that one log may have had, and changes that are followed.
pub const MAX_KEYS: usize = 64;

fn text(old: &VerifyKey, new: &VerifyKey) -> String {
    format!("{HEADER}\n{old}\n{new}\n")
}

/// Vouches for `new` by `old`, whose signer this is.
///
/// # Errors
/// `Malformed` for keys of different names or kinds; `Signer` from the key holder.
pub fn vouch(signer: &dyn NoteSigner, old: &VerifyKey, new: &VerifyKey) -> Result<Note, Error> {
    check_pair(old, new)?;
    Note::sign(&text(old, new), &[signer])
}

/// The two keys that a note is about, where the old one really vouches for the new one.
///
/// # Errors
/// `Malformed` for another text, `Unsigned` and `Signature` where the old key did not sign it.
pub fn read(note: &Note) -> Result<(VerifyKey, VerifyKey), Error> {
    let bad = |why| Error::malformed("key change", why);
    let mut lines = note.unverified_text().lines();
    if lines.next() != Some(HEADER) {
        return Err(bad("another first line"));
    }
    let mut key = || VerifyKey::parse(lines.next().ok_or(bad("a key is missing"))?);
    let (old, new) = (key()?, key()?);
    check_pair(&old, &new)?;
    if note.unverified_text() != text(&old, &new) {
        return Err(bad("another text"));
    }
    note.open(&[&old])?;
    Ok((old, new))
}

/// The keys that follow from trusted ones by changes, in whatever order these stand. Changes that
/// do not begin at a trusted key change nothing.
#[must_use]
pub fn follow(mut trusted: Vec<VerifyKey>, changes: &[Note]) -> Vec<VerifyKey> {
    let changes: Vec<_> =
        changes.iter().take(MAX_KEYS).filter_map(|note| read(note).ok()).collect();
    for _ in 0..changes.len() {
        for (old, new) in &changes {
            if trusted.contains(old) && !trusted.contains(new) {
                trusted.push(new.clone());
            }
        }
    }
    trusted
}

fn check_pair(old: &VerifyKey, new: &VerifyKey) -> Result<(), Error> {
    let of_log = |key: &VerifyKey| key.kind() == KeyKind::Ed25519;
    if old.name() != new.name() || old == new || !of_log(old) || !of_log(new) {
        return Err(Error::malformed("key change", "not two keys of one log"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SeedSigner;

    fn key(seed: u8) -> SeedSigner {
        SeedSigner::new("shop.example/log", KeyKind::Ed25519, &[seed; 32]).unwrap()
    }

    fn change(by: u8, old: u8, new: u8) -> Note {
        let text = text(key(old).verifier(), key(new).verifier());
        Note::sign(&text, &[&key(by)]).unwrap()
    }

    fn trusted(seeds: &[u8]) -> Vec<VerifyKey> {
        seeds.iter().map(|seed| key(*seed).verifier().clone()).collect()
    }

    #[test]
    fn a_chain_is_followed_forward_only_and_only_where_the_old_key_vouches() {
        let chain = [change(2, 2, 3), change(1, 1, 2)];
        assert_eq!(follow(trusted(&[1]), &chain), trusted(&[1, 2, 3]));
        assert_eq!(follow(trusted(&[3]), &chain), trusted(&[3]));
        // signed by the new key, or by a stranger, instead of by the old
        assert_eq!(follow(trusted(&[1]), &[change(2, 1, 2), change(9, 1, 2)]), trusted(&[1]));
        let made = vouch(&key(1), key(1).verifier(), key(2).verifier()).unwrap();
        assert_eq!(made, change(1, 1, 2));
        assert!(vouch(&key(1), key(1).verifier(), key(1).verifier()).is_err());
    }

    #[test]
    fn a_change_is_no_checkpoint() {
        assert!(crate::Checkpoint::parse(change(1, 1, 2).unverified_text()).is_err());
    }
}
