//! The sections `[observe]` and `[[siem]]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;
use crate::outbound::Address;

/// `[observe]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObserveConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are answered, plain HTTP, as `127.0.0.1:9464`: keep
    /// it inside your network. Default: nowhere.
    #[schema(value_type = Option<String>)]
    pub listen: Option<SocketAddr>,
    /// A file with the token that a scraper must send (`Authorization: Bearer …`). `/healthz` and
    /// `/readyz` are answered without. Default: none is asked for.
    #[schema(value_type = Option<String>)]
    pub token_file: Option<PathBuf>,
    /// A server of network time that this host's clock is held against each ten minutes, as
    /// `pool.ntp.org:123`. Default: none is asked.
    pub ntp_server: Option<String>,
    /// Below so many free bytes `/readyz` says that the disk is full. Default 67108864 (64 MiB).
    pub disk_free_min_bytes: u64,
    /// How long `/readyz` says no before the doors take no more connections, ms: as long as a balancer
    /// needs to see it. Default 0.
    pub drain_notice_ms: u64,
    /// Traces of requests.
    pub traces: TracesConfig,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        Self {
            listen: None,
            token_file: None,
            ntp_server: None,
            disk_free_min_bytes: 64 * 1024 * 1024,
            drain_notice_ms: 0,
            traces: TracesConfig::default(),
        }
    }
}

/// `[observe.traces]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TracesConfig {
    /// Where spans are sent by OTLP over HTTP in JSON, as `http://127.0.0.1:4318/v1/traces`.
    /// Default: nowhere, and nothing is traced.
    pub endpoint: Option<String>,
    /// The part of requests that is traced, 0 to 1. A trusted proxy's own decision goes before.
    /// Default 0.01.
    #[schema(minimum = 0, maximum = 1)]
    pub sample: f64,
    /// Certificates to believe instead of the public ones, PEM. Default none.
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// A file with the value of an `Authorization` header that the collector wants. Default none.
    #[schema(value_type = Option<String>)]
    pub token_file: Option<PathBuf>,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { endpoint: None, sample: 0.01, ca_file: None, token_file: None }
    }
}

impl TracesConfig {
    /// How many requests in a million are traced.
    #[must_use]
    pub fn sampled_ppm(&self) -> u32 {
        if self.endpoint.is_none() {
            return 0;
        }
        // Between 0 and a million: checked when the file is read.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what a u32 holds"
        )]
        let ppm = (self.sample.clamp(0.0, 1.0) * 1_000_000.0).round() as u32;
        ppm
    }
}

/// One `[[siem]]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SiemConfig {
    /// Its name: small letters, digits and `-`. Under it the place in the log is kept.
    pub name: String,
    /// `file`, `syslog` or `http`.
    pub to: SiemTo,
    /// Names, addresses and e-mails as they are, instead of pseudonyms. Default false.
    #[serde(default)]
    pub include_personal: bool,
    /// Only kinds of event that begin so, as `identity.`. Default: all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Events in one batch, 1 to 500. Default 200.
    #[serde(default = "batch_max")]
    #[schema(minimum = 1, maximum = 500)]
    pub batch_max: u32,
    /// `file`: the file, JSON lines.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
    /// `file`: at this size another file is begun. Default 67108864 (64 MiB).
    #[serde(default = "rotate_bytes")]
    pub rotate_bytes: u64,
    /// `file`: how many full files are kept beside the newest, 0 to 1000. Default 8.
    #[serde(default = "keep_files")]
    #[schema(maximum = 1000)]
    pub keep_files: u32,
    /// `syslog`: host and port, as `logs.internal:6514`.
    #[serde(default)]
    pub address: Option<String>,
    /// `syslog`: `tcp` (RFC 6587, counted), `tls` (RFC 5425) or `udp` (RFC 5426). Default `tcp`.
    #[serde(default)]
    pub transport: Transport,
    /// `http`: where batches are posted, as `https://siem.internal:8088/services/collector/event`.
    #[serde(default)]
    pub url: Option<String>,
    /// `http`: `ndjson` (an event a line) or `hec` (each wrapped as Splunk's collector wants it).
    /// Default `ndjson`.
    #[serde(default)]
    pub format: SiemFormat,
    /// `http`: a file with the value of the header that proves who we are, as `Splunk …` or
    /// `Bearer …`. Default none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub token_file: Option<PathBuf>,
    /// `http`: the name of that header. Default `authorization`.
    #[serde(default = "token_header")]
    pub token_header: String,
    /// `http` and `syslog` over TLS: certificates to believe instead of the public ones, PEM. Default
    /// none.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
}

