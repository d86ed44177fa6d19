//! What was asked of the keyholder, counted by minute and caller, and written into a file of its own:
//! one line a minute, each with the digest of the one before.
//!
//! The file proves nothing against the keyholder's own user. But core tells the log of each minute
//! with the line's digest, so a line that was changed or taken out afterwards no longer fits what
//! the log says; and what a taken-over core does not tell of stands here.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::failed;
use crate::holder::ask::{Ask, Named};

/// Minutes that are remembered for whoever asks.
const MINUTES_MAX: usize = 1_440;
/// Callers that are counted apart; those who come later are counted as one.
const CALLERS_MAX: usize = 64;
/// How much of a file's end is read: its last line, and minutes that core may not have been told of.
const TAIL: u64 = 64 * 1024;

/// What was asked in one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// The minute, since 1970; each is greater than the one before, whatever the clock does.
    pub minute: i64,
    /// Keys of persons and days that were opened.
    pub opened: u64,
    /// Questions that were refused.
    pub refused: u64,
    /// How often each thing was done: `subjects`, `purposes`, `made`, `rewrapped`, `epochs`,
    /// `copied` (the wrapped files, for a backup), and
    /// what was refused: `refused_limit`, `refused_caller`, `refused_request`, `refused_key`.
    pub kinds: BTreeMap<String, u64>,
    /// The digest of the line in the keyholder's own file (SHA-256, hex).
    pub line: String,
}

/// What each caller asked, by kind. By user id; `others` are too many to name.
type Callers = BTreeMap<String, BTreeMap<String, u64>>;

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    minute: i64,
    callers: &'a Callers,
    /// The digest of the line before; empty where there is none.
    before: &'a str,
}

/// Only what is read again.
#[derive(Deserialize)]
struct OldLine {
    minute: i64,
    callers: Callers,
}

impl OldLine {
    fn read(line: &str) -> Option<Minute> {
        let Self { minute, callers } = serde_json::from_str(line).ok()?;
        Some(sum(minute, &callers, digest_of(line)))
    }
}

/// The running counts, and the file.
#[derive(Debug)]
pub(crate) struct Tally {
    file: PathBuf,
    minute: i64,
    callers: Callers,
    before: String,
    told: VecDeque<Minute>,
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Limit,
    Caller,
    Request,
    Key,
}

impl Refused {
    const fn name(self) -> &'static str {
        match self {
            Self::Limit => "refused_limit",
            Self::Caller => "refused_caller",
            Self::Request => "refused_request",
            Self::Key => "refused_key",
        }
    }

    /// Of an error that was answered.
    pub(crate) const fn of(error: &Error) -> Self {
        if matches!(error, Error::OpensLimited { .. }) {
            return Self::Limit;
        }
        if matches!(error, Error::Forged | Error::EpochGone { .. } | Error::RootRefused) {
            return Self::Key;
        }
        Self::Request
    }
}

impl Tally {
    /// Goes on where the file ends: the last minutes in it may not have been told to core yet.
    pub(crate) fn open(file: &Path, now: Timestamp) -> Result<Self, Error> {
        let lines = last_lines(file)?;
        let minute = minute_of(now);
        let told: VecDeque<Minute> = lines.iter().filter_map(|line| OldLine::read(line)).collect();
        let known = told.back().map(|last| last.minute);
        Ok(Self {
            file: file.to_owned(),
            minute: known.map_or(minute, |known| minute.max(known.saturating_add(1))),
            callers: BTreeMap::new(),
            before: lines.last().map(|line| digest_of(line)).unwrap_or_default(),
            told,
        })
    }

