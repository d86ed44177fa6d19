//! The edge's process: both doors, and nothing behind them. It has no configuration file, no
//! database, no user's rights but its own; what it answers with comes from core over the line.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::edge::{Certificates, Listen};
use kernel::{Clock, SystemEntropy};
use observe::traces::Exporter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::feed::{Hub, Observations, Snapshot};

use super::calls::{Core, Door};
use super::child::{Heard, Supervisor, next, runtime};
use super::follow;
use super::line::Dialer;
use super::sandbox::{self, Needs};
use super::settings::{EdgeSettings, Told};
use super::syscalls::Calls;
use crate::certificates;
use crate::command::serve::start_log;
use crate::door::{self, Asks, Shared};
use crate::gauges::{CONSOLE, SHOP};
use crate::steady_clock::SteadyClock;

/// What the system says of this process itself, for its gauges.
const OWN: [&str; 3] = ["/proc/self/status", "/proc/self/stat", "/proc/self/limits"];

/// Runs until the supervisor says so, or is gone.
pub(super) fn run(
    settings: EdgeSettings,
    descriptors: Vec<OwnedFd>,
    supervisor: Supervisor,
) -> anyhow::Result<()> {
    let off = sandbox::enter(&Needs {
        reads: sandbox::name_look_up().into_iter().chain(OWN.map(PathBuf::from)).collect(),
        writes: Vec::new(),
        closed_ports: Some(settings.closed_ports.clone()),
        calls: Calls::Edge,
    })?;
    let clock: Arc<dyn Clock> = Arc::<SteadyClock>::default();
    let traces = settings.traces.as_ref().map(|traces| traces.open(Arc::clone(&clock)));
    let (spans, exporter) = traces.transpose()?.unzip();
    start_log(&settings.log, spans)?;
    runtime()?.block_on(serve((settings, clock), descriptors, supervisor, (off, exporter)))
}

async fn serve(
    (settings, clock): (EdgeSettings, Arc<dyn Clock>),
    descriptors: Vec<OwnedFd>,
    supervisor: Supervisor,
    (off, exporter): (Vec<String>, Option<Exporter>),
) -> anyhow::Result<()> {
    let mut heard = supervisor.hear()?;
    let mut came = descriptors.into_iter();
    let shop = TcpListener::from(next(&mut came)?);
    let console = TcpListener::from(next(&mut came)?);
    let dialer = Dialer::new(next(&mut came)?)?;
    let core = Core::new(dialer.clone());
    let entropy = Arc::new(SystemEntropy);
    let hub = Hub::new(Arc::clone(&clock), Snapshot::default());
    let observations = Arc::new(Observations::new(settings.door.bounds.observations_max));
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let loaded = Arc::new(Notify::new());
    let feed = follow::feed(core.clone(), hub.clone(), Arc::clone(&loaded));
    tracker.spawn(stop.clone().run_until_cancelled_owned(feed));
    let seen = follow::observations(core.clone(), Arc::clone(&observations));
    tracker.spawn(stop.clone().run_until_cancelled_owned(seen));
    let certificates = certificates::open(&settings.certificates)?;
    let shared = Shared {
        certificates: certificates.clone(),
        clock: Arc::clone(&clock),
        entropy,
        observations,
    };
    let told = Obeys { dialer, certificates };
    // Nothing is answered from an empty table: connections wait at the listeners meanwhile.
    while tokio::select! {
        () = loaded.notified() => false,
        said = heard.recv() => match told.obey(said)? {
            Course::On => true,
            Course::Stop | Course::Gone => return Ok(()),
        },
    } {}
    let counter = settings.door.counts_together.then(|| Arc::new(core.clone()) as _);
    let asks = Asks { minter: Arc::new(core.clone()), counter };
    let behind = (core.behind(Door::Shop), hub, asks);
    let shop = door::open_shop(&settings.door, Listen::On(shop), &shared, behind).await?;
    let behind = core.behind(Door::Console);
    let console = door::open_console(&settings.door, Listen::On(console), &shared, behind).await?;
    let spans = exporter.as_ref().map(Exporter::meters);
    let doors = vec![(SHOP, shop.watcher()), (CONSOLE, console.watcher())];
    tracker.spawn(
        stop.clone().run_until_cancelled_owned(follow::tell_gauges(core, clock, doors, spans)),
    );
    if let Some(exporter) = exporter {
        tracker.spawn(exporter.run(stop.clone()));
    }
    supervisor.ready(off)?;
    loop {
        match told.obey(heard.recv().await)? {
            Course::On => {}
            Course::Stop => break,
            // The next supervisor needs the addresses.
            Course::Gone => return Ok(()),
        }
    }
    let deadline = Duration::from_millis(settings.drain_ms);
    tokio::join!(shop.drain(deadline), console.drain(Duration::from_secs(1)));
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(())
}

/// What the edge does after the supervisor has spoken.
enum Course {
    On,
    Stop,
    /// It has not spoken: it is no more.
    Gone,
}

/// What the supervisor can change while the doors are open.
struct Obeys {
    dialer: Dialer,
    certificates: Certificates,
}

impl Obeys {
    /// Does what the supervisor says.
    fn obey(&self, heard: Option<Heard>) -> anyhow::Result<Course> {
        match heard {
            Some((Told::Line, descriptors)) => {
                self.dialer.replace(next(&mut descriptors.into_iter())?)?;
            }
            Some((Told::Certificates(texts), _)) => {
                match certificates::replace(&self.certificates, &texts) {
                    Ok(()) => tracing::info!("the renewed certificates are in force"),
                    Err(error) => tracing::warn!(%error, "the old certificates stay"),
                }
            }
            Some((Told::Edge(_) | Told::Core(_) | Told::Keyholder(_) | Told::Drain, _)) => {}
            Some((Told::Stop, _)) => return Ok(Course::Stop),
            None => return Ok(Course::Gone),
        }
        Ok(Course::On)
    }
}
