//! Core's process: all rooms, their database and their tasks. It listens nowhere; what it is asked
//! comes from the edge over the line.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use edge::Listen;
use observe::traces::Exporter;

use super::answers::{Answering, Answers};
use super::child::{Supervisor, next, runtime};
use super::line::Acceptor;
use super::sandbox::{self, Needs};
use super::settings::{CoreSettings, Told};
use super::syscalls::Calls;
use crate::command;
use crate::command::serve::{Core, asks, behind_console, behind_shop, start_core, start_log};
use crate::config::Loaded;
use crate::gauges::{Doors, Observing};
use crate::house::{House, Nature};

/// How often, and how soon again, it is looked whether another core has ended.
const NODE_LOOKS: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs until the supervisor says so, or is gone.
pub(super) fn run(
    settings: CoreSettings,
    descriptors: Vec<OwnedFd>,
    supervisor: Supervisor,
) -> anyhow::Result<()> {
    let loaded = Loaded { config: settings.config, base: settings.base };
    for folder in sink_folders(&loaded) {
        // Inside the sandbox only folders that are there can be written; what fails is told there.
        let _ = std::fs::create_dir_all(folder);
    }
    let off = sandbox::enter(&needs(&loaded))?;
    let nature = Nature::default();
    let traces = settings.traces.as_ref().map(|traces| traces.open(Arc::clone(&nature.clock)));
    let (spans, exporter) = traces.transpose()?.unzip();
    start_log(&loaded.config.log, spans)?;
    let told = (settings.migrate, exporter);
    runtime()?.block_on(serve((loaded, nature), told, descriptors, (supervisor, off)))
}

fn needs(loaded: &Loaded) -> Needs {
    let (config, places) = (&loaded.config, loaded.places());
    let mail = &config.identity.mail;
    // A keyholder of its own reads the passphrase, and core cannot.
    let opens_root = config.keyholder.socket.is_none();
    let named = [
        config.root.passphrase_file.clone().filter(|_| opens_root),
        mail.smtp_password_file.as_ref().map(PathBuf::from),
        mail.smtp_ca_file.as_ref().map(PathBuf::from),
        config.identity.password.breached_file.as_ref().map(PathBuf::from),
        config.redis.url_file.clone(),
        config.redis.ca_file.clone(),
    ];
    let witnesses = config.witness.iter().filter_map(|witness| witness.ca_file.clone());
    let siem = config.siem.iter();
    let siem = siem.flat_map(|sink| [sink.ca_file.clone(), sink.token_file.clone()]).flatten();
    let scrape = config.observe.token_file.clone();
    let named = named.into_iter().flatten().chain(witnesses).chain(siem).chain(scrape);
    let named = named.map(|file| loaded.base.join(file));
    let erased = crate::keep::ledger::file_of(loaded).parent().map(PathBuf::from);
    // The databases' libraries ask for randomness, and for the name of this user.
    let asked = ["/dev/urandom", "/etc/passwd", "/proc/self"].map(PathBuf::from);
    Needs {
        reads: sandbox::name_look_up().into_iter().chain(asked).chain(named).collect(),
        writes: [places.data, places.keys]
            .into_iter()
            .chain(sink_folders(loaded))
            .chain(erased)
            .collect(),
        closed_ports: None,
        calls: Calls::Core,
    }
}

/// Waits until the core of a supervisor that was killed has ended, too.
async fn wait_for_node(house: &House) -> anyhow::Result<()> {
    for _ in 0..NODE_LOOKS {
        if house.node.take()? {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The folders of files that systems outside read.
fn sink_folders(loaded: &Loaded) -> impl Iterator<Item = PathBuf> {
    let files = loaded.config.siem.iter().filter_map(|sink| sink.file.as_ref()?.parent());
    files.map(|folder| loaded.base.join(folder))
}

async fn serve(
    (loaded, nature): (Loaded, Nature),
    (migrate, exporter): (bool, Option<Exporter>),
    descriptors: Vec<OwnedFd>,
    (supervisor, off): (Supervisor, Vec<String>),
) -> anyhow::Result<()> {
    let mut heard = supervisor.hear()?;
    if migrate {
        command::migrate::run(&loaded, false).await?;
    }
    let house = Arc::new(House::open_with(loaded, nature).await?);
    wait_for_node(&house).await?;
    let Core { nodes, tasks, observations } = start_core(&house).await?;
    if let Some(exporter) = exporter {
        tasks.export(&house, exporter);
    }
    let mut came = descriptors.into_iter();
    let (line, listen) = (next(&mut came)?, came.next().map(TcpListener::from).map(Listen::On));
    let doors = Doors::there();
    let observing = Observing::start(&house, doors.clone(), listen).await?;
    let answering = Answering::new(Answers {
        shop: behind_shop(&house)?,
        console: behind_console(&house)?,
        hub: house.hub.clone(),
        asks: asks(&house),
        observations,
        doors,
        clock: Arc::clone(&house.clock),
    });
    answering.serve(Acceptor::new(line)?);
    house.publisher.beat();
    supervisor.ready(off)?;
    loop {
        let told = tokio::select! {
            told = heard.recv() => told,
            lost = nodes.lost() => return Err(lost),
        };
        match told {
            Some((Told::Line, descriptors)) => {
                answering.serve(Acceptor::new(next(&mut descriptors.into_iter())?)?);
            }
            Some((Told::Drain, _)) => observing.drain(),
            Some((
                Told::Edge(_) | Told::Core(_) | Told::Keyholder(_) | Told::Certificates(_),
                _,
            )) => {}
            Some((Told::Stop, _)) | None => break,
        }
    }
    answering.stop().await;
    tasks.stop().await;
    observing.stop().await;
    house.close().await
}
