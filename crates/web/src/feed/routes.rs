//! The route table of the feed: which request goes where, for whom, and within which bounds.
//!
//! It is data: access writes it, the edge compiles it. Unknown keys are refused, and each problem
//! names the key that is wrong and how to mend it. What no route matches is refused.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// Routes that one table may have.
const ROUTES_MAX: usize = 1_000;
/// Limits that one route may have.
const LIMITS_MAX: usize = 8;

/// All routes and upstreams in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTable {
    /// Which change of the configuration made it: an older table never replaces a newer one.
    pub revision: u64,
    /// Path prefixes that Stagedoor itself answers; they come before every route.
    pub own_prefixes: Vec<String>,
    /// Limits of the own prefixes.
    pub own_limits: Vec<Limit>,
    /// Where requests can go.
    pub upstreams: Vec<Upstream>,
    /// Which requests go there: an exact path before a prefix, the longer prefix first, a named
    /// host before a wildcard before any host.
    pub routes: Vec<Route>,
}

impl Default for RouteTable {
    fn default() -> Self {
        let own = ["/auth", "/v1", "/.well-known", "/assets"];
        Self {
            revision: 0,
            own_prefixes: own.map(str::to_owned).to_vec(),
            own_limits: Vec::new(),
            upstreams: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, in logs, limits and observations: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Hosts without port, in lower case; `*.example.com` covers one level. None: any host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The path.
    pub path: PathRule,
    /// Methods; none: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The upstream's name.
    pub upstream: String,
    /// Who may.
    pub access: Access,
    /// Refused while the feed is stale.
    #[serde(default)]
    pub sensitive: bool,
    /// For how many seconds the feed may be silent before the route is refused; none: as
    /// `sensitive` says.
    #[serde(default)]
    pub stale_max_s: Option<u32>,
    /// Only sessions that proved a second factor themselves: `acr` is `aal2` (RFC 9470).
    #[serde(default, skip_serializing_if = "is_off")]
    pub second_factor: bool,
    /// Only sessions that were proved within so many seconds (RFC 9470, `max_age`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_within_s: Option<u32>,
    /// How often.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// The largest request body, in bytes (default 10 MiB).
    #[serde(default = "body_default")]
    pub body_max_bytes: u64,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// Whether a WebSocket may be opened.
    #[serde(default)]
    pub websocket: bool,
}

impl Route {
    /// For how many seconds the feed may be silent before requests are refused; none: for ever.
    #[must_use]
    pub fn stale_after_s(&self) -> Option<u64> {
        let sensitive = self.sensitive.then_some(super::STALE_AFTER_S);
        self.stale_max_s.map(u64::from).or(sensitive)
    }
}

/// An older program knows no key that came later, and need not where nothing is asked for.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_off(asked: &bool) -> bool {
    !*asked
}

const fn body_default() -> u64 {
    10 * 1024 * 1024
}

/// Which paths. A prefix covers whole segments: `/shop` covers `/shop` and `/shop/x`, not `/shopx`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathRule {
    /// This path only.
    Exact(String),
    /// This path and everything under it.
    Prefix(String),
}

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everybody; who has a live session is still told to the upstream.
    Open,
    /// Whoever has a live session.
    Session,
    /// A live session of one of these kinds, with one of these roles. An empty list asks nothing.
    Only {
        /// Account kinds: `customer`, `influencer`, `wholesaler`, `staff`.
        #[serde(default)]
        kinds: Vec<String>,
        /// Roles.
        #[serde(default)]
        roles: Vec<String>,
    },
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// One client: an IPv4 address or an IPv6 /64.
    Client,
    /// One session; the client where there is none.
    Session,
    /// One account; the client where there is none.
    Account,
    /// All requests of the route.
    Route,
}

/// How a limit counts where several nodes serve. Without a shared store each node counts alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Each node alone: with four nodes, four times as many may pass.
    Node,
    /// All together; a node takes tokens ahead, and then decides by itself.
    #[default]
    Leased,
    /// All together, and each request is asked for.
    Strict,
}

/// What a shared limit does while the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WithoutStore {
    /// Each node lets its part pass: the limit, divided by the nodes that counted last.
    #[default]
    Local,
    /// Requests are refused.
    Refuse,
}

/// One limit (GCRA): `requests` per `window_s`, of which `burst` may come at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name, as the RateLimit header shows it: letters, digits, `-`, `_`, `.`. Rules of one
    /// name on several routes count together.
    pub name: String,
    /// Whose requests.
    pub per: Per,
    /// How many, 1 to 1,000,000.
    pub requests: u32,
    /// In how many seconds, 1 to 86,400.
    pub window_s: u32,
    /// How many at once; 0 means as many as `requests`.
    #[serde(default)]
    pub burst: u32,
    /// What one request costs (default 1).
    #[serde(default = "cost_default")]
    pub cost: u32,
    /// Who counts it.
    #[serde(default)]
    pub share: Sharing,
    /// What holds while the shared store does not answer.
    #[serde(default)]
    pub without_store: WithoutStore,
}

