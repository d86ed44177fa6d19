//! The sections of the configuration file that belong to the program itself; each room has its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::RedisConfig;
use access::{AccessConfig, LimitConfig, OwnConfig, RouteConfig, UpstreamConfig};
use identity::IdentityConfig;
use observe::{ObserveConfig, SiemConfig};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use watch::WatchConfig;
use web::feed::Net;

/// `stagedoor.toml`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// `live`, or `test`: an installation that never sends a message or moves money. Restart.
    pub mode: Mode,
    /// The shop. Restart.
    pub shop: ShopConfig,
    /// Where data lives. Restart.
    pub data: DataConfig,
    /// The server by which several nodes speak to each other. Restart.
    pub redis: RedisConfig,
    /// The root key. Restart.
    pub root: RootConfig,
    /// The keyholder, where it is a process of its own. Restart.
    pub keyholder: KeyholderConfig,
    /// Backups. Read by the commands that make and restore them.
    pub backup: BackupConfig,
    /// Where the program listens. Restart.
    pub listen: ListenConfig,
    /// TLS. Restart; files that are renewed are seen within a minute, or at SIGHUP.
    pub tls: TlsConfig,
    /// Proxies in front. Restart.
    pub proxies: ProxiesConfig,
    /// Answers to another proxy (nginx, Caddy, Traefik). Restart.
    pub forward_auth: Option<ForwardAuthConfig>,
    /// Sizes, counts and times of the door. Restart.
    pub bounds: edge::Bounds,
    /// Separate processes, each as a user of its own. Restart.
    pub processes: ProcessesConfig,
    /// The program's own log. Restart.
    pub log: LogConfig,
    /// What operators see: health, metrics, traces. Restart.
    pub observe: ObserveConfig,
    /// Systems outside that hear of every event, as OCSF. Restart.
    pub siem: Vec<SiemConfig>,
    /// What strangers are shown of the audit log. Restart.
    pub audit: AuditConfig,
    /// Witnesses outside that are asked to cosign the audit log's checkpoints. Restart.
    pub witness: Vec<WitnessConfig>,
    /// Accounts. Restart.
    pub identity: IdentityConfig,
    /// Blocks and facts. Restart.
    pub access: AccessConfig,
    /// Rules. Restart.
    pub watch: WatchConfig,
    /// Keys that sign the identity headers to the upstreams. Restart.
    pub header_key: Vec<HeaderKeyConfig>,
    /// Who vouches for upstreams with `https` addresses, and who we are to them. Restart.
    pub upstream_tls: Vec<UpstreamTlsConfig>,
    /// What Stagedoor answers itself. Live.
    pub own: OwnConfig,
    /// Where requests can go. Live.
    pub upstream: Vec<UpstreamConfig>,
    /// How often. Live.
    pub limit: Vec<LimitConfig>,
    /// Which requests go where, for whom. Live.
    pub route: Vec<RouteConfig>,
}

/// What sort of installation it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// The shop's real one.
    #[default]
    Live,
    /// A trial.
    Test,
}

/// `[shop]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShopConfig {
    /// What people call it. Default `Shop`.
    pub name: String,
    /// Where customers reach it: `https://` and a host. Default `https://localhost:8443`.
    pub public_url: String,
}

impl Default for ShopConfig {
    fn default() -> Self {
        Self { name: "Shop".to_owned(), public_url: "https://localhost:8443".to_owned() }
    }
}

/// `[data]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DataConfig {
    /// The folder of everything that is not elsewhere. Default `var`.
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// The database: `postgres://user@host/name`. Default: SQLite, `data.db` in the folder.
    pub database_url: Option<String>,
    /// The keys' own database, never the same as the data's. Default: SQLite, `keys.db` in `keys_dir`.
    pub keys_database_url: Option<String>,
    /// The folder of keys: another volume, outside the data's backups. Default `keys` in `dir`.
    #[schema(value_type = Option<String>)]
    pub keys_dir: Option<PathBuf>,
    /// Connections to the database. Default 8.
    pub connections: u32,
    /// The longest that PostgreSQL may take for one statement, ms; who asked is then told to come
    /// back. Default 10000; 100 to 600000.
    #[schema(minimum = 100, maximum = 600_000)]
    pub answer_max_ms: u64,
    /// This node's name, unique among the nodes. Default `node-1`.
    pub node: String,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("var"),
            database_url: None,
            keys_database_url: None,
            keys_dir: None,
            connections: 8,
            answer_max_ms: 10_000,
            node: "node-1".to_owned(),
        }
    }
}

/// `[root]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RootConfig {
    /// `passphrase` (sealed by one) or `key_file` (in the clear, mode 0600: for trying). Default
    /// `key_file`.
    pub kind: RootKind,
    /// The file that holds the passphrase, as a service manager hands it over. Default none.
    #[schema(value_type = Option<String>)]
    pub passphrase_file: Option<PathBuf>,
    /// The name of the systemd credential that holds the passphrase (`LoadCredential=`), instead of
    /// a file. Default none.
    pub passphrase_credential: Option<String>,
}

/// `[keyholder]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyholderConfig {
    /// The unix socket of `stagedoor keyholder serve`, which alone opens the root key then. Default
    /// none: this process opens it itself.
    #[schema(value_type = Option<String>)]
    pub socket: Option<PathBuf>,
    /// The folder of root key and epoch keys, its user's only. Default `data.keys_dir`.
    #[schema(value_type = Option<String>)]
    pub dir: Option<PathBuf>,
    /// The user of the program that asks, by name or number; nobody else is answered. Default:
    /// `processes.core_user`, or whose `dir` is.
    pub core_user: String,
    /// Persons' keys that may be opened each second. Default 100, for 100,000 accounts.
    pub opens_per_s: u32,
    /// Persons' keys that may be opened at once after a rest, 512 or more. Default 6000.
    #[schema(minimum = 512)]
    pub opens_burst: u32,
    /// How long a program that starts waits for the keyholder, ms. Default 30000.
    pub wait_ms: u64,
}

