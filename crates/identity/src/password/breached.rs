//! Passwords that leaked somewhere: refused where one is chosen (NIST SP 800-63B-4 section 3.1.1.2),
//! without asking anybody.
//!
//! A list becomes a file of binary fuse filters (Graf and Lemire, 2022), nine bits for each entry: it
//! never misses one, and takes about one other password in 256 for one. The key is the first half of
//! the SHA-1 that the lists of Have I Been Pwned are kept by. Filters stand in shards of some tens of thousand,
//! so that of a list of a billion only one is read at a time; a list of up to 64 MiB is kept in memory.
//!
//! Each shard has a digest in the file's table, and none is believed that does not fit.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use thiserror::Error as ThisError;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable as _, Filter as _, FilterRef as _};

const MAGIC: &[u8; 16] = b"stagedoor leaks1";
const HEAD_BYTES: usize = MAGIC.len() + 1 + 8;
/// Offset, length, and the first bytes of the SHA-256.
const ENTRY_BYTES: usize = 8 + 4 + 8;
/// What a shard is meant to hold.
const SHARD_KEYS: u64 = 32_768;
/// 2^20 shards hold a list thirty times as long as any that is known.
const SHARD_BITS_MAX: u8 = 20;
/// A shard that hashes fill evenly is far smaller; a file that says otherwise is not read into memory.
const SHARD_BYTES_MAX: u32 = 4 << 20;
/// Files up to here are kept in memory.
const IN_MEMORY_BYTES: u64 = 64 << 20;
/// How often progress is told, in lines.
const TELL_EVERY: u64 = 1 << 20;
/// The longest line that is read, bytes.
const LINE_BYTES: u64 = 4_096;

/// Why a list of leaked passwords cannot be made or used.
#[derive(Debug, ThisError)]
pub enum BreachedError {
    /// The file system.
    #[error("it cannot be read or written")]
    Io(#[from] io::Error),
    /// The file is none of ours, or was altered.
    #[error("it is no list of `stagedoor breach build`, or was damaged: {0}")]
    Damaged(&'static str),
    /// A list of hashes is not in their order.
    #[error("line {line} is not in the order of the hashes: sort the list by hash")]
    Disorder {
        /// The line, from 1.
        line: u64,
    },
    /// A line of a list of hashes is none.
    #[error("line {line} is no SHA-1 of forty hexadecimal digits")]
    NoHash {
        /// The line, from 1.
        line: u64,
    },
}

/// How the lines of a list are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListForm {
    /// One password a line.
    Plain,
    /// `SHA1:count` a line, in the order of the hashes, as Have I Been Pwned gives them out.
    Hashes,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Passwords, each once.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// The key of a password: the first eight bytes of its SHA-1.
fn key_of(password: &str) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(hash.as_ref().get(..8).unwrap_or(&[0; 8]));
    u64::from_be_bytes(first)
}

/// The key in a line of a list of hashes.
fn key_in(line: &str) -> Option<u64> {
    let hash = line.split_once(':').map_or(line, |(hash, _)| hash).trim();
    let is_hash = hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(is_hash.then(|| hash.get(..16))??, 16).ok()
}

/// The shard of a key, by its first bits.
const fn shard_of(key: u64, bits: u8) -> u64 {
    if bits == 0 { 0 } else { key >> (64 - bits) }
}

/// As many shards as a list of this length wants.
fn bits_for(entries: u64) -> u8 {
    let shards = entries.div_ceil(SHARD_KEYS).next_power_of_two();
    u8::try_from(shards.trailing_zeros()).unwrap_or(SHARD_BITS_MAX).min(SHARD_BITS_MAX)
}

/// One shard in the file's table.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    offset: u64,
    length: u32,
    digest: [u8; 8],
}

