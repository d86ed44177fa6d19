//! What a shop writes about its edge: `[own]`, `[[upstream]]`, `[[limit]]`, `[[route]]`, and the
//! one way from there to the feed's route table. Every mistake names its key and how to mend it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::feed::{
    Access, Limit, PathRule, Per, Protocol, Route, RouteProblem, RouteTable, RouteTimeouts,
    Sharing, Upstream, WithoutStore,
};

use crate::error::{ConfigProblem, Error};

/// The edge's part of the configuration file. All of it applies live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeConfig {
    /// `[own]`: what Stagedoor answers itself.
    pub own: OwnConfig,
    /// `[[upstream]]`: where requests can go.
    pub upstream: Vec<UpstreamConfig>,
    /// `[[limit]]`: how often; routes name them.
    pub limit: Vec<LimitConfig>,
    /// `[[route]]`: which requests go where, for whom. What no route matches is refused.
    pub route: Vec<RouteConfig>,
}

/// `[own]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnConfig {
    /// Names of limits for `/auth`, `/v1` and the other paths that Stagedoor answers. Default none.
    pub limits: Vec<String>,
    /// Whether `/healthz` is answered at the door too, for a balancer that sees nothing else: that this
    /// program runs, and no more. Default false.
    pub healthz: bool,
}

/// One `[[upstream]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Its name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// `http://host:port` or `https://host:port`, without a path.
    pub address: String,
    /// The id of an `[[upstream_tls]]`, for `https`. Default none: the public authorities vouch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The name that its certificate must hold. Default: the host of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// `http1` or `http2` (with TLS by ALPN, without by prior knowledge). Default `http1`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Requests in flight at once; more are answered 503. Default 1024, 1 to 65536.
    #[serde(default = "in_flight")]
    #[schema(minimum = 1, maximum = 65_536)]
    pub in_flight_max: u32,
    /// Idle connections kept, per worker. Default 64.
    #[serde(default = "idle")]
    pub idle_max: u32,
    /// How long an idle connection is kept, ms. Default 30000.
    #[serde(default = "idle_ms")]
    pub idle_ms: u64,
    /// How long opening a connection may take, ms. Default 2000, 50 to 60000.
    #[serde(default = "connect_ms")]
    #[schema(minimum = 50, maximum = 60_000)]
    pub connect_ms: u64,
    /// The id of the key that signs the identity headers. Default none: no identity is told.
    #[serde(default)]
    pub header_key: Option<String>,
    /// Whether the client's Host is kept. Default true.
    #[serde(default = "yes")]
    pub keep_host: bool,
}

const fn in_flight() -> u32 {
    1_024
}
const fn idle() -> u32 {
    64
}
const fn idle_ms() -> u64 {
    30_000
}
const fn connect_ms() -> u64 {
    2_000
}
const fn yes() -> bool {
    true
}

/// One `[[limit]]` (GCRA): routes that name the same limit count together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// Its name, as the RateLimit header shows it: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Whose requests are counted together: `client`, `session`, `account` or `route`.
    pub per: Per,
    /// How many, 1 to 1000000.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub requests: u32,
    /// In how many seconds, 1 to 86400.
    #[schema(minimum = 1, maximum = 86_400)]
    pub window_s: u32,
    /// How many of them at once. Default 0: all.
    #[serde(default)]
    pub burst: u32,
    /// What one request costs. Default 1.
    #[serde(default = "one")]
    pub cost: u32,
    /// Who counts, where several nodes serve: `node` (each alone), `leased` (together, off by 1 % at
    /// most) or `strict` (together and exact, one question to Redis for each request). Without
    /// `[redis]` each node counts alone. Default `leased`.
    #[serde(default)]
    pub share: Sharing,
    /// While Redis does not answer: `local` (each node lets its part pass) or `refuse`. Default
    /// `local`.
    #[serde(default)]
    pub without_store: WithoutStore,
}

const fn one() -> u32 {
    1
}

