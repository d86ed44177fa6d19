//! Where spans are sent, read from files once, so that a process that may open none can be told.

use std::sync::Arc;

use anyhow::Context as _;
use kernel::{Clock, SystemEntropy};
use observe::Outbound;
use observe::traces::{Exporter, Spans, queue};
use serde::{Deserialize, Serialize};

use crate::config::{Loaded, read_secret};
use crate::handed::Handed;

/// Where to, and as who.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TraceSettings {
    endpoint: String,
    authority: Option<Vec<u8>>,
    token: Option<Handed>,
    node: String,
}

impl TraceSettings {
    /// What `[observe.traces]` says; none where nothing is traced.
    pub(crate) fn read(loaded: &Loaded) -> anyhow::Result<Option<Self>> {
        let config = &loaded.config.observe.traces;
        let Some(endpoint) = config.endpoint.clone() else { return Ok(None) };
        let file = config.ca_file.as_ref().map(|file| loaded.base.join(file));
        let authority = file.map(|file| {
            std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
        });
        let token = config.token_file.as_ref();
        let token = token.map(|file| read_secret(&loaded.base.join(file)).map(Handed));
        Ok(Some(Self {
            endpoint,
            authority: authority.transpose()?,
            token: token.transpose()?,
            node: loaded.config.data.node.clone(),
        }))
    }

    /// What gathers spans in this process, by the clock that all else in it goes by, and what sends them.
    pub(crate) fn open(&self, clock: Arc<dyn Clock>) -> anyhow::Result<(Spans, Exporter)> {
        let mut outbound = Outbound::new(&self.endpoint, self.authority.as_deref())?;
        if let Some(token) = &self.token {
            outbound = outbound.with_header("authorization", token.expose())?;
        }
        let resource = [
            ("service.name", "stagedoor"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", self.node.as_str()),
        ];
        Ok(queue(outbound, &resource, clock, &SystemEntropy))
    }
}