impl Default for KeyholderConfig {
    fn default() -> Self {
        Self {
            socket: None,
            dir: None,
            core_user: String::new(),
            opens_per_s: 100,
            opens_burst: 6_000,
            wait_ms: 30_000,
        }
    }
}

/// `[backup]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BackupConfig {
    /// The file with the passphrase (at least 12 characters) that seals backups; not the root key's.
    /// Keep a copy of it where the backups are not. Default none: `--passphrase-file`.
    #[schema(value_type = Option<String>)]
    pub passphrase_file: Option<PathBuf>,
    /// The list of erased persons, by pseudonyms that mean nothing to others: without it, restoring
    /// keys brings back whom you erased after that backup. Copy it away as it grows. Default
    /// `erased` in `data.keys_dir`.
    #[schema(value_type = Option<String>)]
    pub erased_file: Option<PathBuf>,
}

/// How the root key is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RootKind {
    /// Sealed by a passphrase.
    Passphrase,
    /// In the clear in a file of mode 0600.
    #[default]
    KeyFile,
}

/// `[listen]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListenConfig {
    /// The shop's door. Default `0.0.0.0:8443`.
    #[schema(value_type = String)]
    pub public: SocketAddr,
    /// The console; keep it inside your network. Default `127.0.0.1:8444`.
    #[schema(value_type = String)]
    pub console: SocketAddr,
    /// Plain HTTP at the door: only behind a proxy that speaks TLS. Default false.
    pub plain: bool,
    /// How long requests under way may take when the program stops, ms. Default 10000.
    pub drain_ms: u64,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            public: SocketAddr::from(([0, 0, 0, 0], 8443)),
            console: SocketAddr::from(([127, 0, 0, 1], 8444)),
            plain: false,
            drain_ms: 10_000,
        }
    }
}

/// `[tls]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsConfig {
    /// The certificate chain, PEM. Default: a self-signed one is made, for trying.
    #[schema(value_type = Option<String>)]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[schema(value_type = Option<String>)]
    pub key_file: Option<PathBuf>,
    /// TLS 1.2 besides 1.3. Default false.
    pub tls12: bool,
    /// Further certificates: a client is shown the first that is made out to the name it asks for,
    /// and otherwise that of `cert_file` in `[tls]`. Default none.
    pub more: Vec<CertificateConfig>,
}

/// One `[[tls.more]]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateConfig {
    /// The certificate chain, PEM.
    #[schema(value_type = String)]
    pub cert_file: PathBuf,
    /// Its key, PEM.
    #[schema(value_type = String)]
    pub key_file: PathBuf,
}

/// One `[[upstream_tls]]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamTlsConfig {
    /// Its id; upstreams name it as `tls`.
    pub id: String,
    /// The authorities that vouch, PEM. Default: the public ones that browsers know.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// The chain that is shown to an upstream that asks who we are, PEM. Default none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub key_file: Option<PathBuf>,
}

/// `[proxies]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProxiesConfig {
    /// Networks of proxies whose X-Forwarded-For is believed. Default none.
    pub trusted: Vec<Net>,
    /// Networks of load balancers whose connections begin with a PROXY protocol header, version 1
    /// or 2: they must, and nobody else may. Default none.
    pub proxy_protocol: Vec<Net>,
}

/// `[forward_auth]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardAuthConfig {
    /// The path of the question, as `/-/forward-auth`.
    pub path: String,
    /// Networks of the proxies that are answered.
    pub proxies: Vec<Net>,
    /// A file with a secret that they must send in X-Stagedoor-Forward-Secret. Default none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub secret_file: Option<PathBuf>,
}

/// One `[[header_key]]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderKeyConfig {
    /// Its id; upstreams name it.
    pub id: String,
    /// The file that holds at least 32 random bytes, in any text.
    #[schema(value_type = String)]
    pub file: PathBuf,
}

/// `[audit]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditConfig {
    /// How often the public checkpoint is renewed and witnesses are asked, s, 1 to 86400. The
    /// longer, the less it tells strangers of how busy the house is. Default 10.
    #[schema(minimum = 1, maximum = 86_400)]
    pub publish_every_s: u64,
    /// How many of the witnesses must have cosigned before a checkpoint is shown. Default: more
    /// than half of them.
    pub witness_quorum: Option<usize>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { publish_every_s: 10, witness_quorum: None }
    }
}

/// One `[[witness]]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WitnessConfig {
    /// Its public key with its name (C2SP vkey of a cosigner), had by a way of its own.
    pub key: String,
    /// Where it listens: `https://` or `http://`, a host, and a path where it has one. Its word
    /// counts for its signature only, so plain HTTP forges nothing.
    pub url: String,
    /// Certificates to believe instead of the public ones, PEM. Default none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
}

/// `[processes]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProcessesConfig {
    /// Whether `serve` runs the door and what is behind it as separate processes. Default false.
    pub separate: bool,
    /// Whom the edge's process runs as, where `serve` is started by root: a user's name or number.
    /// It needs no file and no group. Default: the user that serves.
    pub edge_user: String,
    /// Whom core's process runs as: the owner of `data.dir` and `data.keys_dir`. Commands that root
    /// gives run as this user too. Default: the user that serves.
    pub core_user: String,
    /// Whom the keyholder's process runs as: the owner of `keyholder.dir`, with core's group. Needs
    /// `keyholder.socket`. Default: `serve` starts no keyholder.
    pub keyholder_user: String,
}

/// `[log]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, or filters by module. Default `info`.
    pub level: String,
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How the program's log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}
