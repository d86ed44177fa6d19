//! Cosignatures (C2SP tlog-cosignature, Ed25519 form): a witness says that at a moment this was
//! the largest tree of that log it had seen. The time is under the signature.

use crate::checkpoint::Checkpoint;
use crate::key::NoteSigner;
use crate::note::Signature;
use crate::{Error, MAX_SIZE};

/// Cosigns a checkpoint at `time_s`, seconds since 1970. Only for trees the witness has found
/// consistent: see [`witness`](crate::witness).
///
/// # Errors
/// `Malformed` for time 0 or above 2^63-1 or a bad key name; `Signer` from the key holder.
pub fn cosign(
    checkpoint: &Checkpoint,
    witness: &dyn NoteSigner,
    time_s: u64,
) -> Result<Signature, Error> {
    if time_s == 0 || time_s > MAX_SIZE {
        return Err(Error::malformed("cosignature", "the time is not 1 to 2^63-1"));
    }
    let message = cosigned_message(&checkpoint.to_string(), time_s);
    let signature = witness.sign(message.as_bytes())?;
    let mut bytes = time_s.to_be_bytes().to_vec();
    bytes.extend_from_slice(&signature);
    Signature::new(witness.name(), witness.key_id(), bytes)
}

/// What an Ed25519 cosigner signs.
pub(crate) fn cosigned_message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// Time and signature out of a `timestamped_signature`.
pub(crate) fn split_cosignature(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let time_s = u64::from_be_bytes(*time);
    (time_s <= MAX_SIZE).then_some((time_s, signature))
}