const fn cost_default() -> u32 {
    1
}

/// How long a request of a route may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTimeouts {
    /// The longest pause in a request body.
    pub body_idle_ms: u64,
    /// From the sent request to the upstream's response head.
    pub first_byte_ms: u64,
    /// The whole exchange, without WebSockets and event streams; 0: no bound.
    pub total_ms: u64,
    /// The longest pause in a response body; 0: no bound (event streams).
    pub response_idle_ms: u64,
    /// The longest silence on a WebSocket.
    pub websocket_idle_ms: u64,
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self {
            body_idle_ms: 10_000,
            first_byte_ms: 30_000,
            total_ms: 0,
            response_idle_ms: 120_000,
            websocket_idle_ms: 120_000,
        }
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// `http://host:port` or `https://host:port`, without a path.
    pub address: String,
    /// The id of the TLS settings for an `https` address; none: the public authorities vouch.
    #[serde(default)]
    pub tls: Option<String>,
    /// The name that its certificate must hold; none: the host of its address.
    #[serde(default)]
    pub server_name: Option<String>,
    /// The protocol spoken to it.
    #[serde(default)]
    pub protocol: Protocol,
    /// Requests in flight at once, 1 to 65,536; more are answered 503.
    #[serde(default = "in_flight_default")]
    pub in_flight_max: u32,
    /// Idle connections kept, per worker.
    #[serde(default = "idle_default")]
    pub idle_max: u32,
    /// How long an idle connection is kept, in milliseconds.
    #[serde(default = "idle_ms_default")]
    pub idle_ms: u64,
    /// How long opening a connection may take, in milliseconds.
    #[serde(default = "connect_ms_default")]
    pub connect_ms: u64,
    /// The id of the key that signs the identity headers; none: no identity is told.
    #[serde(default)]
    pub header_key: Option<String>,
    /// Whether the client's Host is kept (default); otherwise the upstream's own is sent.
    #[serde(default = "yes")]
    pub keep_host: bool,
}

const fn in_flight_default() -> u32 {
    1_024
}
const fn idle_default() -> u32 {
    64
}
const fn idle_ms_default() -> u64 {
    30_000
}
const fn connect_ms_default() -> u64 {
    2_000
}
const fn yes() -> bool {
    true
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN over TLS, by prior knowledge (RFC 9113 section 3.3) without.
    Http2,
}

/// One thing wrong with a route table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {detail}")]
pub struct RouteProblem {
    /// The key, as in `routes[2].limits[0].window_s`.
    pub key: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

type Problems = Vec<RouteProblem>;

fn say(problems: &mut Problems, key: String, detail: impl Into<String>) {
    problems.push(RouteProblem { key, detail: detail.into() });
}

impl RouteTable {
    /// Everything that is wrong; empty where the table can be put in force.
    #[must_use]
    pub fn problems(&self) -> Vec<RouteProblem> {
        let mut problems = Vec::new();
        for (at, prefix) in self.own_prefixes.iter().enumerate() {
            check_path(&mut problems, format!("own_prefixes[{at}]"), prefix);
        }
        check_limits(&mut problems, "own_limits", &self.own_limits);
        let mut upstreams = HashSet::new();
        for (at, upstream) in self.upstreams.iter().enumerate() {
            let key = format!("upstreams[{at}]");
            if !upstreams.insert(upstream.name.as_str()) {
                say(&mut problems, format!("{key}.name"), "used twice: give each its own name");
            }
            upstream.check(&mut problems, &key);
        }
        if self.routes.len() > ROUTES_MAX {
            say(&mut problems, "routes".to_owned(), format!("at most {ROUTES_MAX} routes"));
        }
        let mut names = HashSet::new();
        for (at, route) in self.routes.iter().enumerate() {
            let key = format!("routes[{at}]");
            if !names.insert(route.name.as_str()) {
                say(&mut problems, format!("{key}.name"), "used twice: give each its own name");
            }
            if !upstreams.contains(route.upstream.as_str()) {
                let detail =
                    format!("no upstream is called `{}`: add it or name another", route.upstream);
                say(&mut problems, format!("{key}.upstream"), detail);
            }
            route.check(&mut problems, &key);
        }
        problems
    }
}

impl Route {
    fn check(&self, problems: &mut Problems, key: &str) {
        check_name(problems, format!("{key}.name"), &self.name);
        let (PathRule::Exact(path) | PathRule::Prefix(path)) = &self.path;
        check_path(problems, format!("{key}.path"), path);
        for (at, host) in self.hosts.iter().enumerate() {
            let bare = host.strip_prefix("*.").unwrap_or(host);
            let good = !bare.is_empty()
                && bare.bytes().all(
                    |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'[' | b']' | b':'),
                )
                && (bare.starts_with('[') || !bare.contains(':'));
            if !good {
                let detail = "a host in lower case without port, as shop.example or *.shop.example";
                say(problems, format!("{key}.hosts[{at}]"), detail);
            }
        }
        for (at, method) in self.methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
                say(problems, format!("{key}.methods[{at}]"), "a method in upper case, as GET");
            }
        }
        check_limits(problems, &format!("{key}.limits"), &self.limits);
        if let Access::Only { kinds, roles } = &self.access
            && kinds.is_empty()
            && roles.is_empty()
        {
            let detail = "names neither kinds nor roles: name some, or write \"session\"";
            say(problems, format!("{key}.access"), detail);
        }
        if !self.proved_within_s.is_none_or(|within_s| (1..=86_400).contains(&within_s)) {
            say(problems, format!("{key}.proved_within_s"), "must be 1 to 86400");
        }
        let limits = [
            ("body_idle_ms", self.timeouts.body_idle_ms),
            ("first_byte_ms", self.timeouts.first_byte_ms),
            ("websocket_idle_ms", self.timeouts.websocket_idle_ms),
        ];
        for (name, value) in limits {
            if !(100..=86_400_000).contains(&value) {
                say(problems, format!("{key}.timeouts.{name}"), "must be 100 to 86400000");
            }
        }
    }
}

