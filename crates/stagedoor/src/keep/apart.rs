//! What root does where the keyholder is another user's: it lets one answer for as long as a command
//! takes that core's user runs; to restore, it puts the keyholder's files in their places first.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use kernel::Secret;

use super::drill::needed_keys;
use super::file::check;
use super::manifest::Kind;
use super::places::{self, Place};
use super::restore::{Wanted, check_heads};
use crate::command::serve::told_to_stop;
use crate::config::Loaded;
use crate::out;
use crate::processes::users::{self, User};
use crate::processes::{TempKeyholder, keyholder};

/// Where locks of root's are.
const RUN: &str = "/run";

/// A house whose keyholder is another user's than core, in the hands of root.
pub(crate) struct Apart {
    loaded: Loaded,
    core: User,
    keys: User,
}

/// A backup of keys.
#[derive(Clone, Copy)]
pub(crate) struct KeysBackup<'a> {
    pub file: &'a Path,
    pub passphrase: &'a Secret<String>,
}

impl Apart {
    /// None where the processes have no users of their own, or root is not here to give them files.
    pub(crate) fn of(loaded: &Loaded) -> anyhow::Result<Option<Self>> {
        let processes = &loaded.config.processes;
        if !processes.separate {
            return Ok(None);
        }
        let (core, keys) =
            (users::of(&processes.core_user)?, users::of(&processes.keyholder_user)?);
        let (Some(core), Some(keys)) = (core, keys) else { return Ok(None) };
        let base = std::path::absolute(&loaded.base)?;
        let loaded = Loaded { config: loaded.config.clone(), base };
        // Its socket is for core's group.
        let keys = User { gid: core.gid, ..keys };
        Ok(Some(Self { loaded, core, keys }))
    }

    /// Restores in place: the command is run again as core's user, beside a keyholder.
    pub(crate) async fn restore(
        &self,
        wanted: &Wanted,
        reads: &[PathBuf],
    ) -> anyhow::Result<ExitCode> {
        self.check_reads(reads)?;
        check_heads(&self.loaded, wanted)?;
        let _turn = self.turn()?;
        let passphrase = &wanted.passphrase;
        let keys = wanted.keys.as_deref().map(|file| KeysBackup { file, passphrase });
        let places = self.loaded.places();
        make(&places.data, &self.core, 0o700)?;
        make(&places.keys, &self.core, 0o700)?;
        make(&self.loaded.keyholder_dir(), &self.keys, 0o700)?;
        users::check_owner(&self.loaded, &self.core)?;
        self.with_restored_keys(&self.loaded, keys, own_args(&[])).await
    }