impl Entry {
    fn bytes(self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    fn write(self, to: &mut Vec<u8>) {
        to.extend(self.offset.to_be_bytes());
        to.extend(self.length.to_be_bytes());
        to.extend(self.digest);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (digest, _) = rest.split_first_chunk::<8>()?;
        let (offset, length) = (u64::from_be_bytes(*offset), u32::from_be_bytes(*length));
        Some(Self { offset, length, digest: *digest })
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(digest(&SHA256, bytes).as_ref().get(..8).unwrap_or(&[0; 8]));
    first
}

/// A list of leaked passwords. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Breached(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bits: u8,
    entries: u64,
    table: Vec<Entry>,
    file: File,
    /// Everything behind the table, where that is kept.
    held: Option<Vec<u8>>,
    /// Where `held` begins.
    begins: u64,
}

impl Breached {
    /// Opens a list.
    ///
    /// # Errors
    /// [`BreachedError`] where the file cannot be read, is another, or was damaged.
    pub fn open(path: &Path) -> Result<Self, BreachedError> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut head = [0; HEAD_BYTES];
        file.read_exact(&mut head).map_err(|_| BreachedError::Damaged("it is too short"))?;
        let (magic, rest) = head.split_at(MAGIC.len());
        let (bits, entries) = rest.split_first().ok_or(BreachedError::Damaged("no head"))?;
        if magic != MAGIC || *bits > SHARD_BITS_MAX {
            return Err(BreachedError::Damaged("it begins otherwise"));
        }
        let entries = entries.try_into().map_or(0, u64::from_be_bytes);
        let mut table = vec![0; ENTRY_BYTES << *bits];
        file.read_exact(&mut table).map_err(|_| BreachedError::Damaged("its table is cut"))?;
        let table: Vec<Entry> = table.chunks(ENTRY_BYTES).filter_map(Entry::read).collect();
        let begins = file.stream_position()?;
        for entry in &table {
            let ends = entry.offset.checked_add(entry.length.into());
            let within = entry.offset >= begins && ends.is_some_and(|ends| ends <= size);
            if (!within && entry.length > 0) || entry.length > SHARD_BYTES_MAX {
                return Err(BreachedError::Damaged("a shard is outside of it"));
            }
        }
        let inner = Inner { bits: *bits, entries, table, file, held: None, begins };
        if size > IN_MEMORY_BYTES {
            return Ok(Self(Arc::new(inner)));
        }
        for entry in &inner.table {
            inner.read(*entry)?;
        }
        let mut all = vec![0; usize::try_from(size.saturating_sub(begins)).unwrap_or(0)];
        inner.file.read_exact_at(&mut all, begins)?;
        Ok(Self(Arc::new(Inner { held: Some(all), ..inner })))
    }

    /// How many passwords are in it.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.0.entries
    }

    /// Looks at every shard.
    ///
    /// # Errors
    /// [`BreachedError::Damaged`] at the first that does not fit its digest.
    pub fn check(&self) -> Result<(), BreachedError> {
        for entry in &self.0.table {
            self.0.read(*entry)?;
        }
        Ok(())
    }

    /// Whether a password is in the list: always true for one that is, and for about one other in 256.
    ///
    /// # Errors
    /// [`BreachedError`] where the file cannot be read any more, or was damaged.
    pub fn contains(&self, password: &str) -> Result<bool, BreachedError> {
        self.has_key(key_of(password))
    }

    fn has_key(&self, key: u64) -> Result<bool, BreachedError> {
        let place = usize::try_from(shard_of(key, self.0.bits)).unwrap_or(usize::MAX);
        let entry = self.0.table.get(place).ok_or(BreachedError::Damaged("a shard is missing"))?;
        if entry.length == 0 {
            return Ok(false);
        }
        let shard = self.0.shard(*entry)?;
        let (descriptor, prints) = shard
            .split_at_checked(BinaryFuse8::DESCRIPTOR_LEN)
            .ok_or(BreachedError::Damaged("a shard is too short"))?;
        Ok(BinaryFuse8Ref::from_dma(descriptor, prints).contains(&key))
    }
}

impl Inner {
    /// A shard: as it is held, where it was judged when it was taken in, or as it is in the file now.
    fn shard(&self, entry: Entry) -> Result<Cow<'_, [u8]>, BreachedError> {
        let Some(held) = &self.held else { return self.read(entry).map(Cow::Owned) };
        let from = usize::try_from(entry.offset.saturating_sub(self.begins)).unwrap_or(usize::MAX);
        let shard = held.get(from..from.saturating_add(entry.bytes()));
        shard.map(Cow::Borrowed).ok_or(BreachedError::Damaged("a shard is outside of it"))
    }

    /// A shard of the file, as it was written: a filter over other bytes would be asked outside of its
    /// own.
    fn read(&self, entry: Entry) -> Result<Vec<u8>, BreachedError> {
        let mut shard = vec![0; entry.bytes()];
        if !shard.is_empty() {
            self.file.read_exact_at(&mut shard, entry.offset)?;
            if digest_of(&shard) != entry.digest {
                return Err(BreachedError::Damaged("a shard does not fit its digest"));
            }
        }
        Ok(shard)
    }
}

