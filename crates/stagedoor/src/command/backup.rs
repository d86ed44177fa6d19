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
        let named = passphrase_file(&loaded, &restoring);
        let wanted = wanted(&loaded, backup, restoring)?;
        let keys =
            wanted.keys.as_deref().context("a drill needs the backup of the keys too: --keys")?;
        if let Some(apart) = Apart::of(&loaded)? {
            return apart
                .drill((keys, &wanted.passphrase), &reads(&wanted, named.as_deref()))
                .await;
        }
        become_core(&loaded.config)?;
        drill::run(loaded, wanted, samples, inside).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let backup = backup.context("which backup? Name its file")?;
    let named = passphrase_file(&loaded, &restoring);
    let wanted = wanted(&loaded, backup, restoring)?;
    match Apart::of(&loaded)? {
        Some(apart) if !dry_run => apart.restore(&wanted, &reads(&wanted, named.as_deref())).await,
        Some(_) | None => {
            become_core(&loaded.config)?;
            restore::run(loaded, restore::Wanted { dry_run, ..wanted }).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where the passphrase of backups is.
fn passphrase_file(loaded: &Loaded, restoring: &Restoring) -> Option<PathBuf> {
    let configured = loaded.config.backup.passphrase_file.as_ref();
    restoring.passphrase_file.clone().or(configured.map(|file| loaded.base.join(file)))
}

/// What whoever restores must be able to read.
fn reads<'a>(wanted: &'a restore::Wanted, passphrase: Option<&'a Path>) -> Vec<&'a Path> {
    let files = std::iter::once(&wanted.data).chain(&wanted.keys).chain(&wanted.erased);
    files.map(PathBuf::as_path).chain(passphrase).collect()
}

fn wanted(loaded: &Loaded, data: PathBuf, restoring: Restoring) -> anyhow::Result<restore::Wanted> {
    let Restoring { keys, erased, none_erased, passphrase_file } = restoring;
    let passphrase = passphrase(passphrase_file.as_deref(), Some(loaded))?;
    Ok(restore::Wanted { data, keys, erased, none_erased, dry_run: false, passphrase })
}
