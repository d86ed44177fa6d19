//! The vault: the keys of the house, and everything that is only readable with them.
//!
//! It guards every secret and personal value of every room, the pseudonyms of the exported log,
//! and the keys that sign tokens and checkpoints. The way in is [`Vault::open`] (once per process;
//! [`Vault::init`] the first time); then `resolve` before a transaction, `seal` and `open` inside.
//!
//! # The hierarchy
//! root key (a file sealed by a passphrase, or [`RootKey`]) → epoch keys (files of the keyholder
//! folder) → the tenant's key of each epoch → subject keys (one for each person and day) and
//! purpose keys (field, pseudonym, blind, mac, session, access, checkpoint), in the key database.
//!
//! Root, epoch and tenant keys are the [`Keyholder`]'s: in this process, or in one of its own
//! behind a socket ([`serve`], [`Where::Socket`]), which is asked to make, open and re-wrap the
//! keys below. It sees no database: each question brings the wrapped rows along.
//!
//! # Promises
//! - **V1** the only cipher is AES-256-GCM through aws-lc-rs, with 96 random bits as nonce; a key
//!   seals at most 2^32 values;
//! - **V2** a sealed value opens only under its tenant, table, column, row, subject, key and format:
//!   moved anywhere else, flipped or cut, it is forged;
//! - **V3** a wrapped key opens only as the key that it is, in the epoch that it is of;
//! - **V4** no key, and nothing that opens one, is in the key database or the keyholder folder in
//!   the clear, and none is printed;
//! - **V5** a shredded subject stays erased: no later create, race or rotation gives it a key, and
//!   no process uses the old one longer than twice `recheck`;
//! - **V6** after the next epoch rotation, no copy of the key database from before the erasure
//!   revives the subject, not even with the whole keyholder folder of today;
//! - **V7** the cache of unwrapped keys is bounded, and what leaves it is wiped;
//! - **V8** rotation never makes anything unreadable: old versions open what they sealed, and a
//!   signing key is published before its first use and after its last;
//! - **V9** a crash between any two steps leaves a vault that opens, and work that goes on when it
//!   is asked for again;
//! - **V10** with the keyholder behind a socket, this process never has a root, epoch or tenant key;
//!   the keyholder answers its callers only, what they may have, and no more than [`Opens`] allows;
//!   a question that is not whole changes nothing;
//! - **V11** what passes the socket is counted by caller and minute, in a file of the keyholder's
//!   own, and each line holds the digest of the one before;
//! - **V12** a file that is sealed by a passphrase opens whole or not at all: cut, altered or put
//!   together from two, it is refused.
//!
//! # Tables
//! A database of its own, outside the data's backups: `key_vault`, `key_epoch`, `key_subject`,
//! `key_purpose` (migrations/0001_keys.sql). All upkeep: the vault has no events of its own.
//!
//! # Events
//! The vault cannot emit: it is below the rooms. The binary emits, from what these return:
//! `vault.key_rotated` ([`Rotated`], [`Tended::rotated`]), `vault.key_ended` ([`Tended::ended`]),
//! `vault.epoch_rotated` ([`EpochRotated`]), `vault.subject_shredded` ([`Receipt`]),
//! `vault.days_retired` (the count), `vault.keys_opened` ([`Minute`]).
//!
//! # Threats
//! Covered: a stolen dump or backup of the data, of the key database, or of both (nothing opens
//! without folder and root); a stolen folder (nothing opens without the root); values copied
//! between rows, columns, persons or tenants; a restored old backup; a crash at any step; two
//! processes that do the same.
//! A process that was taken over, where the keyholder is behind a socket: it can use what is in its
//! memory and open others at the budget's pace, which is told; it cannot take root, epoch or tenant
//! keys away with it, and it can do nothing once it is out. (It can have the keyholder's wrapped files,
//! as a backup has: without passphrase or recovery code they open nothing. Each time is told.)
//! Not covered: root on the host while the house is open (it reads the memory); whoever has a copy
//! of the keyholder folder *and* the root key from before an epoch rotation (never back the folder
//! up for longer than an epoch); copies that flash disks and copying file systems keep of
//! overwritten files (wrapped by the root); equality and frequency, which a blind index tells;
//! dead rows in PostgreSQL's heap and WAL until vacuum and until the epoch ends (wrapped).

mod aead;
mod cache;
mod checkpoint;
mod config;
mod copied;
mod doctor;
mod error;
mod files;
mod folder;
mod frame;
mod holder;
mod purpose;
mod recovery;
mod ring;
mod root;
mod rotate;
mod rows;
mod seal;
mod sealed;
mod sealed_file;
mod signer;
mod steps;
mod subjects;
mod vault;
mod wire;

pub use checkpoint::Notary;
pub use config::{Config, FIRST_TENANT, Home, Tuning, Where};
pub use copied::{KeySnapshot, put_key_files, shapes};
pub use doctor::{KeyFacts, VaultFacts};
pub use error::Error;
pub use files::same_volume;
pub use holder::{BATCH_MAX, Caller, Door, Keyholder, Minute, Opens, serve};
pub use purpose::{Phase, Purpose};
pub use recovery::{make_code, recover};
pub use root::{PASSPHRASE_LEAST, Root, RootKey};
pub use rotate::{EpochRotated, Progress, Rotated, Tended};
pub use rows::{MIGRATIONS, needs, statements};
pub use sealed::OVERHEAD_LEN;
pub use sealed_file::{SealedReader, SealedWriter};
pub use signer::{Expected, Signer};
pub use spine::{Place, SealError, Sealer, Subject};
pub use subjects::Receipt;
pub use vault::{Vault, keyholder_name};
pub use wire::WireKey;

#[doc(hidden)]
pub use steps::{Drill, Step};