impl Upstream {
    fn check(&self, problems: &mut Problems, key: &str) {
        check_name(problems, format!("{key}.name"), &self.name);
        if self.authority().is_none() {
            let detail = "must be http://host:port or https://host:port without a path, as \
                          http://127.0.0.1:3000";
            say(problems, format!("{key}.address"), detail);
        }
        self.check_tls(problems, key);
        if !(1..=65_536).contains(&self.in_flight_max) {
            say(problems, format!("{key}.in_flight_max"), "must be 1 to 65536");
        }
        if !(50..=60_000).contains(&self.connect_ms) {
            say(problems, format!("{key}.connect_ms"), "must be 50 to 60000");
        }
    }

    fn check_tls(&self, problems: &mut Problems, key: &str) {
        for (name, value) in [("tls", &self.tls), ("server_name", &self.server_name)] {
            if value.is_some() && !self.is_secure() {
                let detail = "is for an https:// address: write one, or remove this key";
                say(problems, format!("{key}.{name}"), detail);
            }
        }
        let good = |name: &str| {
            (1..=253).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        if self.server_name.as_deref().is_some_and(|name| !good(name)) {
            let detail = "a host name without port, as shop.internal";
            say(problems, format!("{key}.server_name"), detail);
        }
    }

    /// Whether TLS is spoken to it.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.address.starts_with("https://")
    }

    /// The name that its certificate must hold; an IPv6 address without its brackets.
    #[must_use]
    pub fn expected_name(&self) -> Option<&str> {
        let host = || self.authority()?.rsplit_once(':').map(|(host, _)| host);
        let name = self.server_name.as_deref().or_else(host)?;
        Some(name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name))
    }

    /// Host and port of the address; none where it is neither `http://host:port` nor
    /// `https://host:port`.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        let address = self.address.as_str();
        let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':')?;
        let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
        (plain && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(rest)
    }
}

fn check_name(problems: &mut Problems, key: String, name: &str) {
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !good {
        say(problems, key, "1 to 64 letters, digits, `-`, `_` or `.`");
    }
}

fn check_path(problems: &mut Problems, key: String, path: &str) {
    let plain = path.starts_with('/')
        && !path.contains("//")
        && (path == "/" || !path.ends_with('/'))
        && path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'%' | b'?' | b'#' | b'\\'))
        && path.split('/').all(|segment| segment != "." && segment != "..");
    if !plain {
        let detail = "begins with `/`, has no `//`, `.`, `..`, `%` or query, and no `/` at its end";
        say(problems, key, detail);
    }
}

fn check_limits(problems: &mut Problems, key: &str, limits: &[Limit]) {
    if limits.len() > LIMITS_MAX {
        say(problems, key.to_owned(), format!("at most {LIMITS_MAX} limits on one route"));
    }
    for (at, limit) in limits.iter().enumerate() {
        let key = format!("{key}[{at}]");
        check_name(problems, format!("{key}.name"), &limit.name);
        if !(1..=1_000_000).contains(&limit.requests) {
            say(problems, format!("{key}.requests"), "must be 1 to 1000000");
        }
        if !(1..=86_400).contains(&limit.window_s) {
            say(problems, format!("{key}.window_s"), "must be 1 to 86400");
        }
        if limit.burst > 1_000_000 {
            say(problems, format!("{key}.burst"), "must be 0 to 1000000");
        }
        let at_once = if limit.burst == 0 { limit.requests } else { limit.burst };
        if limit.cost == 0 || limit.cost > at_once {
            say(problems, format!("{key}.cost"), "must be 1 to `burst`, or no request ever passes");
        }
    }
}
