//! `serve` as separate processes: a supervisor that opens the listeners and reads the secrets of
//! the doors, and below it the edge, which reads hostile bytes, and core, which has the data. Each
//! runs as a user of its own, is told only what it needs, and gives the rest away before it starts.
//!
//! - [`supervisor`] starts the processes, keeps them running, ends them in order
//! - [`settings`] is what each is told, [`handover`] how
//! - [`edge`] and [`core`] are the processes; [`line`], [`calls`], [`answers`] and [`follow`] the
//!   way between the two
//! - [`keyholder`] is a process too, but nobody's child: whoever starts core cannot reach into it
//! - [`sandbox`] and [`syscalls`] are what each gives away

mod answers;
mod calls;
mod child;
mod core;
mod edge;
mod follow;
mod handover;
pub(crate) mod keyholder;
mod line;
mod log;
mod sandbox;
mod settings;
mod supervisor;
mod syscalls;
pub(crate) mod users;

use clap::ValueEnum;

pub(crate) use child::run;
pub(crate) use sandbox::{kernel_lacks, open_processes};
pub(crate) use supervisor::{TempKeyholder, check, promises_off, supervise};

use crate::config::ProcessesConfig;

/// The kinds of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Reads hostile bytes.
    Edge,
    /// Has the data.
    Core,
    /// Has the root key, where it is not core that has.
    Keyholder,
}

impl Kind {
    /// All, in the order in which they end: who asks ends before who answers.
    pub(crate) const ALL: [Self; 3] = [Self::Edge, Self::Core, Self::Keyholder];

    /// Those that this configuration starts.
    pub(crate) fn started(config: &ProcessesConfig) -> impl Iterator<Item = Self> {
        let is_started =
            |kind: &Self| *kind != Self::Keyholder || !config.keyholder_user.is_empty();
        Self::ALL.into_iter().filter(is_started)
    }

    /// Its name in the log and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Core => "core",
            Self::Keyholder => "keyholder",
        }
    }

    /// Its name in the host's list of processes.
    const fn title(self) -> &'static std::ffi::CStr {
        match self {
            Self::Edge => c"stagedoor-edge",
            Self::Core => c"stagedoor-core",
            Self::Keyholder => c"stagedoor-keys",
        }
    }

    /// Whom the configuration wants it to run as; empty: whoever serves.
    pub(crate) const fn user(self, config: &ProcessesConfig) -> &str {
        match self {
            Self::Edge => config.edge_user.as_str(),
            Self::Core => config.core_user.as_str(),
            Self::Keyholder => config.keyholder_user.as_str(),
        }
    }
}
