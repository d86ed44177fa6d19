//! What an edge counts. Each request adds to counters that its route already holds: no name is
//! looked up and no lock is taken. Refusals, which cost more than that anyway, are found by code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use meter::{Buckets, Counter, Histogram, Named};
use serde::{Deserialize, Serialize};

use crate::head::Flaw;

/// Routes, and limits, that are counted one by one.
const NAMES_MAX: usize = 1_000;

/// Codes of refusals besides those of [`Flaw`].
const CODES: [&str; 36] = [
    "edge.behind",
    "edge.blocked",
    "edge.body_broken",
    "edge.body_slow",
    "edge.body_too_large",
    "edge.core_gone",
    "edge.forbidden",
    "edge.foreign_origin",
    "edge.forward_auth_question",
    "edge.forward_auth_stranger",
    "edge.http2_flood",
    "edge.limit_unknown",
    "edge.limited",
    "edge.loop",
    "edge.method",
    "edge.no_route",
    "edge.no_websocket",
    "edge.position",
    "edge.proxy_protocol",
    "edge.stale",
    "edge.streams_full",
    "edge.tls",
    "edge.too_many_connections",
    "edge.unauthenticated",
    "edge.upstream_full",
    "edge.upstream_gone",
    "edge.upstream_late",
    "edge.upstream_switched",
    "edge.upstream_unproved",
    "session.ended",
    "session.not_live",
    "session.token_claims",
    "session.token_expired",
    "session.token_form",
    "session.token_key",
    "session.token_signature",
];

/// What a door counted, and how it stands; it travels between processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Routes by name; `(own)` are our own paths, `(none)` is what no route takes.
    pub routes: Vec<RouteReport>,
    /// What was refused, by the problem's code; also connections that never became a request.
    pub refusals: Vec<(String, u64)>,
    /// Requests that met a limit, by its name.
    pub limits: Vec<(String, u64)>,
    /// Connections that were taken, and that are open.
    pub connections: (u64, usize),
    /// Long-lived streams that are open.
    pub streams: usize,
    /// Deltas of the feed that were folded in, and snapshots that were loaded whole.
    pub feed: (u64, u64),
    /// How long the feed has been silent, microseconds; none where nothing was ever heard.
    pub silence_us: Option<u64>,
}

/// What was counted of one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Its name.
    pub name: String,
    /// Answers by class of their status, 1xx to 5xx.
    pub answers: [u64; 5],
    /// From a request's head to its answer's.
    pub duration: Buckets,
    /// From a request to the upstream to the head of its answer.
    pub upstream: Buckets,
}

/// What is counted of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteMeters {
    /// Answers by class of their status, 1xx to 5xx.
    answers: [Counter; 5],
    /// From a request's head to its answer's.
    duration: Histogram,
    /// The upstream's part of it.
    upstream: Histogram,
}

impl RouteMeters {
    pub(crate) fn answered(&self, status: StatusCode, span: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.answers.get(class) {
            counter.inc();
        }
        self.duration.observe(span);
    }

    pub(crate) fn upstream_took(&self, span: Duration) {
        self.upstream.observe(span);
    }

    fn report(&self, name: String) -> RouteReport {
        RouteReport {
            name,
            answers: self.answers.each_ref().map(Counter::get),
            duration: self.duration.read(),
            upstream: self.upstream.read(),
        }
    }
}

/// A route's counters under its name.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) meters: Arc<RouteMeters>,
}

/// What an edge counts.
#[derive(Debug)]
pub(crate) struct Meters {
    routes: Named<RouteMeters>,
    limits: Named<Counter>,
    own: Route,
    none: Route,
    refused: HashMap<&'static str, Counter>,
    other: Counter,
    pub(crate) taken: Counter,
    pub(crate) deltas: Counter,
    pub(crate) loads: Counter,
}

impl Default for Meters {
    fn default() -> Self {
        let routes = Named::at_most(NAMES_MAX);
        let route = |name: &str| Route { name: name.into(), meters: routes.of(name) };
        let (own, none) = (route("(own)"), route("(none)"));
        let codes = Flaw::ALL.iter().map(|flaw| flaw.code()).chain(CODES);
        Self {
            own,
            none,
            routes,
            limits: Named::at_most(NAMES_MAX),
            refused: codes.map(|code| (code, Counter::default())).collect(),
            other: Counter::default(),
            taken: Counter::default(),
            deltas: Counter::default(),
            loads: Counter::default(),
        }
    }
}

impl Meters {
    /// A route's counters; they outlive the route table, by the route's name.
    pub(crate) fn route(&self, name: &str) -> Route {
        Route { name: name.into(), meters: self.routes.of(name) }
    }

    /// Those of our own paths.
    pub(crate) const fn own(&self) -> &Route {
        &self.own
    }

    /// Those of requests that no route takes.
    pub(crate) const fn none(&self) -> &Route {
        &self.none
    }

    pub(crate) fn refused(&self, code: &'static str) {
        self.refused.get(code).unwrap_or(&self.other).inc();
    }

    pub(crate) fn limited(&self, limit: &str) {
        self.limits.of(limit).inc();
    }

    /// What was counted so far.
    pub(crate) fn report(&self) -> Report {
        let routes = self.routes.all().into_iter();
        let limits = self.limits.all().into_iter();
        let refused = self.refused.iter().map(|(code, count)| ((*code).to_owned(), count.get()));
        let other = (Named::<Counter>::OTHER.to_owned(), self.other.get());
        let mut refusals: Vec<(String, u64)> = refused.chain([other]).collect();
        refusals.sort_unstable();
        Report {
            routes: routes.map(|(name, meters)| meters.report(name)).collect(),
            refusals,
            limits: limits.map(|(name, count)| (name, count.get())).collect(),
            connections: (self.taken.get(), 0),
            feed: (self.deltas.get(), self.loads.get()),
            ..Report::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each code that a source of this crate refuses with has its counter.
    #[test]
    fn every_refusal_is_counted_by_its_code() {
        let meters = Meters::default();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        let mut seen = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            for call in text.split("Refused::new(").skip(1) {
                let Some((_, rest)) = call.split_once(", \"") else { continue };
                let (code, _) = rest.split_once('"').unwrap();
                if code.starts_with("edge.") && call.find(", \"").unwrap() < 20 {
                    assert!(meters.refused.contains_key(code), "{code} has no counter");
                    seen += 1;
                }
            }
        }
        assert!(seen > 20, "only {seen} refusals were found");
        assert_eq!(meters.refused.len(), Flaw::ALL.len() + CODES.len());
    }

    #[test]
    fn an_answer_stands_in_its_class_and_an_unknown_code_among_the_others() {
        let meters = Meters::default();
        let route = meters.route("shop").meters;
        route.answered(StatusCode::NOT_FOUND, Duration::from_millis(3));
        meters.refused("edge.tls");
        meters.refused("edge.unheard_of");
        let report = meters.report();
        let shop = report.routes.iter().find(|route| route.name == "shop").unwrap();
        assert_eq!(shop.answers, [0, 0, 0, 1, 0]);
        let of = |code: &str| report.refusals.iter().find(|(name, _)| name == code).unwrap().1;
        assert_eq!((of("edge.tls"), of("(other)")), (1, 1));
    }
}
