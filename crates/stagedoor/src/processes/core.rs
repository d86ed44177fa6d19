//! Core's process: all rooms, their database and their tasks. It listens nowhere; what it is asked
//! comes from the edge over the line.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::answers::{Answering, Answers};
use super::child::{Supervisor, next, runtime};
use super::line::Acceptor;
use super::sandbox::{self, Needs};
use super::settings::{CoreSettings, Told};
use super::syscalls::Calls;
use crate::command;
use crate::command::serve::{Core, behind_console, behind_shop, start_core, start_log};
use crate::config::Loaded;
use crate::house::House;

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
    let off = sandbox::enter(&needs(&loaded))?;
    start_log(&loaded.config.log)?;
    runtime()?.block_on(serve(loaded, settings.migrate, descriptors, (supervisor, off)))
}

fn needs(loaded: &Loaded) -> Needs {
    let (config, places) = (&loaded.config, loaded.places());
    let mail = &config.identity.mail;
    let named = [
        config.root.passphrase_file.clone(),
        mail.smtp_password_file.as_ref().map(PathBuf::from),
        mail.smtp_ca_file.as_ref().map(PathBuf::from),
    ];
    let witnesses = config.witness.iter().filter_map(|witness| witness.ca_file.clone());
    let named = named.into_iter().flatten().chain(witnesses).map(|file| loaded.base.join(file));
    // The databases' libraries ask for randomness, and for the name of this user.
    let asked = ["/dev/urandom", "/etc/passwd"].map(PathBuf::from);
    Needs {
        reads: sandbox::name_look_up().into_iter().chain(asked).chain(named).collect(),
        writes: vec![places.data, places.keys],
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

async fn serve(
    loaded: Loaded,
    migrate: bool,
    descriptors: Vec<OwnedFd>,
    (supervisor, off): (Supervisor, Vec<String>),
) -> anyhow::Result<()> {
    let mut heard = supervisor.hear()?;
    if migrate {
        command::migrate::run(&loaded, false).await?;
    }
    let house = Arc::new(House::open(loaded).await?);
    wait_for_node(&house).await?;
    let Core { nodes, tasks, observations } = start_core(&house).await?;
    let answering = Answering::new(Answers {
        shop: behind_shop(&house)?,
        console: behind_console(&house)?,
        hub: house.hub.clone(),
        minter: Arc::new(house.identity.clone()),
        observations,
    });
    answering.serve(Acceptor::new(next(&mut descriptors.into_iter())?)?);
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
            Some((Told::Edge(_) | Told::Core(_) | Told::Certificates(_), _)) => {}
            Some((Told::Stop, _)) | None => break,
        }
    }
    answering.stop().await;
    tasks.stop().await;
    house.close().await
}
