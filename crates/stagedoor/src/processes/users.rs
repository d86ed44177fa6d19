//! Whom the processes run as.

use std::os::unix::fs::{MetadataExt as _, lchown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::config::{Config, Loaded};

/// Files that one folder of a house may hold, at most.
const FILES_MAX: usize = 10_000;

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// As the configuration names it.
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// Whether this program may become another user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user of this name, or of this number (whose group is the same number).
pub(crate) fn find(name: &str) -> anyhow::Result<User> {
    if let Ok(id) = name.parse() {
        return Ok(User { name: name.to_owned(), uid: id, gid: id });
    }
    let known = std::fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let found = known.lines().find_map(|line| in_passwd(line, name));
    found
        .with_context(|| format!("there is no user `{name}` on this host: make it, or name its id"))
}

fn in_passwd(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    if fields.next()? != name {
        return None;
    }
    let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(User { name: name.to_owned(), uid, gid })
}

/// The user of a key of `[processes]`, where there is one and it can be become.
pub(crate) fn of(named: &str) -> anyhow::Result<Option<User>> {
    if named.is_empty() || !is_root() {
        return Ok(None);
    }
    let user = find(named)?;
    anyhow::ensure!(user.uid != 0, "[processes]: `{named}` is root, who may do everything");
    Ok(Some(user))
}

/// Refuses a house whose data core could not open.
pub(crate) fn check_owner(loaded: &Loaded, core: &User) -> anyhow::Result<()> {
    let places = loaded.places();
    owns(&places.data, core, "core")?;
    owns(&places.keys, core, "core")
}

/// Refuses a folder that its process could not open.
pub(super) fn owns(dir: &Path, user: &User, process: &str) -> anyhow::Result<()> {
    let (owner, User { name, uid, gid }) = (owner(dir)?, user);
    let shown = dir.display();
    anyhow::ensure!(
        owner == *uid,
        "{shown} belongs to user {owner}, and {process} runs as {name}: chown -R {uid}:{gid} {shown}"
    );
    Ok(())
}

fn owner(dir: &Path) -> anyhow::Result<u32> {
    let known = std::fs::metadata(dir).with_context(|| format!("{} is missing", dir.display()))?;
    Ok(known.uid())
}

/// Starts this command again as core's user, where root gave it: what it writes must be core's.
pub(crate) fn become_core(config: &Config) -> anyhow::Result<()> {
    let Some(mut command) = as_core(config)? else { return Ok(()) };
    command.args(std::env::args_os().skip(1));
    let core = &config.processes.core_user;
    Err(command.exec()).with_context(|| format!("the command cannot run as {core}"))
}

/// This program as core's user, where root runs it and core is another.
pub(crate) fn as_core(config: &Config) -> anyhow::Result<Option<Command>> {
    if !config.processes.separate {
        return Ok(None);
    }
    let Some(core) = of(&config.processes.core_user)? else { return Ok(None) };
    let mut command = Command::new("/proc/self/exe");
    command.uid(core.uid).gid(core.gid);
    Ok(Some(command))
}

/// Gives a file, or a folder with all that is in it, to a user. No link is followed.
pub(crate) fn give(path: &Path, user: &User) -> anyhow::Result<()> {
    if path.is_dir() && !path.is_symlink() {
        for (count, entry) in std::fs::read_dir(path)?.enumerate() {
            anyhow::ensure!(count < FILES_MAX, "{} holds too many files", path.display());
            give(&entry?.path(), user)?;
        }
    }
    give_alone(path, user)
}

/// Gives a file, a folder without what is in it, or a link itself to a user.
pub(crate) fn give_alone(path: &Path, user: &User) -> anyhow::Result<()> {
    lchown(path, Some(user.uid), Some(user.gid))
        .with_context(|| format!("{} cannot be given to {}", path.display(), user.name))
}

/// Whether a user can read a file, as the host decides.
pub(crate) fn can_read(path: &Path, user: &User) -> bool {
    let mut command = Command::new("test");
    command.arg("-r").arg(path).uid(user.uid).gid(user.gid);
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let line = "stagedoor-edge:x:990:991:the edge:/nonexistent:/usr/sbin/nologin";
        let found = in_passwd(line, "stagedoor-edge").unwrap();
        assert_eq!((found.uid, found.gid), (990, 991));
        assert_eq!(in_passwd(line, "stagedoor"), None);
        assert_eq!(find("4711").unwrap().gid, 4711);
        assert!(find("no such user").unwrap_err().to_string().contains("no such user"));
    }
}