/// Makes a list from others; `told` hears now and then how many lines were read. What stood at `to` is
/// replaced when all is written, and stays where something fails.
///
/// # Errors
/// [`BreachedError`].
pub fn build_breached(
    lists: &[(&Path, ListForm)],
    to: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<Built, BreachedError> {
    let beside = to.with_extension("new");
    let built = match lists {
        // By far the largest are in their order, and need not be held.
        [(only, ListForm::Hashes)] => stream(only, &beside, told),
        _ => gather(lists, &beside, told),
    };
    match built {
        Ok(built) => {
            std::fs::rename(&beside, to)?;
            Ok(built)
        }
        Err(error) => {
            // Perhaps it was not even begun.
            let _ = std::fs::remove_file(&beside);
            Err(error)
        }
    }
}

/// Calls `each` with every line that is not empty, and its number.
fn each_line(
    list: &Path,
    read: &mut u64,
    told: &mut dyn FnMut(u64),
    mut each: impl FnMut(&str, u64) -> Result<(), BreachedError>,
) -> Result<(), BreachedError> {
    let mut lines = io::BufReader::with_capacity(1 << 20, File::open(list)?);
    let (mut bytes, mut number) = (Vec::new(), 0);
    loop {
        bytes.clear();
        if lines.by_ref().take(LINE_BYTES).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        number += 1;
        *read += 1;
        if read.is_multiple_of(TELL_EVERY) {
            told(*read);
        }
        // A password that is no UTF-8 cannot be typed here.
        let Ok(line) = std::str::from_utf8(&bytes) else { continue };
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.is_empty() {
            each(line, number)?;
        }
    }
}

fn gather(
    lists: &[(&Path, ListForm)],
    to: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<Built, BreachedError> {
    let (mut keys, mut read) = (Vec::new(), 0);
    for (list, form) in lists {
        each_line(list, &mut read, told, |line, number| {
            keys.push(match form {
                ListForm::Plain => key_of(line),
                ListForm::Hashes => key_in(line).ok_or(BreachedError::NoHash { line: number })?,
            });
            Ok(())
        })?;
    }
    keys.sort_unstable();
    keys.dedup();
    let entries = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    let mut writer = ShardWriter::begin(to, bits_for(entries))?;
    for key in keys {
        writer.add(key)?;
    }
    writer.finish()
}

fn stream(list: &Path, to: &Path, told: &mut dyn FnMut(u64)) -> Result<Built, BreachedError> {
    // Forty digits, a colon, a count, an end.
    const USUAL_LINE_BYTES: u64 = 45;
    let bits = bits_for(std::fs::metadata(list)?.len() / USUAL_LINE_BYTES);
    let mut writer = ShardWriter::begin(to, bits)?;
    let (mut last, mut read) = (0, 0);
    each_line(list, &mut read, told, |line, number| {
        let key = key_in(line).ok_or(BreachedError::NoHash { line: number })?;
        if key < last {
            return Err(BreachedError::Disorder { line: number });
        }
        last = key;
        writer.add(key)
    })?;
    writer.finish()
}

/// Writes shards from keys in their order.
struct ShardWriter {
    file: io::BufWriter<File>,
    bits: u8,
    table: Vec<Entry>,
    keys: Vec<u64>,
    shard: u64,
    offset: u64,
    entries: u64,
}

impl ShardWriter {
    fn begin(to: &Path, bits: u8) -> Result<Self, BreachedError> {
        let offset = HEAD_BYTES + (ENTRY_BYTES << bits);
        let mut file = io::BufWriter::new(File::create(to)?);
        file.write_all(&vec![0; offset])?;
        let offset = u64::try_from(offset).unwrap_or(u64::MAX);
        let table = vec![Entry::default(); 1 << bits];
        Ok(Self { file, bits, table, keys: Vec::new(), shard: 0, offset, entries: 0 })
    }

    fn add(&mut self, key: u64) -> Result<(), BreachedError> {
        let shard = shard_of(key, self.bits);
        if shard != self.shard {
            self.close_shard()?;
            self.shard = shard;
        }
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
        Ok(())
    }

    fn close_shard(&mut self) -> Result<(), BreachedError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let filter = BinaryFuse8::try_from(self.keys.as_slice());
        let filter = filter.map_err(|_| BreachedError::Damaged("a filter could not be made"))?;
        let mut shard = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut shard);
        shard.extend(filter.dma_fingerprints());
        self.file.write_all(&shard)?;
        let length = u32::try_from(shard.len()).unwrap_or(u32::MAX);
        let entry = Entry { offset: self.offset, length, digest: digest_of(&shard) };
        let place = usize::try_from(self.shard).unwrap_or(usize::MAX);
        if let Some(there) = self.table.get_mut(place) {
            *there = entry;
        }
        self.offset += u64::from(length);
        self.entries += u64::try_from(self.keys.len()).unwrap_or(0);
        self.keys.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Built, BreachedError> {
        self.close_shard()?;
        let mut head = MAGIC.to_vec();
        head.push(self.bits);
        head.extend(self.entries.to_be_bytes());
        for entry in &self.table {
            entry.write(&mut head);
        }
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&head)?;
        file.sync_all()?;
        Ok(Built { entries: self.entries, bytes: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(number: u64) -> String {
        format!("a leaked one, {number}")
    }

    fn list(dir: &Path, words: impl Iterator<Item = String>) -> std::path::PathBuf {
        let path = dir.join("list.txt");
        std::fs::write(&path, words.collect::<Vec<_>>().join("\n")).unwrap();
        path
    }

    fn hashed(word: &str, count: u64) -> String {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, word.as_bytes());
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{hex}:{count}")
    }

    // G17: nothing is missed, and few others are taken for one.
    #[test]
    fn none_is_missed_and_few_others_are_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("leaks");
        for many in [0, 1, 2, 3, 10, 1_000, 100_000] {
            let list = list(dir.path(), (0..many).map(word));
            let built = build_breached(&[(&list, ListForm::Plain)], &to, &mut |_| {}).unwrap();
            assert_eq!(built.entries, many);
            assert_eq!(built.bytes, std::fs::metadata(&to).unwrap().len());
            let leaks = Breached::open(&to).unwrap();
            leaks.check().unwrap();
            for number in 0..many {
                assert!(leaks.contains(&word(number)).unwrap(), "{number} of {many}");
            }
            let others = 100_000;
            let wrong = (0..others).filter(|n| leaks.contains(&format!("other {n}")).unwrap());
            let wrong = wrong.count();
            assert!(wrong <= 430, "{wrong} of {others} others are taken for one of {many}");
        }
        let bits = 8.0 * std::fs::metadata(&to).unwrap().len() as f64 / 100_000.0;
        assert!(bits < 10.0, "{bits} bits an entry");
    }

    #[test]
    fn a_list_of_hashes_says_the_same_and_must_be_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, to) = (dir.path().join("a"), dir.path().join("b"));
        let words = list(dir.path(), (0..70_000).map(word));
        build_breached(&[(&words, ListForm::Plain)], &plain, &mut |_| {}).unwrap();
        let mut hashes: Vec<String> = (0..70_000).map(|n| hashed(&word(n), n)).collect();
        hashes.sort();
        let sorted = list(dir.path(), hashes.iter().cloned());
        let mut heard = 0;
        let built = build_breached(&[(&sorted, ListForm::Hashes)], &to, &mut |_| heard += 1);
        assert_eq!((built.unwrap().entries, heard), (70_000, 0));
        let (plain, streamed) = (Breached::open(&plain).unwrap(), Breached::open(&to).unwrap());
        for number in 0..70_000 {
            assert!(plain.contains(&word(number)).unwrap());
            assert!(streamed.contains(&word(number)).unwrap());
        }
        // Out of order, or no hash: told by line, and what stood there stays.
        hashes.swap(3, 60_000);
        let disorder = list(dir.path(), hashes.iter().cloned());
        let refused = build_breached(&[(&disorder, ListForm::Hashes)], &to, &mut |_| {});
        assert!(matches!(refused, Err(BreachedError::Disorder { line: 5 })), "{refused:?}");
        let words = list(dir.path(), ["password".to_owned()].into_iter());
        let refused = build_breached(&[(&words, ListForm::Hashes)], &to, &mut |_| {});
        assert!(matches!(refused, Err(BreachedError::NoHash { line: 1 })), "{refused:?}");
        assert!(Breached::open(&to).unwrap().contains(&word(1)).unwrap());
        assert!(!dir.path().join("b.new").exists());
        // Several lists at once need no order.
        let both = [(disorder.as_path(), ListForm::Plain), (words.as_path(), ListForm::Plain)];
        assert_eq!(build_breached(&both, &to, &mut |_| {}).unwrap().entries, 1);
    }

    #[test]
    fn a_damaged_list_is_refused_and_never_panics() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("leaks");
        let words = list(dir.path(), (0..2_000).map(word));
        build_breached(&[(&words, ListForm::Plain)], &to, &mut |_| {}).unwrap();
        let good = std::fs::read(&to).unwrap();
        let mut seed: u64 = 7;
        for round in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
            let mut bad = good.clone();
            let place = usize::try_from(seed >> 33).unwrap() % bad.len();
            if round % 5 == 0 {
                bad.truncate(place);
            } else {
                // Mostly where it hurts: in the head and the table.
                let place = if round % 2 == 0 { place % 60 } else { place };
                bad[place] ^= u8::try_from(seed >> 56).unwrap() | 1;
            }
            std::fs::write(&to, &bad).unwrap();
            if let Ok(leaks) = Breached::open(&to) {
                let _ = leaks.check();
                let _ = leaks.contains(&word(round));
            }
        }
        std::fs::write(&to, b"what is this").unwrap();
        assert!(matches!(Breached::open(&to), Err(BreachedError::Damaged(_))));
    }
}
