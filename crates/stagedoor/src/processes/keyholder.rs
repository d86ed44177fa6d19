//! The keyholder's process: it alone has root, epoch and tenant keys. It hears or reads its settings,
//! reads the passphrase, gives everything else away, and then answers core at its socket. `serve`
//! starts it where [processes] names its user; elsewhere it is a program of its own.

use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use vault::{Door, Home, Keyholder};

use super::child::{Supervisor, runtime};
use super::sandbox::{self, Needs};
use super::settings::{KeyholderSettings, Told};
use super::syscalls::Calls;
use crate::command::serve::{start_log, told_to_stop};
use crate::config::{Loaded, load_for_keyholder};
use crate::house::Nature;
use crate::keep::apart::put_keys;
use crate::out;

/// How long another keyholder at the socket is waited for, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(200);

/// Answers until it is told to stop, as a program of its own.
pub(crate) fn run(file: &Path) -> ExitCode {
    match load_for_keyholder(file).and_then(|loaded| begin(&loaded, Vec::new())?.alone(&loaded)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::failed(&error);
            ExitCode::FAILURE
        }
    }
}

/// Answers until the supervisor says so, or is gone.
pub(super) fn under(settings: KeyholderSettings, supervisor: Supervisor) -> anyhow::Result<()> {
    let KeyholderSettings { config, base, files } = settings;
    let loaded = Loaded { config, base };
    begin(&loaded, files)?.under(&loaded, supervisor)
}

/// The socket that core asks at.
pub(crate) fn socket(loaded: &Loaded) -> Option<PathBuf> {
    Some(loaded.base.join(loaded.config.keyholder.socket.as_ref()?))
}

/// Whether a keyholder answers there.
pub(crate) fn answers(loaded: &Loaded) -> bool {
    socket(loaded).is_some_and(|socket| UnixStream::connect(socket).is_ok())
}

/// A keyholder that has given away what it does not need.
struct Begun {
    home: Home,
    door: Door,
    nature: Nature,
    /// Of a backup of keys, to be put in their places.
    files: Vec<(String, Vec<u8>)>,
    off: Vec<String>,
}

fn begin(loaded: &Loaded, files: Vec<(String, Vec<u8>)>) -> anyhow::Result<Begun> {
    let nature = Nature::default();
    let door = loaded.keyholder_door(nature.clock.clone())?;
    let home = loaded.keyholder_home()?;
    let folder = door.socket.parent().context("keyholder.socket is no path of a file")?;
    // Its place is made while places can be made.
    make(folder, 0o750)?;
    if !files.is_empty() {
        make(&home.folder, 0o700)?;
    }
    let off = sandbox::enter(&Needs {
        reads: Vec::new(),
        writes: vec![loaded.keyholder_dir(), folder.to_owned()],
        closed_ports: None,
        calls: Calls::Keyholder,
    })?;
    Ok(Begun { home, door, nature, files, off })
}

fn make(folder: &Path, mode: u32) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder);
    made.with_context(|| format!("{} cannot be made", folder.display()))
}

/// Waits a moment for a keyholder of a command of root's to end.
async fn free(loaded: &Loaded, socket: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    while answers(loaded) {
        anyhow::ensure!(
            began.elapsed() < PATIENCE,
            "another keyholder answers at {}: a command of root's that still runs, or another program",
            socket.display()
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

impl Begun {
    fn alone(self, loaded: &Loaded) -> anyhow::Result<()> {
        start_log(&loaded.config.log, None)?;
        for promise in &self.off {
            tracing::warn!("promise off: {promise}");
        }
        let socket = self.door.socket.display().to_string();
        let ready = || {
            out::say(format!("The keyholder answers at {socket}"));
            out::json(&serde_json::json!({ "socket": socket }));
        };
        runtime()?.block_on(async { self.serve(loaded, ready, told_to_stop()?).await })
    }

    fn under(mut self, loaded: &Loaded, supervisor: Supervisor) -> anyhow::Result<()> {
        start_log(&loaded.config.log, None)?;
        let off = std::mem::take(&mut self.off);
        let ready = || {
            if let Err(error) = supervisor.ready(off) {
                tracing::debug!(%error, "nobody waits for the keyholder");
            }
        };
        runtime()?.block_on(async {
            let mut heard = supervisor.hear()?;
            let stop =
                async { while !matches!(heard.recv().await, None | Some((Told::Stop, _))) {} };
            self.serve(loaded, ready, stop).await
        })
    }

    async fn serve(
        self,
        loaded: &Loaded,
        ready: impl FnOnce(),
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Self { home, door, nature, files, .. } = self;
        if !files.is_empty() {
            put_keys(&home, &files).await?;
        }
        free(loaded, &door.socket).await?;
        let keyholder = Keyholder::open(&home, nature.entropy).await;
        // The passphrase has done its work.
        drop(home);
        let keyholder = keyholder.context("the keyholder cannot be opened")?;
        Ok(vault::serve(keyholder, door, ready, stop).await?)
    }
}