    /// Restores in a place that is thrown away.
    pub(crate) async fn drill(
        &self,
        wanted: &Wanted,
        reads: &[PathBuf],
    ) -> anyhow::Result<ExitCode> {
        let keys = KeysBackup { file: needed_keys(wanted)?, passphrase: &wanted.passphrase };
        self.check_reads(reads)?;
        let data = self.loaded.places().data;
        let parent = data.parent().unwrap_or(&self.loaded.base);
        places::sweep(parent);
        let stop = told_to_stop()?;
        let place = Place::make(parent)?;
        // To be passed through, not to be looked into.
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o711))?;
        let inside = Inside::of(place.path());
        make(&inside.core, &self.core, 0o700)?;
        make(&inside.keyholder, &self.keys, 0o700)?;
        let mut scratch =
            Loaded { config: self.loaded.config.clone(), base: self.loaded.base.clone() };
        scratch.config.keyholder.dir = Some(inside.keyholder);
        scratch.config.keyholder.socket = Some(inside.socket);
        let there = own_args(&[OsString::from("--inside"), place.path().into()]);
        let ended = tokio::select! {
            ended = self.with_restored_keys(&scratch, Some(keys), there) => ended,
            () = stop => Err(anyhow::anyhow!("it was stopped")),
        };
        place.end(ended).await
    }

    /// Refuses, before anything is made, what core's user could not read.
    fn check_reads(&self, files: &[PathBuf]) -> anyhow::Result<()> {
        for file in files {
            let User { name, uid, .. } = &self.core;
            let shown = file.display();
            anyhow::ensure!(
                users::can_read(file, &self.core),
                "{shown} cannot be read by {name}, who restores: chown {uid} {shown}"
            );
        }
        Ok(())
    }

    /// Runs this program with these arguments as core's user; where the house does not serve, beside a
    /// keyholder that answers meanwhile.
    pub(crate) async fn act(&self, args: Vec<OsString>) -> anyhow::Result<ExitCode> {
        let turn = self.turn()?;
        if keyholder::answers(&self.loaded) {
            drop(turn);
            return self.as_core(args).await;
        }
        self.with_keyholder(&self.loaded, Vec::new(), args).await
    }

    /// Waits until no other command of root's has a keyholder answer in this house: whichever ended
    /// first would take it away from the other. Holds as long as the file lives.
    fn turn(&self) -> anyhow::Result<File> {
        let house = std::fs::metadata(&self.loaded.base)?;
        // In root's hands: who else could open it could keep root waiting.
        let path = Path::new(RUN).join(format!("stagedoor-{}-{}.lock", house.dev(), house.ino()));
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
        let locked = file.try_lock().or_else(|error| match error {
            TryLockError::Error(error) => Err(error),
            TryLockError::WouldBlock => {
                out::progress("waiting for another command of root's");
                file.lock()
            }
        });
        locked.with_context(|| format!("{} cannot be locked", path.display()))?;
        Ok(file)
    }

    /// Runs this program with these arguments as core's user, beside a keyholder that first puts the files
    /// of a backup in their places.
    async fn with_restored_keys(
        &self,
        house: &Loaded,
        keys: Option<KeysBackup<'_>>,
        args: Vec<OsString>,
    ) -> anyhow::Result<ExitCode> {
        let socket = keyholder::socket(house).context("keyholder.socket is missing")?;
        anyhow::ensure!(
            !keyholder::answers(house),
            "a keyholder answers at {}: a program serves here, stop it first",
            socket.display()
        );
        let files = match keys {
            Some(KeysBackup { file, passphrase }) => {
                check(file, Kind::Keys, passphrase).await?.files
            }
            None => Vec::new(),
        };
        out::progress_done();
        self.with_keyholder(house, files, args).await
    }

    /// Runs it beside a keyholder that answers meanwhile.
    async fn with_keyholder(
        &self,
        house: &Loaded,
        files: Vec<(String, Vec<u8>)>,
        args: Vec<OsString>,
    ) -> anyhow::Result<ExitCode> {
        let answering = TempKeyholder::start(house, &self.core, &self.keys, files).await?;
        let ended = self.as_core(args).await;
        answering.stop().await;
        ended
    }

    async fn as_core(&self, args: Vec<OsString>) -> anyhow::Result<ExitCode> {
        let stop = told_to_stop()?;
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command.args(args).uid(self.core.uid).gid(self.core.gid).kill_on_drop(true);
        let ended = tokio::select! {
            ended = command.status() => ended,
            () = stop => anyhow::bail!("it was stopped"),
        };
        let ended = ended.with_context(|| format!("it cannot run as {}", self.core.name))?;
        let code = ended.code().and_then(|code| u8::try_from(code).ok());
        let code = code.with_context(|| format!("as {} it was cut short: {ended}", self.core.name));
        // It has said itself what was wrong.
        Ok(ExitCode::from(code?))
    }
}

/// The arguments of this command, and more.
pub(crate) fn own_args(more: &[OsString]) -> Vec<OsString> {
    std::env::args_os().skip(1).chain(more.iter().cloned()).collect()
}

/// Where the parts of a drill are that root has prepared.
pub(super) struct Inside {
    pub core: PathBuf,
    pub keyholder: PathBuf,
    pub socket: PathBuf,
}

impl Inside {
    pub(super) fn of(place: &Path) -> Self {
        let socket = place.join("run").join("socket");
        Self { core: place.join("core"), keyholder: place.join("keyholder"), socket }
    }
}

/// Reads a backup of keys to its end, and puts the keyholder's files in their places.
pub(crate) async fn restore_keys(
    loaded: &Loaded,
    KeysBackup { file, passphrase }: KeysBackup<'_>,
) -> anyhow::Result<()> {
    let whole = check(file, Kind::Keys, passphrase).await?;
    out::progress_done();
    put_keys(&loaded.keyholder_home()?, &whole.files).await
}

/// Puts a keyholder's files in their places, where the root key's passphrase opens them.
pub(crate) async fn put_keys(
    home: &vault::Home,
    files: &[(String, Vec<u8>)],
) -> anyhow::Result<()> {
    vault::put_key_files(home, files).await.context(
        "the root key's passphrase is not of the backup: it is the one that the installation had \
         (root.passphrase_file)",
    )
}

/// Makes a folder of a user's, where there is none. Those above it are made as root
/// makes its folders: others pass through.
fn make(folder: &Path, user: &User, mode: u32) -> anyhow::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let shown = folder.display();
    let above = folder.parent().map_or(Ok(()), std::fs::create_dir_all);
    let made = above.and_then(|()| std::fs::DirBuilder::new().mode(mode).create(folder));
    made.with_context(|| format!("{shown} cannot be made"))?;
    users::give_alone(folder, user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_above_a_users_are_passed_through() {
        let dir = tempfile::tempdir().unwrap();
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let user = User { name: "me".to_owned(), uid: uid.as_raw(), gid: gid.as_raw() };
        let folder = dir.path().join("srv/shop/keyholder");
        make(&folder, &user, 0o700).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let other = dir.path().join("other");
        std::fs::create_dir(&other).unwrap();
        for above in ["srv", "srv/shop"] {
            assert_eq!(mode(&dir.path().join(above)), mode(&other), "{above}");
        }
        make(&folder, &user, 0o700).unwrap();
    }
}
