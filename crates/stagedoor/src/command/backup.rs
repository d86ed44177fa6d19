//! `backup` and `restore`: takes, checks, restores and tries backups.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{Backup, BackupCommand, Restore, RestoreCommand, Restoring};
use crate::config::{Loaded, load};
use crate::keep::apart::Apart;
use crate::keep::backup::{self, BackupKind};
use crate::keep::{drill, passphrase, restore};
use crate::processes::users::become_core;

/// Takes or checks a backup.
pub(crate) async fn run(file: &Path, command: Backup) -> anyhow::Result<()> {
    let Backup { to, keys, dry_run, passphrase_file, command } = command;
    if let Some(BackupCommand::Verify { file: backup, keys, passphrase_file: own }) = command {
        // A backup is checked anywhere: a configuration is not needed.
        let named = own.or(passphrase_file);
        let loaded = if named.is_some() { None } else { load(file).ok() };
        let kind = if keys { BackupKind::Keys } else { BackupKind::Data };
        let passphrase = passphrase(named.as_deref(), loaded.as_ref())?;
        return backup::verify(&backup, kind, &passphrase).await;
    }
    let data = to.context("where to? Name a file or a folder")?;
    let loaded = super::act(file)?;
    let passphrase =
        (!dry_run).then(|| passphrase(passphrase_file.as_deref(), Some(&loaded))).transpose()?;
    backup::run(loaded, backup::Wanted { data, keys, passphrase }).await
}

/// Restores a backup, or tries whether it could be.
pub(crate) async fn restore(file: &Path, command: Restore) -> anyhow::Result<ExitCode> {
    let Restore { backup, dry_run, restoring, command } = command;
    let loaded = load(file)?;
    if let Some(RestoreCommand::Drill { backup, samples, inside, restoring }) = command {
        return drill(loaded, backup, restoring, (samples, inside)).await;
    }
    let backup = backup.context("which backup? Name its file")?;
    in_place(loaded, backup, restoring, dry_run).await
}

async fn in_place(
    loaded: Loaded,
    backup: PathBuf,
    restoring: Restoring,
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    let (wanted, reads) = wanted(&loaded, backup, restoring)?;
    if let Some(apart) = Apart::of(&loaded)?.filter(|_| !dry_run) {
        return apart.restore(&wanted, &reads).await;
    }
    become_core(&loaded.config)?;
    restore::run(loaded, restore::Wanted { dry_run, ..wanted }).await?;
    Ok(ExitCode::SUCCESS)
}

async fn drill(
    loaded: Loaded,
    backup: PathBuf,
    restoring: Restoring,
    (samples, inside): (usize, Option<PathBuf>),
) -> anyhow::Result<ExitCode> {
    let (wanted, reads) = wanted(&loaded, backup, restoring)?;
    if let Some(apart) = Apart::of(&loaded)? {
        return apart.drill(&wanted, &reads).await;
    }
    become_core(&loaded.config)?;
    drill::run(loaded, wanted, samples, inside).await?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be restored, and the files that whoever does so must be able to read.
fn wanted(
    loaded: &Loaded,
    data: PathBuf,
    restoring: Restoring,
) -> anyhow::Result<(restore::Wanted, Vec<PathBuf>)> {
    let Restoring { keys, erased, none_erased, passphrase_file } = restoring;
    let configured = loaded.config.backup.passphrase_file.as_ref();
    let named = passphrase_file.or(configured.map(|file| loaded.base.join(file)));
    let passphrase = passphrase(named.as_deref(), Some(loaded))?;
    let wanted = restore::Wanted { data, keys, erased, none_erased, dry_run: false, passphrase };
    let reads = std::iter::once(&wanted.data).chain(&wanted.keys).chain(&wanted.erased);
    let reads = reads.chain(&named).cloned().collect();
    Ok((wanted, reads))
}
