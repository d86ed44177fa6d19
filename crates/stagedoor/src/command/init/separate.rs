//! `init --separate`: the new house's folders go to the users of its processes, and the configuration
//! names them. The root key moves out of core's folders, to the keyholder's.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::gone;
use crate::command::serve::certificates;
use crate::config::load;
use crate::processes::users::{self, User};

/// Files of keys that the new house may hold, at most.
const FILES_MAX: usize = 1_000;

/// The users of the processes.
pub(super) struct Users {
    edge: User,
    core: User,
    keys: User,
}

impl Users {
    /// Those that the Debian package makes.
    pub(super) fn find(dir: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(users::is_root(), "--separate gives files to other users: run it as root");
        let holder = holder(dir);
        anyhow::ensure!(
            !holder.exists(),
            "{} stands already: nothing was changed",
            holder.display()
        );
        let find = |process| users::find(&format!("stagedoor-{process}"));
        Ok(Self { edge: find("edge")?, core: find("core")?, keys: find("keys")? })
    }

    /// Gives each its own, and says so in the configuration.
    pub(super) fn settle(&self, file: &Path, dir: &Path) -> anyhow::Result<()> {
        let loaded = load(file)?;
        // The supervisor reads it, and may not write into core's folder.
        certificates(&loaded.config, &loaded.base)?;
        let holder = holder(dir);
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).create(&holder).with_context(|| holder.display().to_string())?;
        let keys = loaded.places().keys;
        for entry in std::fs::read_dir(&keys)?.take(FILES_MAX) {
            let entry = entry?;
            let name = entry.file_name();
            let is_root = name.to_string_lossy().starts_with("root.") || name == "keyholder";
            if is_root {
                carry(&entry.path(), &holder.join(name))?;
            }
        }
        users::give(&holder, &self.keys)?;
        users::give(dir, &self.core)?;
        if let Some(passphrase) = &loaded.config.root.passphrase_file {
            users::give(&loaded.base.join(passphrase), &self.keys)?;
        }
        self.write(file, &holder)?;
        chown(file, Some(0), Some(self.core.gid))?;
        Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o640))?)
    }

    /// Takes away what `settle` made beside the data's folder, where it failed.
    pub(super) fn unsettle(&self, dir: &Path) {
        let holder = holder(dir);
        if holder.exists() {
            gone(&holder, std::fs::remove_dir_all(&holder));
        }
    }

    fn write(&self, file: &Path, holder: &Path) -> anyhow::Result<()> {
        let [edge, core, keys] = [&self.edge, &self.core, &self.keys].map(|user| &user.name);
        let holder = std::path::absolute(holder)?;
        let socket = holder.with_file_name("run").join("socket");
        let text = format!(
            "\n# each process its own user (docs/operating.md)\n[processes]\nseparate = true\n\
             edge_user = \"{edge}\"\ncore_user = \"{core}\"\nkeyholder_user = \"{keys}\"\n\n\
             [keyholder]\nsocket = {:?}\ndir = {:?}\n",
            socket.display().to_string(),
            holder.display().to_string()
        );
        let mut open = std::fs::File::options().append(true).open(file)?;
        open.write_all(text.as_bytes())?;
        Ok(open.sync_all()?)
    }
}

/// The keyholder's folder, beside the data's.
fn holder(dir: &Path) -> PathBuf {
    dir.with_file_name("keyholder")
}

/// Moves a file, or a folder of files, also to another volume.
fn carry(from: &Path, to: &Path) -> anyhow::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {}
        moved => return Ok(moved?),
    }
    if !from.is_dir() {
        std::fs::copy(from, to)?;
        std::fs::File::open(to)?.sync_all()?;
        return Ok(std::fs::remove_file(from)?);
    }
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)?.take(FILES_MAX) {
        let entry = entry?;
        carry(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(std::fs::remove_dir(from)?)
}