    pub(crate) fn count(&mut self, uid: Option<u32>, kind: &str, many: usize) {
        if many == 0 {
            return;
        }
        let mut caller = uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string());
        if !self.callers.contains_key(&caller) && self.callers.len() >= CALLERS_MAX {
            "others".clone_into(&mut caller);
        }
        let kinds = self.callers.entry(caller).or_default();
        let count = kinds.entry(kind.to_owned()).or_default();
        *count = count.saturating_add(u64::try_from(many).unwrap_or(u64::MAX));
    }

    pub(crate) fn refused(&mut self, uid: Option<u32>, why: Refused) {
        self.count(uid, why.name(), 1);
    }

    /// Counts what was done.
    pub(crate) fn done(&mut self, uid: u32, ask: &Ask) {
        let subjects = ask.subjects_opened();
        let (kind, many) = match ask {
            Ask::Facts | Ask::Minutes { .. } => return,
            Ask::Open { keys, .. } => {
                self.count(Some(uid), "subjects", subjects);
                let purpose =
                    |key: &&super::Wrapped| matches!(key.name.what, Named::Purpose { .. });
                ("purposes", keys.iter().filter(purpose).count())
            }
            Ask::Make { names, .. } => ("made", names.len()),
            Ask::Rewrap { keys, .. } => ("rewrapped", keys.len()),
            Ask::Files => ("copied", 1),
            Ask::AddEpoch { .. }
            | Ask::OverwriteEpoch { .. }
            | Ask::RemoveEpoch { .. }
            | Ask::MakeTenant { .. } => ("epochs", 1),
        };
        self.count(Some(uid), kind, many);
    }

    /// Writes the minute that is over, where one is and something was asked in it. Where the file
    /// takes no line, the counts are written with the next one's.
    pub(crate) fn turn(&mut self, now: Timestamp) -> Result<(), Error> {
        if minute_of(now) <= self.minute {
            return Ok(());
        }
        self.write(now)
    }

    /// Writes what there is, at the end of the program.
    pub(crate) fn finish(&mut self, now: Timestamp) -> Result<(), Error> {
        self.write(now)
    }

    fn write(&mut self, now: Timestamp) -> Result<(), Error> {
        if !self.callers.is_empty() {
            let at = Timestamp::from_seconds(self.minute.saturating_mul(60)).to_string();
            let (minute, callers, before) = (self.minute, &self.callers, self.before.as_str());
            let line = serde_json::to_string(&Line { at, minute, callers, before })
                .map_err(|_| Error::Primitive("a line of counts"))?;
            append(&self.file, &line)?;
            self.before = digest_of(&line);
            let written = sum(self.minute, &self.callers, self.before.clone());
            if self.told.len() >= MINUTES_MAX {
                self.told.pop_front();
            }
            self.told.push_back(written);
            self.callers.clear();
        }
        self.minute = minute_of(now).max(self.minute.saturating_add(1));
        Ok(())
    }

    /// The minutes after this one that are written.
    pub(crate) fn after(&self, minute: i64) -> Vec<Minute> {
        // So many that the answer has room in a frame.
        const SHOWN_MAX: usize = 200;
        let later = self.told.iter().filter(|told| told.minute > minute);
        later.take(SHOWN_MAX).cloned().collect()
    }
}

/// What all callers of a minute asked.
fn sum(minute: i64, callers: &Callers, line: String) -> Minute {
    let mut sum = Minute { minute, line, ..Minute::default() };
    for (kind, many) in callers.values().flatten() {
        let count = sum.kinds.entry(kind.clone()).or_default();
        *count = count.saturating_add(*many);
        if kind == "subjects" {
            sum.opened = sum.opened.saturating_add(*many);
        } else if kind.starts_with("refused") {
            sum.refused = sum.refused.saturating_add(*many);
        }
    }
    sum
}

fn minute_of(now: Timestamp) -> i64 {
    now.seconds().div_euclid(60)
}

