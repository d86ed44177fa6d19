//! The commands, one file each.

mod audit;
mod backup;
mod breach;
mod config;
mod database;
mod docs;
mod doctor;
pub(crate) mod init;
mod key;
mod keyholder;
pub(crate) mod migrate;
mod node;
pub(crate) mod serve;
mod service;
mod siem;
mod user;
mod witness;

use std::path::Path;
use std::process::ExitCode;

use crate::cli::{
    Cli, Command, ConfigCommand, DatabaseCommand, KeyCommand, KeyholderCommand, Owners,
};
use crate::config::{Loaded, load, load_for_keyholder};
use crate::demo;
use crate::house::House;
use crate::keep::apart::{Apart, own_args};
use crate::processes::users::become_core;

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let file = cli.config.as_path();
    if opens_house(&cli.command)
        && let Ok(loaded) = load(file)
        && let Some(apart) = Apart::of(&loaded)?
    {
        return apart.act(own_args(&[])).await;
    }
    match cli.command {
        Command::Demo(demo) => return demo::run(demo).await,
        Command::Init(init) => init::run(file, init).await?,
        Command::Serve(serve) => serve::run(load(file)?, serve.migrate).await?,
        Command::Migrate { dry_run, owners } => {
            migrate::run(&act(file)?.owned_by(owners), dry_run).await?;
        }
        Command::Database(command) => database::run(file, command).await?,
        Command::Backup(command) => backup::run(file, command).await?,
        Command::Restore(command) => return backup::restore(file, command).await,
        Command::Config(command) => config::run(file, command).await?,
        Command::Doctor { inside } => return doctor::run(file, inside).await,
        Command::Audit(command) => return audit::run(file, command).await,
        Command::Key(KeyCommand::Recovery(command)) => key::recover(file, command).await?,
        Command::Key(command) => key::run(&House::open(act(file)?).await?, command).await?,
        Command::Keyholder(KeyholderCommand::Init) => {
            keyholder::init(&load_for_keyholder(file)?).await?;
        }
        Command::Keyholder(KeyholderCommand::Restore { keys, passphrase_file }) => {
            let loaded = load_for_keyholder(file)?;
            keyholder::restore(&loaded, &keys, passphrase_file.as_deref()).await?;
        }
        Command::Node(command) => node::run(&House::open(act(file)?).await?, command).await?,
        Command::User(command) => user::run(&House::open(act(file)?).await?, command).await?,
        Command::Service(command) => {
            service::run(&House::open(act(file)?).await?, command).await?;
        }
        Command::Siem(command) => siem::run(&House::open(act(file)?).await?, command).await?,
        // Ended before the runtime began.
        Command::Process { .. } | Command::Keyholder(KeyholderCommand::Serve) => {}
        Command::Breach(command) => breach::run(command)?,
        Command::Witness(command) => witness::run(command).await?,
        Command::Docs(command) => docs::run(&command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a command opens the house, and asks its keyholder.
const fn opens_house(command: &Command) -> bool {
    match command {
        Command::Backup(backup) => backup.command.is_none(),
        Command::Key(command) => !matches!(command, KeyCommand::Recovery(_)),
        Command::Config(command) => {
            !matches!(command, ConfigCommand::Check | ConfigCommand::Schema)
        }
        Command::Audit(_)
        | Command::Node(_)
        | Command::User(_)
        | Command::Service(_)
        | Command::Siem(_) => true,
        Command::Database(command) => matches!(command, DatabaseCommand::Move { .. }),
        Command::Demo(_)
        | Command::Init(_)
        | Command::Serve(_)
        | Command::Migrate { .. }
        | Command::Restore(_)
        | Command::Doctor { .. }
        | Command::Keyholder(_)
        | Command::Process { .. }
        | Command::Breach(_)
        | Command::Witness(_)
        | Command::Docs(_) => false,
    }
}

/// The configuration of a command that acts in the house, as the user whose the house is.
pub(crate) fn act(file: &Path) -> anyhow::Result<Loaded> {
    let loaded = load(file)?;
    become_core(&loaded.config)?;
    Ok(loaded)
}

impl Loaded {
    /// The same, with the databases as these users'.
    fn owned_by(mut self, owners: Owners) -> Self {
        let data = &mut self.config.data;
        data.database_url = owners.owner.or(data.database_url.take());
        data.keys_database_url = owners.keys_owner.or(data.keys_database_url.take());
        self
    }
}
