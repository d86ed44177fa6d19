//! `keyholder`: the process that alone has root and epoch keys, and answers core at a socket.

use std::sync::Arc;

use anyhow::Context as _;
use kernel::SystemEntropy;
use vault::Keyholder;

use super::serve::{start_log, told_to_stop};
use crate::cli::KeyholderCommand;
use crate::config::Loaded;
use crate::house::Nature;
use crate::out;

/// Runs a `keyholder` command.
pub(crate) async fn run(loaded: &Loaded, command: KeyholderCommand) -> anyhow::Result<()> {
    match command {
        KeyholderCommand::Init => init(loaded).await,
        KeyholderCommand::Serve => serve(loaded).await,
    }
}

async fn init(loaded: &Loaded) -> anyhow::Result<()> {
    let home = loaded.keyholder_home()?;
    let made = Keyholder::make(&home, Arc::new(SystemEntropy)).await;
    let made = made.context("the keyholder cannot be made")?;
    out::say(format!("The keyholder's folder is {}.", made.folder().display()));
    out::say("Next: `stagedoor keyholder serve`.");
    out::json(&serde_json::json!({ "folder": made.folder() }));
    Ok(())
}

async fn serve(loaded: &Loaded) -> anyhow::Result<()> {
    start_log(&loaded.config.log, None)?;
    let Nature { clock, entropy } = Nature::default();
    let door = loaded.keyholder_door(clock)?;
    let keyholder = Keyholder::open(&loaded.keyholder_home()?, entropy).await;
    let keyholder = keyholder.context("the keyholder cannot be opened")?;
    let socket = door.socket.display().to_string();
    let ready = || {
        out::say(format!("The keyholder answers at {socket}"));
        out::json(&serde_json::json!({ "socket": socket }));
    };
    vault::serve(keyholder, door, ready, told_to_stop()).await?;
    Ok(())
}
