//! The route table, compiled: which entry a request falls under.
//!
//! Paths are compared without regard to case and to a slash at their end, because some upstreams
//! read them so: a guard that a capital letter walks around is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use kernel::Timestamp;
use web::feed::{Access, Limit, PathRule, Per, Route, RouteTable};

use crate::identity::HeaderKey;
use crate::limits::{Ledger, Rule};
use crate::meters::{self, Meters};
use crate::session::Session;
use crate::upstream::Upstream;
use crate::wire::{Proving, UpstreamTls};

/// The limits of one route, in the order in which they count.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Before it is known who asks: per client and per route.
    pub(crate) before: Vec<Rule>,
    /// After: per session and per account.
    pub(crate) after: Vec<Rule>,
    /// The value of `RateLimit-Policy`.
    pub(crate) policy: Option<HeaderValue>,
}

impl Rules {
    fn new(limits: &[Limit], ledger: &Ledger) -> Self {
        let all = limits.iter().map(|limit| ledger.rule(limit));
        let (after, before): (Vec<Rule>, Vec<Rule>) =
            all.partition(|rule| matches!(rule.limit.per, Per::Session | Per::Account));
        let policies: Vec<&str> =
            before.iter().chain(&after).map(|rule| rule.policy.as_str()).collect();
        let policy = HeaderValue::from_str(&policies.join(", ")).ok();
        Self { policy: policy.filter(|value| !value.is_empty()), before, after }
    }
}

/// One route, ready for use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) route: Route,
    pub(crate) rules: Rules,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) body_idle: Duration,
    pub(crate) metered: meters::Route,
    path: String,
    exact: bool,
}

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// To our own paths.
    Own,
    /// To an upstream.
    Route(Arc<Entry>),
    /// Nowhere; but another method would have found one.
    OtherMethod,
    /// Nowhere.
    Nothing,
}

impl Found {
    /// Whether a WebSocket may be opened there.
    pub(crate) fn takes_websocket(&self) -> bool {
        matches!(self, Self::Route(entry) if entry.route.websocket)
    }
}

/// What upstreams are spoken to with, beyond what the feed may know.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Keys that sign the identity headers, by id.
    pub(crate) header_keys: HashMap<String, HeaderKey>,
    /// TLS settings, by id.
    pub(crate) tls: HashMap<String, UpstreamTls>,
    /// TLS where an upstream names no settings.
    pub(crate) public_tls: UpstreamTls,
}

impl Credentials {
    /// An upstream as configured; none where it cannot be reached as it asks.
    fn upstream(&self, config: &web::feed::Upstream) -> Option<Upstream> {
        let key = config.header_key.as_ref().and_then(|id| self.header_keys.get(id)).cloned();
        let proving = if config.is_secure() {
            let tls = match &config.tls {
                Some(id) => self.tls.get(id)?,
                None => &self.public_tls,
            };
            Some(Proving::new(tls.clone(), config.expected_name()?)?)
        } else {
            None
        };
        Upstream::new(config.clone(), key, proving)
    }
}

/// A table in force.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    /// Of the table that it was compiled of.
    pub(crate) revision: u64,
    entries: Vec<Arc<Entry>>,
    own: Vec<String>,
    pub(crate) own_rules: Rules,
    pub(crate) upstreams: HashMap<String, Arc<Upstream>>,
}

impl Compiled {
    /// Compiles a table that has no problems. Upstreams that did not change keep their
    /// connections. A route whose upstream is missing is left out: it is refused.
    pub(crate) fn new(
        table: &RouteTable,
        before: &Self,
        credentials: &Credentials,
        (ledger, meters): (&Ledger, &Meters),
    ) -> Self {
        let mut upstreams = HashMap::new();
        for config in &table.upstreams {
            let kept = before.upstreams.get(&config.name).filter(|old| old.config == *config);
            let upstream = match kept {
                Some(kept) => Some(Arc::clone(kept)),
                None => credentials.upstream(config).map(Arc::new),
            };
            match upstream {
                Some(upstream) => {
                    upstreams.insert(config.name.clone(), upstream);
                }
                None => tracing::error!(
                    upstream = %config.name,
                    "left out with its routes: this edge has no [[upstream_tls]] of that id, or \
                     the name is none"
                ),
            }
        }
        let mut entries: Vec<Arc<Entry>> = table
            .routes
            .iter()
            .filter_map(|route| Some(Arc::new(Entry::new(route, &upstreams, (ledger, meters))?)))
            .collect();
        entries.sort_by_key(|entry| entry.rank());
        let own = table.own_prefixes.iter().map(|prefix| prefix.to_ascii_lowercase()).collect();
        let own_rules = Rules::new(&table.own_limits, ledger);
        Self { revision: table.revision, entries, own, own_rules, upstreams }
    }

    /// Where a request for a decoded path on a host (without port) goes.
    pub(crate) fn find(&self, host: &str, path: &str, method: &str) -> Found {
        if self.own.iter().any(|prefix| covers(prefix, path)) {
            return Found::Own;
        }
        let mut other_method = false;
        for entry in &self.entries {
            if !entry.has_path(path) || !entry.has_host(host) {
                continue;
            }
            let methods = &entry.route.methods;
            if methods.is_empty() || methods.iter().any(|one| one == method) {
                return Found::Route(Arc::clone(entry));
            }
            other_method = true;
        }
        if other_method { Found::OtherMethod } else { Found::Nothing }
    }
}

