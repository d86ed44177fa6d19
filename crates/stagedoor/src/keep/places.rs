//! The places that drills are held in. One that is killed leaves data and keys side by side: the next
//! drill deletes them, and `doctor` names them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

const PREFIX: &str = "stagedoor-drill-";
/// How often, and after what pause, a place is tried to be deleted.
const CLEAR_TRIES: u32 = 100;
const CLEAR_AGAIN: Duration = Duration::from_millis(50);
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// How a place of this process's begins.
pub(super) fn name() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// Places of drills that no longer run.
pub(crate) fn left(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let is_left = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    };
    entries.take(ENTRIES_MAX).flatten().map(|entry| entry.path()).filter(is_left).collect()
}

/// Deletes a place at the end of its drill. Where that was stopped, a thread may still write in it.
pub(super) async fn clear(place: TempDir) -> anyhow::Result<()> {
    let path = place.keep();
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

/// Deletes them.
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

    #[test]
    fn only_the_places_of_the_dead_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join(format!("{}abc", name()));
        let dead = dir.path().join(format!("{PREFIX}4194305-abc"));
        for place in [&own, &dead, &dir.path().join("data")] {
            std::fs::create_dir(place).unwrap();
        }
        std::fs::write(dead.join("keys.db"), "").unwrap();
        assert_eq!(left(dir.path()), [dead]);
        sweep(dir.path());
        assert!(left(dir.path()).is_empty());
        assert!(own.exists() && dir.path().join("data").exists());
    }
}
