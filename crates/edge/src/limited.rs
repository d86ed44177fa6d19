//! The step that counts limits: alone, or together with the other nodes.

use std::sync::Arc;

use web::feed::Per;

use crate::exchange::Exchange;
use crate::limits::{Desk, Line, Rule, Said, Verdict};
use crate::refused::Refused;
use crate::routes::{Found, Rules};
use crate::step::Wait;

/// Which limits of a route a layer counts.
pub(crate) type Which = fn(&Rules) -> &Vec<Rule>;

/// Counts limits. Waits only where the store that all nodes share has to be asked.
#[derive(Clone, Copy)]
pub(crate) struct Limited(pub(crate) Which);

impl Wait for Limited {
    type Work = Asking;

    fn look(self, exchange: &mut Exchange) -> Result<Option<Asking>, Refused> {
        count(exchange, self.0)
    }

    async fn settle(asking: Asking, exchange: &mut Exchange) -> Result<(), Refused> {
        asking.settle(exchange).await
    }
}

/// Limits that the store has to be asked about.
pub(crate) struct Asking {
    desk: Arc<Desk>,
    rules: Vec<(Rule, [u8; 16])>,
    lines: Vec<Line>,
}

/// Counts as far as that needs no waiting.
fn count(exchange: &mut Exchange, which: Which) -> Result<Option<Asking>, Refused> {
    let routes;
    let found = exchange.found.clone();
    let rules = match &found {
        Found::Route(entry) => &entry.rules,
        Found::Own => {
            routes = exchange.edge.routes.load();
            &routes.own_rules
        }
        Found::OtherMethod | Found::Nothing => return Ok(None),
    };
    if rules.policy.is_none() {
        return Ok(None);
    }
    exchange.notes.policy(rules.policy.as_ref());
    let mut asking: Option<Asking> = None;
    for rule in which(rules) {
        let who = who(exchange, rule);
        let desk = exchange.edge.desk.as_ref().filter(|_| rule.is_shared());
        let said = match desk {
            Some(desk) => desk.count(rule, &who),
            None => Said::Verdict(exchange.edge.limits.count(rule, &who, exchange.now.micros())),
        };
        match (said, desk) {
            (Said::Ask(line), Some(desk)) => {
                let desk = Arc::clone(desk);
                let none = || Asking { desk, rules: Vec::new(), lines: Vec::new() };
                asking.get_or_insert_with(none).add(rule.clone(), who, line);
            }
            (said, _) => obey(exchange, rule, &said)?,
        }
    }
    Ok(asking)
}

impl Asking {
    /// Those that are asked for one by one stand last, and are granted together or not at all.
    fn add(&mut self, rule: Rule, who: [u8; 16], mut line: Line) {
        if !line.is_strict() {
            self.rules.insert(0, (rule, who));
            self.lines.insert(0, line);
            return;
        }
        if self.lines.last().is_some_and(Line::is_strict) {
            line.join();
        }
        self.rules.push((rule, who));
        self.lines.push(line);
    }

    /// Asks, or counts alone where there is no answer.
    async fn settle(self, exchange: &mut Exchange) -> Result<(), Refused> {
        let Self { desk, rules, lines } = self;
        let Some(verdicts) = desk.ask(lines).await else {
            for (rule, who) in &rules {
                obey(exchange, rule, &desk.alone(rule, who))?;
            }
            return Ok(());
        };
        let counted = || rules.iter().zip(&verdicts).map(|((rule, _), verdict)| (rule, verdict));
        for (rule, verdict) in counted() {
            exchange.notes.limit(rule, *verdict);
        }
        // Of those that were asked for together, one may just share the other's refusal.
        let refused = counted().filter(|(_, verdict)| !verdict.allowed);
        match refused.max_by_key(|(_, verdict)| verdict.wait_us) {
            Some((rule, verdict)) => Err(over(exchange, rule, *verdict)),
            None => Ok(()),
        }
    }
}

fn obey(exchange: &mut Exchange, rule: &Rule, said: &Said) -> Result<(), Refused> {
    let Said::Verdict(verdict) = said else {
        exchange.observe("edge.limit_unknown");
        let detail = "It cannot be counted just now how often this was asked.";
        return Err(Refused::new(503, "edge.limit_unknown", detail).retry_after(1));
    };
    exchange.notes.limit(rule, *verdict);
    if verdict.allowed { Ok(()) } else { Err(over(exchange, rule, *verdict)) }
}

fn over(exchange: &Exchange, rule: &Rule, verdict: Verdict) -> Refused {
    exchange.edge.observations.note(exchange.client, &rule.observed, exchange.now);
    exchange.edge.meters.limited(&rule.limit.name);
    Refused::limited(rule, verdict)
}

/// Whose request it is, as a limit counts.
fn who(exchange: &Exchange, rule: &Rule) -> [u8; 16] {
    let session = exchange.session.as_deref();
    match (rule.limit.per, session) {
        (Per::Route, _) => [0; 16],
        (Per::Session, Some(session)) => *session.id.as_bytes(),
        (Per::Account, Some(session)) => *session.account.as_bytes(),
        (Per::Client | Per::Session | Per::Account, _) => client_key(exchange.client),
    }
}

/// An IPv4 address, or the /64 of an IPv6 one, as 16 bytes.
fn client_key(client: std::net::IpAddr) -> [u8; 16] {
    match web::feed::Net::of_client(client).address() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    }
}