impl Entry {
    fn new(
        route: &Route,
        upstreams: &HashMap<String, Arc<Upstream>>,
        (ledger, meters): (&Ledger, &Meters),
    ) -> Option<Self> {
        let upstream = Arc::clone(upstreams.get(&route.upstream)?);
        let (exact, path) = match &route.path {
            PathRule::Exact(path) => (true, path),
            PathRule::Prefix(path) => (false, path),
        };
        Some(Self {
            rules: Rules::new(&route.limits, ledger),
            metered: meters.route(&route.name),
            upstream,
            body_idle: Duration::from_millis(route.timeouts.body_idle_ms),
            path: path.to_ascii_lowercase(),
            exact,
            route: route.clone(),
        })
    }

    /// The first entry in this order wins: exact paths, then longer prefixes, then hosts by name,
    /// by wildcard, and any; then those that name methods.
    fn rank(&self) -> (bool, usize, u8, bool) {
        let host = match self.route.hosts.first() {
            Some(host) if host.starts_with("*.") => 1,
            Some(_) => 0,
            None => 2,
        };
        let long_first = usize::MAX.saturating_sub(self.path.len());
        (!self.exact, long_first, host, self.route.methods.is_empty())
    }

    fn has_path(&self, path: &str) -> bool {
        if self.exact {
            let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
            return path.eq_ignore_ascii_case(&self.path);
        }
        covers(&self.path, path)
    }

    fn has_host(&self, host: &str) -> bool {
        let hosts = &self.route.hosts;
        hosts.is_empty()
            || hosts.iter().any(|rule| match rule.strip_prefix("*.") {
                Some(parent) => {
                    host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
                }
                None => host.eq_ignore_ascii_case(rule),
            })
    }

    /// Whether a session has proved what the route asks for.
    pub(crate) fn is_proved(&self, session: &Session, now: Timestamp) -> bool {
        let within = self.route.proved_within_s.map(|span| Duration::from_secs(span.into()));
        (session.second_factor || !self.route.second_factor)
            && within.is_none_or(|within| now.since(session.proved) <= within)
    }

    /// Whether a session may use the route.
    pub(crate) fn admits(&self, kind: &str, roles: &[String]) -> bool {
        match &self.route.access {
            Access::Open | Access::Session => true,
            Access::Only { kinds, roles: wanted } => {
                (kinds.is_empty() || kinds.iter().any(|one| one == kind))
                    && (wanted.is_empty() || wanted.iter().any(|role| roles.contains(role)))
            }
        }
    }
}

/// Whether a prefix (in lower case) covers a path, by whole segments.
fn covers(prefix: &str, path: &str) -> bool {
    if prefix == "/" {
        return true;
    }
    match path.as_bytes().split_at_checked(prefix.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(prefix.as_bytes()) && matches!(rest, [] | [b'/', ..])
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled() -> Compiled {
        let text = r#"{"own_prefixes":["/auth"],"upstreams":[{"name":"u","address":"http://127.0.0.1:1"}],
          "routes":[
            {"name":"all","path":{"prefix":"/"},"upstream":"u","access":"open"},
            {"name":"admin","path":{"prefix":"/admin"},"upstream":"u","access":{"only":{"roles":["admin"]}}},
            {"name":"one","path":{"exact":"/admin/ping"},"upstream":"u","access":"open"},
            {"name":"post","path":{"exact":"/form"},"upstream":"u","access":"session","methods":["POST"],
             "hosts":["shop.example"]},
            {"name":"wild","path":{"prefix":"/admin"},"upstream":"u","access":"open","hosts":["*.cdn.example"]}
          ]}"#;
        let table: RouteTable = serde_json::from_str(text).unwrap();
        assert_eq!(table.problems(), []);
        let credentials = Credentials {
            header_keys: HashMap::new(),
            tls: HashMap::new(),
            public_tls: UpstreamTls::new(None, None).unwrap(),
        };
        let (ledger, meters) = (Ledger::new(100), Meters::default());
        Compiled::new(&table, &Compiled::default(), &credentials, (&ledger, &meters))
    }

    fn name(host: &str, path: &str, method: &str) -> String {
        match compiled().find(host, path, method) {
            Found::Own => "own".into(),
            Found::Route(entry) => entry.route.name.clone(),
            Found::OtherMethod => "405".into(),
            Found::Nothing => "404".into(),
        }
    }

    // E2
    #[test]
    fn the_most_guarded_reading_wins() {
        for (path, wanted) in [
            ("/", "all"),
            ("/adminx", "all"),
            ("/admin", "admin"),
            ("/ADMIN", "admin"),
            ("/admin/", "admin"),
            ("/admin/x", "admin"),
            ("/admin/ping", "one"),
            ("/admin/ping/", "one"),
            ("/auth", "own"),
            ("/Auth/sign-in", "own"),
            ("/authx", "all"),
        ] {
            assert_eq!(name("shop.example", path, "GET"), wanted, "{path}");
        }
        assert_eq!(name("a.cdn.example", "/admin", "GET"), "wild");
        assert_eq!(name("a.b.cdn.example", "/admin", "GET"), "admin");
        assert_eq!(name("shop.example", "/form", "POST"), "post");
        assert_eq!(name("shop.example", "/form", "GET"), "all");
    }
}
