//! JSON lines in a file that is begun anew at a size; a bounded number of full ones is kept, the
//! newest as `NAME.1`. Written through to the disk before the cursor moves.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::SiemConfig;
use crate::error::Error;
use crate::ocsf::Told;

/// The file.
#[derive(Clone, Debug)]
pub(super) struct File {
    path: PathBuf,
    rotate_bytes: u64,
    keep: u32,
}

impl File {
    pub(super) fn new(config: &SiemConfig, base: &Path) -> Self {
        let path = base.join(config.file.as_deref().unwrap_or(Path::new("siem.jsonl")));
        Self { path, rotate_bytes: config.rotate_bytes, keep: config.keep_files }
    }

    pub(super) async fn send(&self, batch: &[Told]) -> Result<u64, Error> {
        let mut lines = String::new();
        for told in batch {
            lines.push_str(&told.json.to_string());
            lines.push('\n');
        }
        let file = self.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&lines)).await;
        let fail = |source| Error::File { path: self.path.display().to_string(), source };
        written.map_err(|_| Error::away("the program ends"))?.map_err(fail)?;
        Ok(0)
    }

    fn write(&self, lines: &str) -> std::io::Result<()> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = self.open()?;
        let length = whole_lines(&mut file)?;
        if length > 0 && length.saturating_add(lines.len() as u64) > self.rotate_bytes {
            drop(file);
            self.rotate()?;
            file = self.open()?;
        }
        file.seek(SeekFrom::End(0))?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    }

    fn open(&self) -> std::io::Result<std::fs::File> {
        let mut options = std::fs::File::options();
        options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&self.path)
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn rotate(&self) -> std::io::Result<()> {
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            let from = self.numbered(number);
            if from.exists() {
                std::fs::rename(from, self.numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.path, self.numbered(1))
    }
}

/// Cuts off what a crash left of a line that was being written: it goes out again, whole. The length
/// that remains.
fn whole_lines(file: &mut std::fs::File) -> std::io::Result<u64> {
    const LOOK: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let from = end.saturating_sub(LOOK);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        (&*file).take(end - from).read_to_end(&mut tail)?;
        if let Some(place) = tail.iter().rposition(|byte| *byte == b'\n') {
            end = from + place as u64 + 1;
            break;
        }
        end = from;
    }
    if end < file.metadata()?.len() {
        file.set_len(end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path) -> File {
        File { path: dir.join("siem.jsonl"), rotate_bytes: 100, keep: 2 }
    }

    #[test]
    fn full_files_are_kept_to_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path());
        for number in 0..10 {
            file.write(&format!("{{\"number\":{number},\"filler\":\"{}\"}}\n", "x".repeat(40)))
                .unwrap();
        }
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        assert!(read(file.path.clone()).contains("\"number\":9"));
        assert!(read(file.numbered(1)).contains("\"number\":8"));
        assert!(read(file.numbered(2)).contains("\"number\":7"));
        assert!(!file.numbered(3).exists());
    }

    // O1
    #[test]
    fn half_a_line_of_a_crash_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path());
        for left in ["{\"a\":1}\n{\"b\":", "{\"b\":", ""] {
            std::fs::write(&file.path, left).unwrap();
            file.write("{\"b\":2}\n").unwrap();
            let whole = std::fs::read_to_string(&file.path).unwrap();
            assert!(whole.ends_with("{\"b\":2}\n") && !whole.contains(":{"), "{whole}");
            assert_eq!(whole.contains("{\"a\":1}\n"), left.contains('a'));
        }
    }
}
