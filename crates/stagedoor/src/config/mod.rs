//! The one configuration file: read, checked whole, every mistake named with file, key and mend.

mod parts;
mod redis;
mod reference;
mod schema;
mod witnesses;

use std::path::{Path, PathBuf};

use access::{ConfigProblem, EdgeConfig};
use anyhow::Context as _;
use kernel::Secret;

pub(crate) use parts::{
    CertificateConfig, Config, DataConfig, HeaderKeyConfig, LogConfig, LogFormat, Mode,
    ProcessesConfig, RootKind, UpstreamTlsConfig,
};
pub(crate) use redis::RedisConfig;
pub(crate) use reference::annotate;
pub(crate) use schema::schema;

/// A configuration and where it was read from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub config: Config,
    /// Paths in the file are relative to this folder.
    pub base: PathBuf,
}

/// Reads and checks a file.
pub(crate) fn load(file: &Path) -> anyhow::Result<Loaded> {
    load_checked(file, Config::problems)
}

/// Reads a file for a keyholder, which may have a small one of its own.
pub(crate) fn load_for_keyholder(file: &Path) -> anyhow::Result<Loaded> {
    load_checked(file, Config::key_problems)
}

fn load_checked(
    file: &Path,
    problems: fn(&Config) -> Vec<ConfigProblem>,
) -> anyhow::Result<Loaded> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "{} cannot be read: `stagedoor init` makes one, --config names another",
            file.display()
        )
    })?;
    let config: Config = toml::from_str(&text).map_err(|error| in_words(file, &text, &error))?;
    let problems = problems(&config);
    if !problems.is_empty() {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}: {}", file.display(), problem.key, problem.detail))
            .collect();
        anyhow::bail!("the configuration is not right\n  {}", lines.join("\n  "));
    }
    let base = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let base = base.unwrap_or(Path::new(".")).to_owned();
    Ok(Loaded { config, base })
}

/// A TOML mistake as file, line, and what is wrong.
fn in_words(file: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = error.span().map_or(1, |span| {
        text.get(..span.start).unwrap_or_default().bytes().filter(|byte| *byte == b'\n').count() + 1
    });
    let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
    let words = error.message();
    let mend = if words.contains("unknown field") {
        ": remove it or mend its spelling; `stagedoor docs config` lists every key"
    } else {
        ""
    };
    anyhow::anyhow!("{}:{line}: `{shown}`: {words}{mend}", file.display())
}

impl Config {
    /// The edge's part, which applies live.
    pub(crate) fn edge_config(&self) -> EdgeConfig {
        EdgeConfig {
            own: self.own.clone(),
            upstream: self.upstream.clone(),
            limit: self.limit.clone(),
            route: self.route.clone(),
        }
    }

