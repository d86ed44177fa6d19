//! The two envelopes: a sealed value (under a subject's or the house's key) and a wrapped key
//! (under the key above it). Both name their format and algorithm first, so that others can follow.

use kernel::{Entropy, KeyId, Secret, TenantId};
use spine::{Place, Subject};

use crate::aead::{Cipher, KEY_LEN, KeyBytes, NONCE_LEN, TAG_LEN, take_key};
use crate::error::Error;
use crate::frame::frame;

/// The format of sealed values and wrapped keys.
const FORMAT: u8 = 1;
/// AES-256-GCM, 96-bit random nonce, 128-bit tag.
const AES_256_GCM: u8 = 1;
/// The version of the additional data's tuple.
const SCHEMA: [u8; 2] = 1u16.to_be_bytes();
/// Format, algorithm, key version.
const HEADER_LEN: usize = 6;
/// What a sealed value is longer than its plain text: header, nonce, tag.
pub const OVERHEAD_LEN: usize = HEADER_LEN + NONCE_LEN + TAG_LEN;

/// What a sealed value is bound to, besides its key.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) subject: Subject,
    pub(crate) place: Place<'a>,
    pub(crate) key: KeyId,
}

impl Binding<'_> {
    /// The additional data: the whole tuple, and the header that stands before the nonce.
    fn aad(&self, header: &[u8; HEADER_LEN]) -> Vec<u8> {
        frame(&[
            header,
            self.tenant.as_bytes(),
            self.place.table.as_bytes(),
            self.place.column.as_bytes(),
            &self.place.row,
            &self.subject.to_bytes(),
            self.key.as_bytes(),
            &SCHEMA,
        ])
    }
}

fn header(version: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = version.to_be_bytes();
    [FORMAT, AES_256_GCM, a, b, c, d]
}

/// Seals a value: header, nonce, ciphertext, tag.
pub(crate) fn seal(
    cipher: &Cipher,
    version: u32,
    binding: &Binding<'_>,
    plain: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, Error> {
    let header = header(version);
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mut sealed = Vec::with_capacity(OVERHEAD_LEN + plain.len());
    sealed.extend_from_slice(&header);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let text = sealed.get_mut(HEADER_LEN + NONCE_LEN..).unwrap_or_default();
    let tag = cipher.seal(nonce, &binding.aad(&header), text)?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// The key version that a sealed value names. Anything but our format is forged.
pub(crate) fn version_of(sealed: &[u8]) -> Result<u32, Error> {
    if sealed.len() < OVERHEAD_LEN {
        return Err(Error::Forged);
    }
    match sealed.first_chunk::<HEADER_LEN>() {
        Some([FORMAT, AES_256_GCM, a, b, c, d]) => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        Some(_) | None => Err(Error::Forged),
    }
}

/// Opens what [`seal`] made for the same binding.
pub(crate) fn open(
    cipher: &Cipher,
    binding: &Binding<'_>,
    sealed: &[u8],
) -> Result<Vec<u8>, Error> {
    let version = version_of(sealed)?;
    let (_, rest) = sealed.split_first_chunk::<HEADER_LEN>().ok_or(Error::Forged)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Error::Forged)?;
    cipher.open(*nonce, &binding.aad(&header(version)), rest)
}

/// Wraps a key under the key above it: format, algorithm, nonce, ciphertext, tag. `context` is the
/// framed tuple that says which key this is and where it hangs.
pub(crate) fn wrap(
    above: &Cipher,
    context: &[u8],
    key: &KeyBytes,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mut wrapped = Vec::with_capacity(2 + NONCE_LEN + KEY_LEN + TAG_LEN);
    wrapped.extend_from_slice(&[FORMAT, AES_256_GCM]);
    wrapped.extend_from_slice(&nonce);
    wrapped.extend_from_slice(key.expose());
    let place = wrapped.get_mut(2 + NONCE_LEN..).unwrap_or_default();
    let tag = above.seal(nonce, &frame(&[&[FORMAT, AES_256_GCM], context]), place)?;
    wrapped.extend_from_slice(&tag);
    Ok(wrapped)
}

/// Unwraps what [`wrap`] made for the same context.
pub(crate) fn unwrap(above: &Cipher, context: &[u8], wrapped: &[u8]) -> Result<KeyBytes, Error> {
    let (head, rest) = wrapped.split_first_chunk::<2>().ok_or(Error::Forged)?;
    if head != &[FORMAT, AES_256_GCM] {
        return Err(Error::Forged);
    }
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Error::Forged)?;
    let plain = Secret::new(above.open(*nonce, &frame(&[head, context]), rest)?);
    take_key(plain.expose()).ok_or(Error::Forged)
}

/// The context of an epoch key under the root.
pub(crate) fn epoch_context(vault: &[u8; 16], epoch: i64) -> Vec<u8> {
    frame(&[b"stagedoor epoch key", vault, &epoch.to_be_bytes(), &SCHEMA])
}

