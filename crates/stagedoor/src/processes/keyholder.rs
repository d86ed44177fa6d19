//! The keyholder's process: it alone has root, epoch and tenant keys. It reads its settings and the
//! passphrase, gives everything else away, and then answers core at its socket.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use vault::{Door, Home, Keyholder};

use super::child::runtime;
use super::sandbox::{self, Needs};
use super::syscalls::Calls;
use crate::command::serve::{start_log, told_to_stop};
use crate::config::load_for_keyholder;
use crate::house::Nature;
use crate::out;

/// Answers until it is told to stop.
pub(crate) fn run(file: &Path) -> ExitCode {
    match begin(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn begin(file: &Path) -> anyhow::Result<()> {
    let loaded = load_for_keyholder(file)?;
    let nature = Nature::default();
    let door = loaded.keyholder_door(nature.clock.clone())?;
    let home = loaded.keyholder_home()?;
    let folder = door.socket.parent().context("keyholder.socket is no path of a file")?;
    // Its place is made while places can be made.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder);
    made.with_context(|| format!("{} cannot be made", folder.display()))?;
    let off = sandbox::enter(&Needs {
        reads: Vec::new(),
        writes: vec![loaded.keyholder_dir(), folder.to_owned()],
        closed_ports: None,
        calls: Calls::Keyholder,
    })?;
    start_log(&loaded.config.log, None)?;
    for promise in off {
        tracing::warn!("promise off: {promise}");
    }
    runtime()?.block_on(serve(home, door, nature))
}

async fn serve(home: Home, door: Door, nature: Nature) -> anyhow::Result<()> {
    let keyholder = Keyholder::open(&home, nature.entropy).await;
    // The passphrase has done its work.
    drop(home);
    let keyholder = keyholder.context("the keyholder cannot be opened")?;
    let socket = door.socket.display().to_string();
    let ready = || {
        out::say(format!("The keyholder answers at {socket}"));
        out::json(&serde_json::json!({ "socket": socket }));
    };
    Ok(vault::serve(keyholder, door, ready, told_to_stop()).await?)
}
