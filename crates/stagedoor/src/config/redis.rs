//! `[redis]`: the server by which several nodes speak to each other.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::read_secret;
use crate::redis::Server;

/// `[redis]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. Default: none, and
    /// nodes learn from each other through the database, within a second or two.
    pub url: Option<String>,
    /// A file that holds the address instead, where it has a password. Default none.
    #[schema(value_type = Option<String>)]
    pub url_file: Option<PathBuf>,
    /// What the names of channels and keys begin with. Default `stagedoor`.
    pub prefix: String,
    /// The authorities that vouch for a `rediss://` server, PEM. Default: the public ones.
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, prefix: "stagedoor".to_owned(), ca_file: None }
    }
}

impl RedisConfig {
    /// Whether there is none.
    pub(crate) const fn is_none(&self) -> bool {
        self.url.is_none() && self.url_file.is_none()
    }

    /// What is wrong, as far as the file alone tells: the key and the mend.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if self.url.is_some() && self.url_file.is_some() {
            return Some(("redis", "give url or url_file, not both"));
        }
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.bytes().all(plain) {
            return Some(("redis.prefix", "must be 1 to 64 letters, digits, `-`, `_`, `.`, `:`"));
        }
        let bad = self.url.as_ref().is_some_and(|url| Server::parse(url, None).is_err());
        bad.then_some(("redis.url", "must be redis://[user:password@]host[:port][/database]"))
    }

    /// The server; none where none is configured. Files are relative to `base`.
    pub(crate) fn server(&self, base: &Path) -> anyhow::Result<Option<Server>> {
        let url = match (&self.url, &self.url_file) {
            (Some(url), _) => url.clone(),
            (None, Some(file)) => read_secret(&base.join(file))?.expose().clone(),
            (None, None) => return Ok(None),
        };
        let ca = self.ca_file.as_ref().map(|file| {
            let file = base.join(file);
            std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
        });
        Server::parse(&url, ca.transpose()?.as_deref()).context("[redis]").map(Some)
    }
}