/// Who may use a route, in one word; `kinds` and `roles` narrow `session` down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Everybody.
    Open,
    /// Whoever has a live session.
    #[default]
    Session,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Hosts without port, in lower case; `*.example.com` covers one level. Default any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// This path only. Either `path` or `prefix` is wanted.
    #[serde(default)]
    pub path: Option<String>,
    /// This path and everything under it.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Methods, as `GET`. Default any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The name of the upstream.
    pub upstream: String,
    /// `open` (everybody) or `session` (whoever is signed in). Default `session`.
    #[serde(default)]
    pub access: Who,
    /// Only accounts of these kinds: `customer`, `influencer`, `wholesaler`, `staff`. Default any.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Only staff with one of these roles. Default any.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Refused while the edge does not hear of ended sessions. Default false.
    #[serde(default)]
    pub sensitive: bool,
    /// For how many seconds the edge may not hear of ended sessions before the route is refused, 1
    /// to 3600. Default: 5 where `sensitive`, no bound elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3_600)]
    pub stale_max_s: Option<u32>,
    /// Only sessions in which a second factor was proved; a device that is trusted is not enough.
    /// Default false.
    #[serde(default)]
    pub second_factor: bool,
    /// Only sessions in which the person proved who they are within so many seconds, 1 to 86400.
    /// Default: however long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub proved_within_s: Option<u32>,
    /// Names of limits. Default none.
    #[serde(default)]
    pub limits: Vec<String>,
    /// The largest request body, bytes. Default 10485760 (10 MiB).
    #[serde(default = "body")]
    pub body_max_bytes: u64,
    /// The longest pause in a request body, ms. Default 10000.
    #[serde(default = "body_idle")]
    pub body_idle_ms: u64,
    /// From the request to the upstream's response head, ms. Default 30000.
    #[serde(default = "first_byte")]
    pub first_byte_ms: u64,
    /// The whole exchange, without WebSockets and event streams, ms. Default 0: no bound.
    #[serde(default)]
    pub total_ms: u64,
    /// The longest pause in a response body, ms; 0: no bound. Default 120000.
    #[serde(default = "two_minutes")]
    pub response_idle_ms: u64,
    /// The longest silence on a WebSocket, ms. Default 120000.
    #[serde(default = "two_minutes")]
    pub websocket_idle_ms: u64,
    /// Whether a WebSocket may be opened. Default false.
    #[serde(default)]
    pub websocket: bool,
}

const fn body() -> u64 {
    10 * 1024 * 1024
}
const fn body_idle() -> u64 {
    10_000
}
const fn first_byte() -> u64 {
    30_000
}
const fn two_minutes() -> u64 {
    120_000
}

type Problems = Vec<ConfigProblem>;

fn say(problems: &mut Problems, key: String, detail: impl Into<String>) {
    problems.push(ConfigProblem { key, detail: detail.into() });
}

impl EdgeConfig {
    /// The route table that the edge is told.
    ///
    /// # Errors
    /// [`Error::Config`] with everything that is wrong.
    pub fn table(&self) -> Result<RouteTable, Error> {
        let (table, problems) = self.read();
        if problems.is_empty() { Ok(table) } else { Err(Error::Config(problems)) }
    }

