//! Stagedoor: the security of a live shop in one program. This is the command line; `rooms` names
//! the rooms, `house` opens them, `command/` has a file for each command, `demo/` the demonstration.

mod certificates;
mod cli;
mod command;
mod config;
mod counter;
mod demo;
mod door;
#[cfg(test)]
mod doors;
mod events;
mod gauges;
mod handed;
mod house;
mod keep;
mod keys;
mod log_http;
#[cfg(feature = "next")]
mod next;
mod node;
mod nodes;
mod out;
mod position;
mod processes;
mod redis;
mod refused;
mod rooms;
#[cfg(test)]
mod shared_limits;
#[cfg(test)]
mod simulation;
mod steady_clock;
mod tasks;
mod witness;
mod wrong_clock;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse();
    out::set(cli.json, cli.quiet);
    if let cli::Command::Process { kind } = cli.command {
        return processes::run(kind);
    }
    if let cli::Command::Keyholder(cli::KeyholderCommand::Serve) = cli.command {
        return processes::keyholder::run(&cli.config);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            out::failed(&anyhow::Error::new(error).context("the runtime could not start"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(command::run(cli));
    // A task that hangs must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            out::failed(&error);
            ExitCode::FAILURE
        }
    }
}
