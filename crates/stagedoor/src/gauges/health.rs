//! Whether this process lives, and whether it may take traffic: each reason why not by its name.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Value, json};

use super::Observed;
use super::doors::SHOP;
use super::sample::STALE;

/// Something that must hold before traffic is taken, and why it does not.
pub(super) struct Check {
    name: &'static str,
    wrong: Option<String>,
}

fn check(name: &'static str, holds: bool, why: impl FnOnce() -> String) -> Check {
    Check { name, wrong: (!holds).then(why) }
}

/// It lives.
pub(super) fn alive(up_s: Option<u64>) -> Response {
    let document = match up_s {
        Some(up_s) => json!({ "status": "alive", "up_s": up_s }),
        None => json!({ "status": "alive" }),
    };
    json_of(StatusCode::OK, "application/json", &document)
}

fn json_of(status: StatusCode, kind: &'static str, document: &Value) -> Response {
    let head = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")];
    (status, head, format!("{document}\n")).into_response()
}

/// Says yes, or each reason why not.
pub(super) fn answer(checks: &[Check]) -> Response {
    let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
    let failing: Vec<Value> = checks
        .iter()
        .filter_map(|check| {
            let why = check.wrong.as_ref()?;
            Some(json!({ "check": check.name, "why": why }))
        })
        .collect();
    if failing.is_empty() {
        let document = json!({ "status": "ready", "checks": names });
        return json_of(StatusCode::OK, "application/json", &document);
    }
    let problem = json!({
        "type": "urn:stagedoor:problem:observe.not_ready",
        "title": "Service Unavailable",
        "status": 503,
        "code": "observe.not_ready",
        "detail": "This node takes no traffic now.",
        "failing": failing,
    });
    json_of(StatusCode::SERVICE_UNAVAILABLE, "application/problem+json", &problem)
}

impl Observed {
    /// Everything that must hold before traffic is taken.
    pub(super) fn checks(&self) -> Vec<Check> {
        let draining = self.draining.load(Ordering::Acquire);
        vec![
            check("running", !draining, || "the program is stopping".to_owned()),
            self.database_answers(),
            self.feed(),
            self.keys(),
            self.disk(),
            self.clock(),
        ]
    }

    fn database_answers(&self) -> Check {
        let sample = self.sample();
        let age = sample.at.map(|at| self.house.clock.now().since(at));
        let fresh = age.is_some_and(|age| age < STALE);
        check("database", fresh, || match age {
            Some(age) => format!("it answered last {} s ago", age.as_secs()),
            None => "it never answered".to_owned(),
        })
    }

    fn feed(&self) -> Check {
        let stale = Duration::from_secs(web::feed::STALE_AFTER_S);
        let reports = self.doors.reports(self.house.clock.as_ref());
        let shop = reports.iter().find(|(name, _)| name == SHOP);
        let silence = shop.and_then(|(_, report)| report.silence_us).map(Duration::from_micros);
        let heard = silence.is_some_and(|silence| silence <= stale);
        check("feed", heard, || match shop {
            Some(_) => "the door has heard nothing for too long".to_owned(),
            None => "the door's process is silent".to_owned(),
        })
    }

    fn keys(&self) -> Check {
        let known = !self.house.hub.snapshot().keys.keys.is_empty();
        check("keys", known, || "no key of session tokens is known".to_owned())
    }

    fn disk(&self) -> Check {
        let least = self.house.config.observe.disk_free_min_bytes;
        let least = i64::try_from(least).unwrap_or(i64::MAX);
        let free = self.house.observe.disk().last().map_or(i64::MAX, |sample| sample.free_bytes);
        check("disk", free >= least, || format!("{free} bytes are free, {least} must be"))
    }

    fn clock(&self) -> Check {
        let worst = self.house.observe.clock().worst();
        check("clock", worst < observe::MAX_OFFSET, || {
            format!("this host's clock is wrong by {} s", worst.as_secs())
        })
    }
}

impl Observed {
    /// Whether everything holds.
    pub(super) fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.wrong.is_none())
    }
}
