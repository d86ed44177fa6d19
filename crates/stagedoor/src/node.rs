//! One program at a time is the node: it alone grows the log and writes the node's memory of it.
//!
//! Commands run beside a running program with the same name and the same folder. The lease on the
//! log could not tell the two apart, and both would write the one file that says what this node saw
//! last. So the program that serves holds a lock on the folder for as long as it lives, and a
//! command that does not get the lock leaves its events to the program that has it.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;

/// The node's folder, and the lock on it once this program has it. The system gives the lock back
/// when the program ends, however it ends.
#[derive(Debug)]
pub(crate) struct Node {
    path: PathBuf,
    held: OnceLock<File>,
}

impl Node {
    /// The node of this folder; nothing is locked yet.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { path: folder.join("lock"), held: OnceLock::new() }
    }

    /// Takes the node for this program, to its end. False where another program has it.
    pub(crate) fn take(&self) -> anyhow::Result<bool> {
        if self.held.get().is_some() {
            return Ok(true);
        }
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&self.path);
        let file = file.with_context(|| format!("{} cannot be opened", self.path.display()))?;
        match file.try_lock() {
            // Two threads of one program cannot both come here: each has a file of its own.
            Ok(()) => Ok(self.held.set(file).is_ok()),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", self.path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_at_a_time_is_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let (serving, command) = (Node::new(dir.path()), Node::new(dir.path()));
        assert!(serving.take().unwrap());
        assert!(serving.take().unwrap());
        assert!(!command.take().unwrap());
        drop(serving);
        assert!(command.take().unwrap());
    }
}