    /// Everything that is wrong.
    pub(crate) fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = self.edge_config().problems();
        problems.extend(self.access.problems());
        problems.extend(self.key_problems());
        let mut say = |key: &str, detail: &str| {
            problems.push(ConfigProblem { key: key.to_owned(), detail: detail.to_owned() });
        };
        if self.shop.name.trim().is_empty() {
            say("shop.name", "is empty: the name that people read");
        }
        if !(100..=600_000).contains(&self.data.answer_max_ms) {
            say("data.answer_max_ms", "must be 100 to 600000");
        }
        let host = self.shop.public_url.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || host.contains('/') || host.contains('+') || host.contains(' ') {
            say("shop.public_url", "must be https:// and a host, without a path");
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            say("tls", "cert_file and key_file belong together: give both or neither");
        }
        if self.mode == Mode::Live && self.identity.mail.to == identity::MailRoad::Outbox {
            say("identity.mail.to", "a live shop sends mail: set smtp, or mode = \"test\"");
        }
        if let Some(forward) = &self.forward_auth
            && (!forward.path.starts_with('/') || forward.proxies.is_empty())
        {
            say("forward_auth", "needs a path that begins with / and at least one proxy");
        }
        if let Some((key, detail)) = self.redis.problem() {
            say(key, detail);
        }
        self.credential_problems(&mut say);
        for (key, detail) in self.witness_problems() {
            say(&key, &detail);
        }
        let observed = self.observe.problems().into_iter();
        for (key, detail) in observed.chain(observe::SiemConfig::problems(&self.siem)) {
            say(&key, &detail);
        }
        if let Err(error) = self.bounds.check() {
            say("bounds", &error.to_string());
        }
        if let Err(error) = watch::tune(&self.watch) {
            say("watch", &error.to_string());
        }
        problems
    }

    /// What is wrong with the sections that a keyholder reads.
    fn key_problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut say = |key: &str, detail: &str| {
            problems.push(ConfigProblem { key: key.to_owned(), detail: detail.to_owned() });
        };
        let root = &self.root;
        let ways = [root.passphrase_file.is_some(), root.passphrase_credential.is_some()];
        if root.kind == RootKind::Passphrase && ways == [false, false] {
            say("root.passphrase_file", "is missing: the file that holds the passphrase");
        }
        if ways == [true, true] {
            say("root.passphrase_credential", "and passphrase_file exclude each other: give one");
        }
        if !self.processes.keyholder_user.is_empty() && self.keyholder.socket.is_none() {
            say("processes.keyholder_user", "needs keyholder.socket, at which core asks it");
        }
        if self.keyholder.opens_per_s == 0 || self.keyholder.opens_burst < 512 {
            say("keyholder.opens_burst", "must be 512 or more, and opens_per_s 1 or more");
        }
        problems
    }

    /// What upstreams are spoken to with.
    fn credential_problems(&self, say: &mut impl FnMut(&str, &str)) {
        if !self.tls.more.is_empty() && self.tls.cert_file.is_none() {
            let detail = "needs cert_file and key_file in [tls], for all names that no \
                          [[tls.more]] is made out to";
            say("tls.more", detail);
        }
        for settings in &self.upstream_tls {
            let key = format!("[[upstream_tls]] \"{}\"", settings.id);
            if self.upstream_tls.iter().filter(|other| other.id == settings.id).count() > 1 {
                say(&format!("{key}: id"), "used twice: give each its own id");
            }
            if settings.cert_file.is_some() != settings.key_file.is_some() {
                say(&key, "cert_file and key_file belong together: give both or neither");
            }
        }
        let keys: Vec<&str> = self.header_key.iter().map(|key| key.id.as_str()).collect();
        let tls: Vec<&str> = self.upstream_tls.iter().map(|tls| tls.id.as_str()).collect();
        for upstream in &self.upstream {
            for (key, ids, wanted) in
                [("header_key", &keys, &upstream.header_key), ("upstream_tls", &tls, &upstream.tls)]
            {
                if wanted.as_ref().is_some_and(|wanted| !ids.contains(&wanted.as_str())) {
                    let named = key.trim_start_matches("upstream_");
                    let said = format!("[[upstream]] \"{}\": {named}", upstream.name);
                    say(&said, &format!("names no [[{key}]]: add one with this id"));
                }
            }
        }
    }

    /// A digest of what should be the same on every node: not of its name, its folders, where it
    /// listens, how it reaches the servers and what it logs.
    pub(crate) fn digest(&self) -> anyhow::Result<String> {
        use std::fmt::Write as _;
        let mut all = serde_json::to_value(self)?;
        if let Some(all) = all.as_object_mut() {
            for own in ["data", "listen", "log", "redis", "tls"] {
                all.remove(own);
            }
        }
        let mut text = String::new();
        for byte in merkle::leaf_hash(all.to_string().as_bytes()).as_bytes().iter().take(8) {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    /// Whether mails are shown on a page that not only this host reaches.
    pub(crate) fn shows_mails_to_the_world(&self) -> bool {
        self.identity.mail.to == identity::MailRoad::Outbox
            && !self.listen.public.ip().is_loopback()
    }

    /// The name that a new log is begun under: the shop's host and `/log` (C2SP tlog-checkpoint origin).
    pub(crate) fn log_name(&self) -> String {
        let host = self.shop.public_url.trim_start_matches("https://");
        format!("{host}/log")
    }
}

/// Reads a secret from a file; a line end at its end is not part of it.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Secret<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the secret in {} cannot be read", path.display()))?;
    Ok(Secret::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}
