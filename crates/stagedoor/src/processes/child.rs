//! How a process begins: it hears from the supervisor what it is, gives away what it does not need,
//! and only then starts its runtime.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::settings::{Ready, Told};
use super::{Kind, core, edge, handover, keyholder};
use crate::out;

/// What the supervisor may say before it is heard.
const UNHEARD_MAX: usize = 16;

/// Runs as one process of `serve`, to its end.
pub(crate) fn run(kind: Kind) -> ExitCode {
    match begin(kind) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn begin(kind: Kind) -> anyhow::Result<()> {
    rustix::thread::set_name(kind.title())?;
    let supervisor = std::io::stdin().as_fd().try_clone_to_owned()?;
    let supervisor = Supervisor(UnixStream::from(supervisor));
    let came = handover::receive(&supervisor.0);
    let came = came.context("this command is `stagedoor serve`'s own: it is not for people")?;
    let (told, descriptors) = came.context("the supervisor is gone")?;
    match (kind, told) {
        (Kind::Edge, Told::Edge(settings)) => edge::run(*settings, descriptors, supervisor),
        (Kind::Core, Told::Core(settings)) => core::run(*settings, descriptors, supervisor),
        (Kind::Keyholder, Told::Keyholder(settings)) => keyholder::under(*settings, supervisor),
        (Kind::Edge | Kind::Core | Kind::Keyholder, _) => {
            anyhow::bail!("the supervisor told another process's part")
        }
    }
}

/// The runtime of a process, made after it has given everything away.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("the runtime could not start")
}

/// The way to the supervisor.
pub(super) struct Supervisor(UnixStream);

/// What it said, with what came along.
pub(super) type Heard = (Told, Vec<OwnedFd>);

impl Supervisor {
    /// Says that this process is open, and what it cannot promise.
    pub(super) fn ready(&self, off: Vec<String>) -> anyhow::Result<()> {
        handover::send(&self.0, &Ready { off }, &[]).context("the supervisor is gone")
    }

    /// Hears the supervisor, and nobody else: signals that a terminal or a service manager sends to
    /// all processes at once would end core before the edge.
    pub(super) fn hear(&self) -> anyhow::Result<mpsc::Receiver<Heard>> {
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            // Once this was called, the signal no longer ends the process.
            drop(signal(kind)?);
        }
        let socket = self.0.try_clone()?;
        let (heard, hear) = mpsc::channel(UNHEARD_MAX);
        std::thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            while let Ok(Some(told)) = handover::receive::<Told>(&socket) {
                if heard.blocking_send(told).is_err() {
                    return;
                }
            }
        })?;
        Ok(hear)
    }
}

/// The next descriptor that came along.
pub(super) fn next(descriptors: &mut impl Iterator<Item = OwnedFd>) -> anyhow::Result<OwnedFd> {
    descriptors.next().context("a descriptor did not come along")
}