    /// Everything that is wrong; empty where it can be applied.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        self.read().1
    }

    fn read(&self) -> (RouteTable, Problems) {
        let mut problems = Problems::new();
        let mut names = BTreeSet::new();
        for limit in &self.limit {
            if !names.insert(limit.name.as_str()) {
                let key = format!("[[limit]] \"{}\": name", limit.name);
                say(&mut problems, key, "used twice: give each its own name");
            }
        }
        self.bounds(&mut problems);
        // Also those that no route names.
        for limit in &self.limit {
            let alone = RouteTable { own_limits: vec![limit.limit()], ..RouteTable::default() };
            for problem in alone.problems() {
                problems.push(self.translate(&alone, &problem));
            }
        }
        let own_limits = self.limits(&mut problems, "[own]", &self.own.limits);
        let mut routes = Vec::with_capacity(self.route.len());
        for route in &self.route {
            routes.extend(self.route(&mut problems, route));
        }
        let upstreams = self.upstream.iter().map(UpstreamConfig::upstream).collect();
        let mut table = RouteTable { own_limits, upstreams, routes, ..RouteTable::default() };
        if self.own.healthz {
            table.own_prefixes.push("/healthz".to_owned());
        }
        for problem in table.problems() {
            let problem = self.translate(&table, &problem);
            // A limit that several routes name is wrong once.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        same_requests(&mut problems, &table.routes);
        (table, problems)
    }

    /// How many there may be of what the table does not count.
    fn bounds(&self, problems: &mut Problems) {
        let mut most = |key: String, found: usize, most: usize| {
            if found > most {
                say(problems, key, format!("at most {most}"));
            }
        };
        most("[[upstream]]".to_owned(), self.upstream.len(), 200);
        most("[[limit]]".to_owned(), self.limit.len(), 500);
        most("[[route]]".to_owned(), self.route.len(), 1_000);
        most("[own]: limits".to_owned(), self.own.limits.len(), 8);
        for upstream in &self.upstream {
            let key = format!("[[upstream]] \"{}\"", upstream.name);
            most(format!("{key}: address (bytes)"), upstream.address.len(), 255);
            let header_key = upstream.header_key.as_deref().unwrap_or_default();
            most(format!("{key}: header_key (bytes)"), header_key.len(), 64);
            let tls = upstream.tls.as_deref().unwrap_or_default();
            most(format!("{key}: tls (bytes)"), tls.len(), 64);
        }
        for route in &self.route {
            let key = format!("[[route]] \"{}\"", route.name);
            most(format!("{key}: hosts"), route.hosts.len(), 64);
            most(format!("{key}: methods"), route.methods.len(), 16);
            most(format!("{key}: roles"), route.roles.len(), 32);
            let stale = route.stale_max_s.map_or(0, |span_s| span_s as usize);
            most(format!("{key}: stale_max_s"), stale, 3_600);
            let path = route.path.as_ref().or(route.prefix.as_ref());
            most(format!("{key}: path (bytes)"), path.map_or(0, String::len), 1_024);
        }
    }

    fn limits(&self, problems: &mut Problems, key: &str, names: &[String]) -> Vec<Limit> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match self.limit.iter().find(|limit| limit.name == *name) {
                Some(limit) => found.push(limit.limit()),
                None => say(
                    problems,
                    format!("{key}: limits"),
                    format!("no limit is called `{name}`: add a [[limit]] or name another"),
                ),
            }
        }
        found
    }

    fn route(&self, problems: &mut Problems, route: &RouteConfig) -> Option<Route> {
        let key = format!("[[route]] \"{}\"", route.name);
        let limits = self.limits(problems, &key, &route.limits);
        let path = match (&route.path, &route.prefix) {
            (Some(path), None) => PathRule::Exact(path.clone()),
            (None, Some(prefix)) => PathRule::Prefix(prefix.clone()),
            (Some(_), Some(_)) => {
                say(problems, format!("{key}: path"), "take away `path` or `prefix`");
                return None;
            }
            (None, None) => {
                let detail = "say which requests: path = \"/one\" or prefix = \"/all-under\"";
                say(problems, format!("{key}: path"), detail);
                return None;
            }
        };
        let narrowed = !route.kinds.is_empty() || !route.roles.is_empty();
        let access = match (route.access, narrowed) {
            (Who::Open, true) => {
                let detail = "is \"open\", but `kinds` or `roles` ask for somebody: write \
                              \"session\", or take them away";
                say(problems, format!("{key}: access"), detail);
                return None;
            }
            (Who::Open, false) => Access::Open,
            (Who::Session, false) => Access::Session,
            (Who::Session, true) => {
                Access::Only { kinds: route.kinds.clone(), roles: route.roles.clone() }
            }
        };
        let asks = route.second_factor || route.proved_within_s.is_some();
        if route.access == Who::Open && asks {
            let detail = "is \"open\", but `second_factor` or `proved_within_s` ask for somebody: \
                          write \"session\", or take them away";
            say(problems, format!("{key}: access"), detail);
            return None;
        }
        check_kinds(problems, &key, &route.kinds);
        Some(route.route(path, access, limits))
    }

    /// The table's key as the file has it.
    fn translate(&self, table: &RouteTable, problem: &RouteProblem) -> ConfigProblem {
        let said = |key: String| ConfigProblem { key, detail: problem.detail.clone() };
        let Some((list, at, rest)) = split_key(&problem.key) else {
            return said(problem.key.clone());
        };
        let limit_key = |limits: Option<&Vec<Limit>>, at: usize, rest: &str| {
            let limit = limits.and_then(|limits| limits.get(at))?;
            Some(format!("[[limit]] \"{}\": {rest}", limit.name))
        };
        let key = match list {
            "own_limits" => limit_key(Some(&table.own_limits), at, rest),
            "upstreams" => self
                .upstream
                .get(at)
                .map(|upstream| format!("[[upstream]] \"{}\": {rest}", upstream.name)),
            "routes" => table.routes.get(at).and_then(|route| match split_key(rest) {
                Some(("limits", at, rest)) => limit_key(Some(&route.limits), at, rest),
                Some(_) | None => {
                    let path = match route.path {
                        PathRule::Exact(_) => "path",
                        PathRule::Prefix(_) => "prefix",
                    };
                    let rest = rest.strip_prefix("timeouts.").unwrap_or(rest);
                    let rest = if rest == "path" { path } else { rest };
                    Some(format!("[[route]] \"{}\": {rest}", route.name))
                }
            }),
            _ => None,
        };
        said(key.unwrap_or_else(|| problem.key.clone()))
    }
}