fn digest_of(line: &str) -> String {
    let digest = digest::digest(&digest::SHA256, line.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn append(file: &Path, line: &str) -> Result<(), Error> {
    let mut options = fs::OpenOptions::new();
    let opened = options.create(true).append(true).mode(0o600).open(file);
    let mut opened = opened.map_err(failed("write", file))?;
    let length = opened.metadata().map_err(failed("write", file))?.len();
    let written =
        opened.write_all(format!("{line}\n").as_bytes()).and_then(|()| opened.sync_data());
    // A part of a line would stand in the chain's way.
    if written.is_err()
        && let Err(error) = opened.set_len(length)
    {
        tracing::error!(%error, "a part of a line was written, and could not be cut off");
    }
    written.map_err(failed("write", file))
}

/// The whole lines at the file's end. What a crash left of one behind them is cut off.
fn last_lines(file: &Path) -> Result<Vec<String>, Error> {
    let mut opened = match fs::File::options().read(true).write(true).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", file)(error)),
    };
    let length = opened.seek(SeekFrom::End(0)).map_err(failed("read", file))?;
    let from = length.saturating_sub(TAIL);
    opened.seek(SeekFrom::Start(from)).map_err(failed("read", file))?;
    let mut bytes = Vec::new();
    (&opened).take(TAIL).read_to_end(&mut bytes).map_err(failed("read", file))?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    if whole < bytes.len() {
        let kept = from.saturating_add(u64::try_from(whole).unwrap_or(0));
        opened.set_len(kept).map_err(failed("write", file))?;
        bytes.truncate(whole);
    }
    let text = String::from_utf8_lossy(&bytes);
    // The first may have begun before.
    let cut = usize::from(from > 0);
    Ok(text.lines().skip(cut).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn each_line_has_the_digest_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("opens.log");
        let mut tally = Tally::open(&file, at(600)).unwrap();
        tally.count(Some(7), "subjects", 3);
        tally.refused(None, Refused::Caller);
        tally.turn(at(659)).unwrap();
        assert!(tally.after(0).is_empty());
        tally.turn(at(660)).unwrap();
        // a minute without a question has no line
        tally.turn(at(720)).unwrap();
        // a clock that was set back: a later minute all the same
        tally.count(Some(7), "subjects", 1);
        tally.turn(at(30)).unwrap();
        tally.finish(at(30)).unwrap();
        let told = tally.after(0);
        assert_eq!(told.iter().map(|told| told.minute).collect::<Vec<_>>(), [10, 12]);
        assert_eq!((told[0].opened, told[0].refused), (3, 1));
        assert_eq!(tally.after(10).len(), 1);

        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let before = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["before"].as_str().unwrap().to_owned()
        };
        assert_eq!(lines.len(), 2);
        assert_eq!((before(lines[0]), before(lines[1])), (String::new(), told[0].line.clone()));
        assert_eq!(digest_of(lines[1]), told[1].line);
        // another start goes on
        let mut again = Tally::open(&file, at(0)).unwrap();
        again.count(Some(7), "made", 1);
        again.finish(at(0)).unwrap();
        let third = fs::read_to_string(&file).unwrap().lines().last().unwrap().to_owned();
        assert_eq!(before(&third), told[1].line);
        assert_eq!(again.after(12)[0].minute, 13);
        // and tells again what may not have been heard
        assert_eq!(again.after(0)[..2], told);
        // What a crash left of a line goes.
        let whole = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{whole}{{\"at\":")).unwrap();
        let after = Tally::open(&file, at(0)).unwrap();
        assert_eq!((after.before, fs::read_to_string(&file).unwrap()), (digest_of(&third), whole));
    }

    #[test]
    fn what_the_file_does_not_take_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("folder/opens.log");
        let mut tally = Tally::open(&file, at(600)).unwrap();
        tally.count(Some(7), "subjects", 3);
        assert!(tally.turn(at(660)).is_err());
        fs::create_dir(dir.path().join("folder")).unwrap();
        tally.count(Some(7), "subjects", 2);
        tally.turn(at(720)).unwrap();
        assert_eq!(tally.after(0)[0].opened, 5);
    }
}
