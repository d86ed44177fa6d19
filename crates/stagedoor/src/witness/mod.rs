//! Witnesses outside (C2SP tlog-witness): others who sign only checkpoints that continue the last
//! one they signed. `publish` asks them about our log, by `peer`; `serve` is one for another's log,
//! with what it must never forget in `folder`.

mod folder;
mod peer;
mod publish;
mod serve;

pub(crate) use folder::Folder;
pub(crate) use peer::connector;
pub(crate) use publish::publish;
pub(crate) use serve::{Opening, serve};

/// Where checkpoints are handed in, below a witness's address.
const ADD_CHECKPOINT: &str = "/add-checkpoint";
