//! The log's key may change. The change is told in the log, with a note by which the old key vouches
//! for the new one: so what the old one signed still holds, and strangers can follow.

use merkle::key::KeyKind;
use merkle::key_change::{read, vouch};
use merkle::note::Note;
use merkle::{Policy, SignedCheckpoint, VerifyKey};
use store::{Row, args};

use crate::events::KeyChanged;
use crate::leaf::Leaf;
use crate::node::{Fetch, LogSigner};
use crate::{CheckpointSigner, Error, Event as _, Spine, reopen};

/// A change that the log tells of: the old public key and the new one.
type Change = ([u8; 32], [u8; 32]);

impl Spine {
    /// Tells of every change from one of these keys to the next that the log does not tell of yet.
    /// `signers` are all keys that the log had, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`] where an old key cannot sign any more.
    pub async fn tell_key_changes(&self, signers: &[&dyn CheckpointSigner]) -> Result<(), Error> {
        let [_, _, ..] = signers else { return Ok(()) };
        let told: Vec<Change> = self.key_changes().await?.iter().filter_map(pair).collect();
        let origin = self.verifier_key().await?.name().to_owned();
        for (old, new) in signers.iter().zip(signers.iter().skip(1)) {
            if told.contains(&(old.public_key(), new.public_key())) {
                continue;
            }
            let key = |signer: &dyn CheckpointSigner| {
                VerifyKey::new(&origin, KeyKind::Ed25519, signer.public_key())
            };
            let (old_key, new_key) = (key(*old)?, key(*new)?);
            let signer = LogSigner { signer: *old, origin: &origin };
            let vouched = vouch(&signer, &old_key, &new_key)?.to_string();
            let (old_key, new_key) = (old_key.to_string(), new_key.to_string());
            self.0.sealer.resolve(&[crate::Subject::House]).await?;
            let mut tx = self.begin(&self.system_ctx("keys")).await?;
            let about = crate::About::house("log", [0; 16], 0);
            tx.emit(about, KeyChanged { old_key, new_key, vouched })?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// The notes by which old keys of the log vouch for new ones, as the log tells of them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn key_changes(&self) -> Result<Vec<Note>, Error> {
        changes(self, &mut self.0.db.read().await?).await
    }

    /// The keys under which this log's checkpoints count: the one in use first, then those before.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Tree`].
    pub async fn verifier_keys(&self) -> Result<Vec<VerifyKey>, Error> {
        let now = self.verifier_key().await?;
        let told: Vec<Change> = self.key_changes().await?.iter().filter_map(pair).collect();
        let publics = accepted(*now.public(), &told);
        let keys = publics.into_iter().map(|key| VerifyKey::new(now.name(), KeyKind::Ed25519, key));
        Ok(keys.collect::<Result<_, _>>()?)
    }
}

async fn changes(spine: &Spine, from: &mut impl Fetch) -> Result<Vec<Note>, Error> {
    let rows = from.fetch(reopen::TOLD.text(), args![KeyChanged::SPEC.kind]).await?;
    Ok(rows.iter().filter_map(|row| told(spine, row)).collect())
}

fn told(spine: &Spine, row: &Row) -> Option<Note> {
    let leaf = Leaf::read(spine.0.sealer.as_ref(), row);
    if !leaf.faults.is_empty() {
        return None;
    }
    note_of(&leaf.body?.0)
}

/// The note in the plain part of a [`KeyChanged`].
fn note_of(plain: &[u8]) -> Option<Note> {
    let told: KeyChanged = serde_json::from_slice(plain).ok()?;
    Note::parse(told.vouched.as_bytes()).ok()
}

fn pair(note: &Note) -> Option<Change> {
    let (old, new) = read(note).ok()?;
    Some((*old.public(), *new.public()))
}

/// What the plain part of an event of this kind tells of keys.
pub(crate) fn change(kind: &str, plain: &[u8]) -> Option<Change> {
    if kind != KeyChanged::SPEC.kind {
        return None;
    }
    pair(&note_of(plain)?)
}

/// The keys that belong together with `now` by what the log tells: only the program can have written
/// that, so it holds in both directions.
pub(crate) fn accepted(now: [u8; 32], told: &[Change]) -> Vec<[u8; 32]> {
    let mut keys = vec![now];
    for _ in 0..told.len() {
        for (old, new) in told {
            let more = match (keys.contains(old), keys.contains(new)) {
                (true, false) => *new,
                (false, true) => *old,
                (true, true) | (false, false) => continue,
            };
            keys.push(more);
        }
    }
    keys
}

/// Whether one of these public keys signed the checkpoint, under the checkpoint's own name.
pub(crate) fn is_signed_by(signed: &SignedCheckpoint, publics: &[[u8; 32]]) -> bool {
    let origin = signed.claimed().origin();
    let keys = publics.iter().map(|key| VerifyKey::new(origin, KeyKind::Ed25519, *key));
    let keys: Result<Vec<_>, _> = keys.collect();
    keys.and_then(Policy::new).is_ok_and(|policy| policy.verify(signed).is_ok())
}

/// Whether the log's key signed the checkpoint, or one before it of which the log tells.
pub(crate) async fn is_signed(
    spine: &Spine,
    from: &mut impl Fetch,
    signed: &SignedCheckpoint,
) -> Result<bool, Error> {
    let now = spine.0.signer.public_key();
    if is_signed_by(signed, &[now]) {
        return Ok(true);
    }
    let told: Vec<Change> = changes(spine, from).await?.iter().filter_map(pair).collect();
    Ok(is_signed_by(signed, &accepted(now, &told)))
}