/// `routes[2].path` as `routes`, 2, `path`.
fn split_key(key: &str) -> Option<(&str, usize, &str)> {
    let (list, rest) = key.split_once('[')?;
    let (at, rest) = rest.split_once(']')?;
    Some((list, at.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

fn check_kinds(problems: &mut Problems, key: &str, kinds: &[String]) {
    const KINDS: [&str; 4] = ["customer", "influencer", "wholesaler", "staff"];
    for kind in kinds {
        if !KINDS.contains(&kind.as_str()) {
            let detail = format!("`{kind}` is none of {}", KINDS.join(", "));
            say(problems, format!("{key}: kinds"), detail);
        }
    }
}

/// Two routes that match the same requests: nobody could tell which one is used.
fn same_requests(problems: &mut Problems, routes: &[Route]) {
    let mut seen: Vec<(&Route, BTreeSet<&str>, BTreeSet<&str>)> = Vec::new();
    for route in routes {
        let set = |list: &'static str| -> BTreeSet<&str> {
            let list = if list == "hosts" { &route.hosts } else { &route.methods };
            list.iter().map(String::as_str).collect()
        };
        let (hosts, methods) = (set("hosts"), set("methods"));
        let overlaps = |a: &BTreeSet<&str>, b: &BTreeSet<&str>| {
            (a.is_empty() && b.is_empty()) || !a.is_disjoint(b)
        };
        let twin = seen.iter().find(|(other, other_hosts, other_methods)| {
            other.path == route.path
                && overlaps(&hosts, other_hosts)
                && (overlaps(&methods, other_methods)
                    || methods.is_empty()
                    || other_methods.is_empty())
        });
        if let Some((other, ..)) = twin {
            let key = format!("[[route]] \"{}\": path", route.name);
            let detail = format!(
                "matches requests that \"{}\" matches too: give them other paths, hosts or methods",
                other.name
            );
            say(problems, key, detail);
        }
        seen.push((route, hosts, methods));
    }
}

impl UpstreamConfig {
    fn upstream(&self) -> Upstream {
        Upstream {
            name: self.name.clone(),
            address: self.address.clone(),
            tls: self.tls.clone(),
            server_name: self.server_name.clone(),
            protocol: self.protocol,
            in_flight_max: self.in_flight_max,
            idle_max: self.idle_max,
            idle_ms: self.idle_ms,
            connect_ms: self.connect_ms,
            header_key: self.header_key.clone(),
            keep_host: self.keep_host,
        }
    }
}

impl LimitConfig {
    fn limit(&self) -> Limit {
        Limit {
            name: self.name.clone(),
            per: self.per,
            requests: self.requests,
            window_s: self.window_s,
            burst: self.burst,
            cost: self.cost,
            share: self.share,
            without_store: self.without_store,
        }
    }
}

impl RouteConfig {
    fn route(&self, path: PathRule, access: Access, limits: Vec<Limit>) -> Route {
        Route {
            name: self.name.clone(),
            hosts: self.hosts.clone(),
            path,
            methods: self.methods.clone(),
            upstream: self.upstream.clone(),
            access,
            sensitive: self.sensitive,
            stale_max_s: self.stale_max_s,
            second_factor: self.second_factor,
            proved_within_s: self.proved_within_s,
            limits,
            body_max_bytes: self.body_max_bytes,
            timeouts: RouteTimeouts {
                body_idle_ms: self.body_idle_ms,
                first_byte_ms: self.first_byte_ms,
                total_ms: self.total_ms,
                response_idle_ms: self.response_idle_ms,
                websocket_idle_ms: self.websocket_idle_ms,
            },
            websocket: self.websocket,
        }
    }
}
