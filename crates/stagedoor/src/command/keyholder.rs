//! `keyholder init` and `restore`: the root key and the folder of a keyholder in a process of its own.
//! What that process does stands in `processes/keyholder.rs`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kernel::SystemEntropy;
use vault::Keyholder;

use crate::config::Loaded;
use crate::keep::apart::{KeysBackup, restore_keys};
use crate::keep::passphrase;
use crate::out;

/// Makes what is not there yet.
pub(crate) async fn init(loaded: &Loaded) -> anyhow::Result<()> {
    let home = loaded.keyholder_home()?;
    let made = Keyholder::make(&home, Arc::new(SystemEntropy)).await;
    let made = made.context("the keyholder cannot be made")?;
    out::say(format!("The keyholder's folder is {}.", made.folder().display()));
    out::say("Next: `stagedoor keyholder serve`.");
    out::json(&serde_json::json!({ "folder": made.folder() }));
    Ok(())
}

/// Puts the files of a backup of keys in their places.
pub(crate) async fn restore(
    loaded: &Loaded,
    keys: &Path,
    passphrase_file: Option<&Path>,
) -> anyhow::Result<()> {
    let passphrase = passphrase(passphrase_file, Some(loaded))?;
    restore_keys(loaded, KeysBackup { file: keys, passphrase: &passphrase }).await?;
    let folder = loaded.keyholder_dir();
    out::say(format!("The keyholder's files are in {}.", folder.display()));
    out::say(
        "Next: `stagedoor keyholder serve`, then `stagedoor restore DATA --keys KEYS` as core.",
    );
    out::json(&serde_json::json!({ "folder": folder }));
    Ok(())
}