/// The context of a tenant key under its epoch.
pub(crate) fn tenant_context(tenant: TenantId, epoch: i64) -> Vec<u8> {
    frame(&[b"stagedoor tenant key", tenant.as_bytes(), &epoch.to_be_bytes(), &SCHEMA])
}

/// The context of a subject key under its tenant's key of an epoch.
pub(crate) fn subject_context(
    tenant: TenantId,
    subject: Subject,
    key: KeyId,
    epoch: i64,
) -> Vec<u8> {
    let subject = subject.to_bytes();
    let epoch = epoch.to_be_bytes();
    let parts: [&[u8]; 6] =
        [b"stagedoor subject key", tenant.as_bytes(), &subject, key.as_bytes(), &epoch, &SCHEMA];
    frame(&parts)
}

/// The context of a purpose key under its tenant's key of an epoch.
pub(crate) fn purpose_context(
    tenant: TenantId,
    purpose: &str,
    version: u32,
    key: KeyId,
    epoch: i64,
) -> Vec<u8> {
    let (version, epoch) = (version.to_be_bytes(), epoch.to_be_bytes());
    frame(&[
        b"stagedoor purpose key",
        tenant.as_bytes(),
        purpose.as_bytes(),
        &version,
        key.as_bytes(),
        &epoch,
        &SCHEMA,
    ])
}

#[cfg(test)]
mod tests {
    use kernel::{AccountId, SystemEntropy};
    use proptest::prelude::*;

    use super::*;
    use crate::aead::fresh_key;

    fn binding<'a>(table: &'a str, column: &'a str, ids: [u8; 4]) -> Binding<'a> {
        let [tenant, subject, row, key] = ids;
        Binding {
            tenant: TenantId::from_bytes([tenant; 16]),
            subject: Subject::Account(AccountId::from_bytes([subject; 16])),
            place: Place { table, column, row: [row; 16] },
            key: KeyId::from_bytes([key; 16]),
        }
    }

    proptest! {
        // V2
        #[test]
        fn opens_only_where_it_was_sealed(
            plain in prop::collection::vec(any::<u8>(), 0..300),
            table in "[a-c]{0,2}", column in "[a-c]{0,2}",
            other_table in "[a-c]{0,2}", other_column in "[a-c]{0,2}",
            ids in prop::array::uniform4(0u8..3), other_ids in prop::array::uniform4(0u8..3),
        ) {
            let cipher = Cipher::new(&fresh_key(&SystemEntropy)).expect("a key");
            let here = binding(&table, &column, ids);
            let there = binding(&other_table, &other_column, other_ids);
            let sealed = seal(&cipher, 7, &here, &plain, &SystemEntropy).expect("seals");
            prop_assert_eq!(sealed.len(), plain.len() + OVERHEAD_LEN);
            prop_assert_eq!(version_of(&sealed).expect("ours"), 7);
            prop_assert_eq!(&open(&cipher, &here, &sealed).expect("opens"), &plain);
            let same = (&table, &column, ids) == (&other_table, &other_column, other_ids);
            prop_assert_eq!(open(&cipher, &there, &sealed).is_ok(), same);
        }

        // V2
        #[test]
        fn any_flipped_bit_and_any_cut_is_found(
            plain in prop::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(),
        ) {
            let cipher = Cipher::new(&fresh_key(&SystemEntropy)).expect("a key");
            let here = binding("t", "c", [1; 4]);
            let sealed = seal(&cipher, 1, &here, &plain, &SystemEntropy).expect("seals");
            let bit = at.index(sealed.len() * 8);
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(open(&cipher, &here, &flipped), Err(Error::Forged)));
            let cut = &sealed[..at.index(sealed.len())];
            prop_assert!(matches!(open(&cipher, &here, cut), Err(Error::Forged)));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let cipher = Cipher::new(&fresh_key(&SystemEntropy)).expect("a key");
            prop_assert!(open(&cipher, &binding("t", "c", [1; 4]), &bytes).is_err());
            prop_assert!(unwrap(&cipher, b"context", &bytes).is_err());
        }
    }

    // V3
    #[test]
    fn a_wrapped_key_opens_only_in_its_place() {
        let above = Cipher::new(&fresh_key(&SystemEntropy)).expect("a key");
        let key = fresh_key(&SystemEntropy);
        let tenant = TenantId::from_bytes([1; 16]);
        let id = KeyId::from_bytes([2; 16]);
        let context = subject_context(tenant, Subject::Day(3), id, 1);
        let wrapped = wrap(&above, &context, &key, &SystemEntropy).expect("wraps");
        assert!(unwrap(&above, &context, &wrapped).expect("opens").matches(key.expose()));
        for other in [
            subject_context(tenant, Subject::Day(4), id, 1),
            subject_context(tenant, Subject::Day(3), id, 2),
            subject_context(TenantId::from_bytes([9; 16]), Subject::Day(3), id, 1),
            purpose_context(tenant, "field", 1, id, 1),
            tenant_context(tenant, 1),
            epoch_context(&[1; 16], 1),
        ] {
            assert!(matches!(unwrap(&above, &other, &wrapped), Err(Error::Forged)));
        }
    }
}
