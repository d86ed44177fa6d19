//! What each process is told when it starts, and later: the whole of what it may know.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::certificates::Text;
use crate::config::{Config, DataConfig, Loaded, LogConfig};
use crate::door::DoorSettings;
use crate::gauges::TraceSettings;

/// What the supervisor tells a process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    /// Be the edge; the shop's listener, the console's and the line to core come along.
    Edge(Box<EdgeSettings>),
    /// Be core; the line to the edge comes along, and the operators' listener where there is one.
    Core(Box<CoreSettings>),
    /// Be the keyholder.
    Keyholder(Box<KeyholderSettings>),
    /// Show these certificates from now on.
    Certificates(Vec<Text>),
    /// The other end is another process from now on; the line to it comes along.
    Line,
    /// Take no more traffic from balancers: the end is near.
    Drain,
    /// Finish what is under way, and end.
    Stop,
}

/// What a process tells the supervisor: that it is open, and what its sandbox lacks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    /// Promises that this kernel does not keep.
    pub off: Vec<String>,
}

/// What the edge knows besides the feed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EdgeSettings {
    pub log: LogConfig,
    pub door: DoorSettings,
    pub certificates: Vec<Text>,
    /// Ports of the house's own databases, Redis and mail server: nothing that the edge may reach.
    pub closed_ports: Vec<u16>,
    pub drain_ms: u64,
    pub traces: Option<TraceSettings>,
}

/// What core knows: the configuration. It reads the files that its rooms need by itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CoreSettings {
    pub config: Config,
    pub base: PathBuf,
    /// Brings the database to this program's schema first.
    pub migrate: bool,
    pub traces: Option<TraceSettings>,
}

/// What the keyholder knows: where its keys and its socket are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeyholderSettings {
    /// The sections that it needs, and defaults.
    pub config: Config,
    pub base: PathBuf,
    /// Files of a backup of keys, to be put in their places first.
    pub files: Vec<(String, Vec<u8>)>,
}

impl KeyholderSettings {
    /// Of this configuration what a keyholder needs, for a core of this user.
    pub(super) fn of(loaded: &Loaded, core: u32, files: Vec<(String, Vec<u8>)>) -> Self {
        let Config { log, root, mut keyholder, data, .. } = loaded.config.clone();
        if keyholder.core_user.is_empty() {
            keyholder.core_user = core.to_string();
        }
        keyholder.dir = Some(loaded.keyholder_dir());
        let data = DataConfig { dir: data.dir, ..DataConfig::default() };
        let config = Config { log, root, keyholder, data, ..Config::default() };
        Self { config, base: loaded.base.clone(), files }
    }
}

/// The ports that the house's own servers listen on.
pub(super) fn closed_ports(loaded: &Loaded) -> Vec<u16> {
    let (config, base) = (&loaded.config, loaded.base.as_path());
    let urls = [&config.data.database_url, &config.data.keys_database_url];
    let mut ports: Vec<u16> = urls.into_iter().flatten().filter_map(|url| port_of(url)).collect();
    if let Ok(Some(server)) = config.redis.server(base) {
        ports.push(server.port());
    }
    if config.identity.mail.to == identity::MailRoad::Smtp {
        ports.push(config.identity.mail.smtp_port);
    }
    ports
}

/// The port of a database's address; none for a file.
fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme == "sqlite" {
        return None;
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let named = query.split('&').find_map(|pair| pair.strip_prefix("port="));
    let host = place.split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let behind = host.rsplit_once(':').map(|(_, port)| port);
    Some(named.or(behind).and_then(|port| port.parse().ok()).unwrap_or(5_432))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_databases_are_found() {
        for (url, port) in [
            ("sqlite:///var/data.db", None),
            ("postgres://shop@db.internal/shop", Some(5_432)),
            ("postgres://shop:p%40ss:1@db.internal:6000/shop", Some(6_000)),
            ("postgresql://[::1]/shop", Some(5_432)),
            ("postgresql://[::1]:7000/shop", Some(7_000)),
            ("postgres:///shop?host=/run/postgresql&port=7001", Some(7_001)),
        ] {
            assert_eq!(port_of(url), port, "{url}");
        }
    }

    #[test]
    fn the_configuration_arrives_as_it_was() {
        let text = include_str!("../../../../docs/stagedoor.toml");
        let config: Config = toml::from_str(text).unwrap();
        let sent = serde_json::to_value(&config).unwrap();
        let came: Config = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(serde_json::to_value(came).unwrap(), sent);
    }
}