const fn batch_max() -> u32 {
    200
}

const fn rotate_bytes() -> u64 {
    64 * 1024 * 1024
}

const fn keep_files() -> u32 {
    8
}

fn token_header() -> String {
    "authorization".to_owned()
}

/// What sort of sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiemTo {
    /// JSON lines in a file.
    File,
    /// RFC 5424.
    Syslog,
    /// Batches by POST.
    Http,
}

/// How syslog travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Counted messages over TCP.
    #[default]
    Tcp,
    /// The same over TLS.
    Tls,
    /// One datagram each.
    Udp,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiemFormat {
    /// An event a line.
    #[default]
    Ndjson,
    /// An event a line, wrapped for Splunk's HTTP event collector.
    Hec,
}

impl ObserveConfig {
    /// What is wrong: key and words.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let traces = &self.traces;
        if !(0.0..=1.0).contains(&traces.sample) {
            problems.push(("observe.traces.sample".to_owned(), "must be 0 to 1".to_owned()));
        }
        if let Some(Err(why)) = traces.endpoint.as_deref().map(Address::parse) {
            problems.push(("observe.traces.endpoint".to_owned(), why));
        }
        if let Some(server) = &self.ntp_server
            && !is_host_and_port(server)
        {
            let detail = "must be a host and a port, as in pool.ntp.org:123";
            problems.push(("observe.ntp_server".to_owned(), detail.to_owned()));
        }
        problems
    }
}

impl SiemConfig {
    /// What is wrong with one among `all`.
    pub(crate) fn check(&self, all: &[Self]) -> Result<(), Error> {
        let key = |field: &str| format!("[[siem]] \"{}\": {field}", self.name);
        let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if self.name.is_empty() || self.name.len() > 32 || !self.name.bytes().all(letters) {
            return Err(Error::config(key("name"), "must be 1 to 32 of a-z, 0-9 and -"));
        }
        if all.iter().filter(|other| other.name == self.name).count() > 1 {
            return Err(Error::config(key("name"), "used twice: give each its own"));
        }
        if !(1..=500).contains(&self.batch_max) {
            return Err(Error::config(key("batch_max"), "must be 1 to 500"));
        }
        match self.to {
            SiemTo::File if self.file.is_none() => {
                Err(Error::config(key("file"), "is missing: the file to write"))
            }
            SiemTo::File if all.iter().filter(|other| other.file == self.file).count() > 1 => {
                Err(Error::config(key("file"), "is another sink's too: give each its own"))
            }
            SiemTo::File if self.rotate_bytes < 4_096 || self.keep_files > 1_000 => {
                Err(Error::config(key("rotate_bytes"), "at least 4096; keep_files at most 1000"))
            }
            SiemTo::Syslog if !self.address.as_deref().is_some_and(is_host_and_port) => {
                Err(Error::config(key("address"), "must be a host and a port"))
            }
            SiemTo::Http => {
                let url = self.url.as_deref().unwrap_or_default();
                Address::parse(url).map_err(|why| Error::config(key("url"), why))?;
                let name = http::HeaderName::try_from(self.token_header.as_str());
                name.map_err(|_| Error::config(key("token_header"), "is no name of a header"))?;
                Ok(())
            }
            SiemTo::File | SiemTo::Syslog => Ok(()),
        }
    }

    /// What is wrong with these: key and words.
    #[must_use]
    pub fn problems(all: &[Self]) -> Vec<(String, String)> {
        let checked = all.iter().filter_map(|one| one.check(all).err());
        checked
            .map(|error| match error {
                Error::Config { key, detail } => (key, detail),
                other => ("[[siem]]".to_owned(), other.to_string()),
            })
            .collect()
    }
}

/// `host:port`, or `[v6]:port`.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        !bare.is_empty() && !bare.contains([' ', '/']) && port.parse::<u16>().is_ok_and(|p| p > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_from_other_texts() {
        for (text, good) in [
            ("logs.internal:6514", true),
            ("[::1]:514", true),
            ("127.0.0.1:514", true),
            ("logs.internal", false),
            ("logs.internal:0", false),
            (":514", false),
            ("https://logs:1", false),
        ] {
            assert_eq!(is_host_and_port(text), good, "{text}");
        }
    }
}
