//! The places that drills are held in. One that is killed leaves data and keys side by side: the next
//! drill deletes them, and `doctor` names them.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::out;

const PREFIX: &str = "stagedoor-drill-";
/// How often, and after what pause, a place is tried to be deleted.
const CLEAR_TRIES: u32 = 100;
const CLEAR_AGAIN: Duration = Duration::from_millis(50);
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// The place of a drill that runs.
pub(super) struct Place {
    dir: TempDir,
    /// Locked for as long as the drill runs. The system gives the lock back however it ends; a number
    /// of a process would mean another one in another container.
    held: File,
}

impl Place {
    /// Makes one in this folder.
    pub(super) fn make(parent: &Path) -> anyhow::Result<Self> {
        let made = || {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let held = File::open(dir.path())?;
            held.lock()?;
            Ok::<_, std::io::Error>(Self { dir, held })
        };
        made().with_context(|| format!("no room for a drill in {}", parent.display()))
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Deletes it at the end of its drill. Why the drill failed counts for more than why its place stays.
    pub(super) async fn end<T>(self, ended: anyhow::Result<T>) -> anyhow::Result<T> {
        let cleared = self.clear().await;
        if let (Err(_), Err(error)) = (&ended, &cleared) {
            out::progress(format!("{error:#}"));
        }
        let ended = ended?;
        cleared.map(|()| ended)
    }

    /// Where the drill was stopped, a thread may still write in it.
    async fn clear(self) -> anyhow::Result<()> {
        let Self { dir, held: _held } = self;
        let path = dir.keep();
        for _ in 0..CLEAR_TRIES {
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::debug!(%error, "the drill's place is deleted again");
                }
                Ok(()) | Err(_) => return Ok(()),
            }
            tokio::time::sleep(CLEAR_AGAIN).await;
        }
        anyhow::bail!("the drill's place {} could not be deleted", path.display())
    }
}

/// Places of drills that no longer run.
pub(crate) fn left(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let is_left = |path: &PathBuf| {
        let is_place = path.file_name().unwrap_or_default().to_string_lossy().starts_with(PREFIX);
        is_place && File::open(path).is_ok_and(|place| place.try_lock().is_ok())
    };
    entries.take(ENTRIES_MAX).flatten().map(|entry| entry.path()).filter(is_left).collect()
}

/// Deletes the places of drills that no longer run.
pub(super) fn sweep(parent: &Path) {
    for place in left(parent) {
        let shown = place.display();
        match std::fs::remove_dir_all(&place) {
            Ok(()) => tracing::warn!("{shown}, which a drill left, is deleted"),
            Err(error) => tracing::warn!(%error, "{shown}, which a drill left, cannot be deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_places_that_nobody_holds_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let own = Place::make(dir.path()).unwrap();
        let killed = Place::make(dir.path()).unwrap();
        let dead = killed.dir.keep();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dead.join("keys.db"), "").unwrap();
        assert!(left(dir.path()).is_empty());
        drop(killed.held);
        assert_eq!(left(dir.path()), [dead]);
        sweep(dir.path());
        assert!(left(dir.path()).is_empty());
        assert!(own.path().exists() && dir.path().join("data").exists());
        let own_path = own.path().to_owned();
        own.end(Ok(())).await.unwrap();
        assert!(!own_path.exists());
    }

    #[tokio::test]
    async fn why_a_drill_failed_counts_for_more_than_why_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let stuck = || {
            let place = Place::make(dir.path()).unwrap();
            // A file is no folder that could be deleted.
            std::fs::remove_dir(place.path()).unwrap();
            std::fs::write(place.path(), "").unwrap();
            place
        };
        let failed = stuck().end::<()>(Err(anyhow::anyhow!("it does not hold")));
        let (failed, stays) = tokio::join!(failed, stuck().end(Ok(())));
        assert_eq!(failed.unwrap_err().to_string(), "it does not hold");
        let stays = stays.unwrap_err().to_string();
        assert!(stays.contains("could not be deleted"), "{stays}");
    }
}
