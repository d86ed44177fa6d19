//! The stack: what every request passes, in this order, and nothing else decides.
//!
//! 1. [`Facts`]: hygiene of what hyper read, the client behind trusted proxies, and away with
//!    every header that only we may set or that belongs to one connection
//! 2. [`Blocked`]: clients that the feed blocks
//! 3. [`Routed`]: the path in its one form, the route, the size of the body
//! 4. [`Limited`]: limits per client and per route; waits where other nodes count too
//! 5. [`Awaited`]: whether this edge has seen the position that the caller carries
//! 6. [`Known`]: whose session it is; an expired token is minted anew
//! 7. [`Limited`]: limits per session and per account
//! 8. [`Admitted`]: whether the route is for them
//! 9. [`Fresh`]: whether what we know is fresh enough for the route
//! 10. [`Told`]: the signed identity headers
//!
//! What has passed comes out at the other end, to be forwarded ([`crate::proxy`]) or told to
//! another proxy ([`crate::forward_auth`]).

use std::convert::Infallible;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, ORIGIN, VIA};
use tower::{Service, ServiceBuilder};
use web::feed::{Access, Route, Standing};

use crate::awaited::{self, Awaited};
use crate::body::Pace;
use crate::exchange::{Exchange, SESSION_COOKIE, TOKEN_COOKIE, contains, has_our_cookies};
use crate::fields::{Fields, strip, strip_hop_by_hop};
use crate::forwarded;
use crate::head::{self, Flaw};
use crate::limited::Limited;
use crate::path;
use crate::refused::Refused;
use crate::routes::Found;
use crate::session::TokenFault;
use crate::step::{Check, Decision, Passed, Wait, checks, waits};
use crate::token::members;
use crate::trace::{TRACEPARENT, TRACESTATE};

/// The whole stack.
pub(crate) fn stack()
-> impl Service<Box<Exchange>, Response = Decision, Error = Infallible, Future: Send + 'static> {
    ServiceBuilder::new()
        .layer(checks::<Facts>())
        .layer(checks::<Blocked>())
        .layer(checks::<Routed>())
        .layer(waits(Limited(|rules| &rules.before)))
        .layer(waits(Awaited))
        .layer(waits(Known))
        .layer(waits(Limited(|rules| &rules.after)))
        .layer(checks::<Admitted>())
        .layer(checks::<Fresh>())
        .layer(checks::<Told>())
        .service(Passed)
}

/// Who the client is, and what of its words may go on.
struct Facts;

impl Check for Facts {
    fn check(exchange: &mut Exchange) -> Result<(), Refused> {
        if let Some(flaw) = exchange.record.flaw {
            exchange.observe(flaw.code());
            return Err(Refused::flaw(flaw));
        }
        // Read before it is taken away: the upstream is not told.
        exchange.must_see = awaited::wanted(&exchange.head.headers)?;
        if let Err(flaw) = tidy(exchange) {
            exchange.observe(flaw.code());
            return Err(Refused::flaw(flaw));
        }
        let edge = Arc::clone(&exchange.edge);
        if exchange.connection.trusted {
            let headers = &exchange.head.headers;
            let lists = headers.get_all(forwarded_for()).iter().map(http::HeaderValue::as_bytes);
            exchange.client = forwarded::client(exchange.connection.peer, lists, &edge.trusted);
            let proto = headers.get("x-forwarded-proto");
            exchange.https |= proto.is_some_and(|proto| proto == "https");
        }
        if exchange.fields.has(Fields::VIA) && headers_via_loop(exchange) {
            exchange.observe("edge.loop");
            return Err(Refused::new(508, "edge.loop", "The request came back to where it was."));
        }
        Ok(())
    }
}

const fn forwarded_for() -> HeaderName {
    HeaderName::from_static("x-forwarded-for")
}

fn headers_via_loop(exchange: &Exchange) -> bool {
    let mut via = exchange.head.headers.get_all(VIA).iter();
    via.any(|value| contains(value.as_bytes(), exchange.edge.pseudonym.as_bytes()))
}

/// Fields that `Connection` must not name away (they mean something to the upstream).
const KEPT: [&[u8]; 12] = [
    b"host",
    b"cookie",
    b"authorization",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"origin",
    b"referer",
    b"forwarded",
    b"via",
    b"expect",
    b"user-agent",
];

/// Checks what both versions of HTTP share, puts Host in place, and strips.
fn tidy(exchange: &mut Exchange) -> Result<(), Flaw> {
    let head = &mut exchange.head;
    // Of HTTP/1, the recorder has seen to it.
    if head.headers.len() > exchange.edge.bounds.fields_max {
        return Err(Flaw::TooManyFields);
    }
    if !head::is_method(head.method.as_str().as_bytes()) {
        return Err(Flaw::Method);
    }
    let fields = Fields::of(&head.headers);
    if head.version >= http::Version::HTTP_2 {
        one_host(head)?;
        if fields.has(Fields::CONNECTION) || fields.has(Fields::UPGRADE) {
            return Err(Flaw::Connection);
        }
    }
    if fields.has(Fields::EXPECT)
        && let Some(expect) = head.headers.remove(EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Flaw::Expectation);
    }
    if fields.has(Fields::CONNECTION) {
        named_away(&head.headers)?;
    }
    strip_hop_by_hop(&mut head.headers, fields);
    if fields.has(Fields::OURS) {
        strip(&mut head.headers, |name| name.starts_with("x-stagedoor-"));
    }
    if fields.has(Fields::TRACE) && !exchange.connection.trusted {
        head.headers.remove(TRACEPARENT);
        head.headers.remove(TRACESTATE);
    }
    // CGI and its heirs read an underscore as if it were a hyphen.
    if fields.has(Fields::UNDERSCORE) {
        strip(&mut head.headers, |name| name.contains('_'));
    }
    exchange.fields = fields;
    Ok(())
}

/// HTTP/2 names the host in `:authority`; a Host besides must say the same.
fn one_host(head: &mut http::request::Parts) -> Result<(), Flaw> {
    let authority = head.uri.authority().ok_or(Flaw::HostMissing)?.as_str();
    if !head::is_host(authority.as_bytes()) {
        return Err(Flaw::HostValue);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    if hosts.any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(Flaw::HostMismatch);
    }
    let host = authority.parse().map_err(|_| Flaw::HostValue)?;
    head.headers.insert(HOST, host);
    Ok(())
}

/// `Connection` must not name away what means something to the upstream.
fn named_away(headers: &http::HeaderMap) -> Result<(), Flaw> {
    for value in headers.get_all(CONNECTION) {
        for name in members(value.as_bytes()) {
            let lower = name.to_ascii_lowercase();
            let ours = lower.starts_with(b"x-stagedoor-") || lower.starts_with(b"x-forwarded-");
            if ours || KEPT.contains(&lower.as_slice()) {
                return Err(Flaw::Connection);
            }
        }
    }
    Ok(())
}

/// Clients that the feed blocks.
struct Blocked;

impl Check for Blocked {
    fn check(exchange: &mut Exchange) -> Result<(), Refused> {
        if exchange.edge.blocks.load().of(exchange.client, exchange.now).is_none() {
            return Ok(());
        }
        exchange.observe("edge.blocked");
        Err(Refused::new(403, "edge.blocked", "Requests from here are not taken.").closing())
    }
}

/// Where it goes.
struct Routed;

impl Check for Routed {
    fn check(exchange: &mut Exchange) -> Result<(), Refused> {
        let target = exchange.head.uri.path();
        let query = exchange.head.uri.query().unwrap_or_default();
        let path = match path::decoded(target) {
            Ok(path) if path::is_query(query) => path,
            Ok(_) | Err(_) => {
                exchange.observe(Flaw::Path.code());
                return Err(Refused::flaw(Flaw::Path));
            }
        };
        let host = exchange.head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = without_port(host.unwrap_or_default());
        let routes = exchange.edge.routes.load();
        let found = routes.find(host, &path, exchange.head.method.as_str());
        let pace = match &found {
            Found::Own => Pace {
                max_bytes: exchange.edge.bounds.own_body_max_bytes,
                idle: std::time::Duration::from_secs(10),
                min_bytes: exchange.edge.bounds.body_min_bytes,
            },
            Found::Route(entry) => Pace {
                max_bytes: entry.route.body_max_bytes,
                idle: entry.body_idle,
                min_bytes: exchange.edge.bounds.body_min_bytes,
            },
            Found::OtherMethod => {
                return Err(Refused::new(405, "edge.method", "Not with this method."));
            }
            Found::Nothing => {
                return Err(Refused::new(404, "edge.no_route", "There is nothing here."));
            }
        };
        let length = exchange.fields.has(Fields::LENGTH);
        let length = length.then(|| exchange.head.headers.get(CONTENT_LENGTH)).flatten();
        let length = length.and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if length > pace.max_bytes {
            let detail = format!("The body may have at most {} bytes.", pace.max_bytes);
            return Err(Refused::new(413, "edge.body_too_large", detail).closing());
        }
        if exchange.record.websocket && !found.takes_websocket() {
            return Err(Refused::new(403, "edge.no_websocket", "No WebSocket here."));
        }
        exchange.body.set_pace(pace);
        exchange.found = found;
        Ok(())
    }
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if !host.ends_with(']') => host.get(..at).unwrap_or(host),
        _ => host,
    }
}

/// Whose session it is. Waits for identity when the token has expired.
#[derive(Clone, Copy)]
struct Known;

impl Wait for Known {
    type Work = String;

    fn look(self, exchange: &mut Exchange) -> Result<Option<String>, Refused> {
        // Our own paths look at the cookies themselves.
        if matches!(exchange.found, Found::Own) {
            return Ok(None);
        }
        Ok(recognise(exchange))
    }

    async fn settle(cookie: String, exchange: &mut Exchange) -> Result<(), Refused> {
        remint(exchange, cookie).await;
        Ok(())
    }
}

/// Finds the session of a request; gives the session cookie where identity must be asked.
fn recognise(exchange: &mut Exchange) -> Option<String> {
    let headers = &exchange.head.headers;
    exchange.our_cookies = exchange.fields.has(Fields::COOKIE) && has_our_cookies(headers);
    if !exchange.our_cookies && !exchange.fields.has(Fields::AUTHORIZATION) {
        return None;
    }
    let token = exchange.cookie(TOKEN_COOKIE).map(|token| (token, true));
    let token = token.or_else(|| bearer(exchange).map(|token| (token, false)));
    let mut from_header = false;
    if let Some((token, from_cookie)) = token {
        match exchange.edge.session(token, exchange.now) {
            Ok((session, Standing::Live)) => {
                exchange.session = Some(session);
                from_header = !from_cookie;
            }
            Ok((_, Standing::Ended)) => exchange.claim_fault = Some("session.ended"),
            Ok((_, Standing::Unknown)) => exchange.claim_fault = Some("session.unknown"),
            // Another bearer token may be the upstream's own.
            Err(_) if !from_cookie => {}
            Err(fault) => exchange.claim_fault = Some(fault.code()),
        }
    }
    if from_header {
        exchange.head.headers.remove(AUTHORIZATION);
    }
    if exchange.session.is_some() || exchange.edge.minter.is_none() {
        note_fault(exchange);
        return None;
    }
    let cookie = exchange.cookie(SESSION_COOKIE).filter(|cookie| cookie.len() <= 512);
    let cookie = cookie.map(str::to_owned);
    if cookie.is_none() {
        note_fault(exchange);
    }
    cookie
}

fn note_fault(exchange: &Exchange) {
    if let Some(code) = exchange.claim_fault
        && code != TokenFault::Expired.code()
    {
        exchange.observe(code);
    }
}

fn bearer(exchange: &Exchange) -> Option<&str> {
    let value = exchange.head.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_ascii())
}

/// Asks identity for a new token, once for all requests of a session that ask at the same time.
async fn remint(exchange: &mut Exchange, cookie: String) {
    let edge = Arc::clone(&exchange.edge);
    let Some(minted) = edge.mint(cookie, exchange.facts()).await else {
        exchange.claim_fault = exchange.claim_fault.or(Some("session.not_live"));
        note_fault(exchange);
        return;
    };
    match edge.session(&minted.token, exchange.now) {
        // Identity has just said that it lives; only an end that came since speaks against it.
        Ok((session, Standing::Live | Standing::Unknown)) => {
            let age_s = session.expires.since(exchange.now).as_secs();
            let cookie = format!(
                "{TOKEN_COOKIE}={}; Path=/; Max-Age={age_s}; Secure; HttpOnly; SameSite=Lax",
                minted.token
            );
            exchange.notes.cookie(cookie.parse().ok());
            exchange.session = Some(session);
            exchange.claim_fault = None;
        }
        Ok((_, Standing::Ended)) => exchange.claim_fault = Some("session.ended"),
        Err(fault) => {
            tracing::warn!(code = fault.code(), "identity minted a token that does not verify");
            exchange.claim_fault = Some(fault.code());
        }
    }
}

/// Where a person proves a second factor in a session.
const STEP_UP: &str = "/auth/step-up";
/// Where a person proves the password in a session.
const CONFIRM: &str = "/auth/confirm";

/// Whether the route is for them.
struct Admitted;

impl Check for Admitted {
    fn check(exchange: &mut Exchange) -> Result<(), Refused> {
        let Some(entry) = exchange.entry().cloned() else { return Ok(()) };
        let Some(session) = &exchange.session else {
            if entry.route.access == Access::Open {
                return Ok(());
            }
            return Err(unknown(exchange));
        };
        if !entry.admits(&session.kind, &session.roles) {
            exchange.observe("edge.forbidden");
            return Err(Refused::new(403, "edge.forbidden", "This is not for your account."));
        }
        if !entry.is_proved(session, exchange.now) {
            exchange.observe("edge.step_up");
            return Err(step_up(exchange, &entry.route));
        }
        // Browsers send cookies with a WebSocket from any page: only our own pages may open one.
        if exchange.record.websocket && !is_own_origin(exchange) {
            exchange.observe("edge.foreign_origin");
            let detail = "Another site's page may not open this.";
            return Err(Refused::new(403, "edge.foreign_origin", detail));
        }
        Ok(())
    }
}

fn unknown(exchange: &Exchange) -> Refused {
    let code = exchange.claim_fault.unwrap_or("edge.unauthenticated");
    let page = exchange.edge.sign_in_path.as_str();
    elsewhere(exchange, code, page).unwrap_or_else(|| Refused::new(401, code, "Sign in first."))
}

/// A session that must prove more before this route (RFC 9470).
fn step_up(exchange: &Exchange, route: &Route) -> Refused {
    const CODE: &str = "edge.step_up";
    let page = if route.second_factor { STEP_UP } else { CONFIRM };
    elsewhere(exchange, CODE, page).unwrap_or_else(|| {
        let mut challenge = r#"Bearer error="insufficient_user_authentication""#.to_owned();
        if route.second_factor {
            challenge.push_str(r#", acr_values="aal2""#);
        }
        if let Some(within_s) = route.proved_within_s {
            challenge.push_str(&format!(r#", max_age="{within_s}""#));
        }
        Refused::new(401, CODE, "Prove once more who you are.").challenge(challenge)
    })
}

/// A page navigation is sent to a page of ours, which leads back.
fn elsewhere(exchange: &Exchange, code: &'static str, page: &str) -> Option<Refused> {
    if !exchange.is_navigation() || exchange.record.websocket {
        return None;
    }
    let target = exchange.head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut location = String::with_capacity(target.len().saturating_add(32));
    location.push_str(page);
    location.push_str("?next=");
    push_encoded(&mut location, target);
    Some(Refused::see_other(code, location))
}

/// Percent-encodes everything but unreserved characters and `/`.
fn push_encoded(to: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

fn is_own_origin(exchange: &Exchange) -> bool {
    let headers = &exchange.head.headers;
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let scheme: &[u8] = if exchange.https { b"https://" } else { b"http://" };
    origin.as_bytes().strip_prefix(scheme).is_some_and(|named| named.eq_ignore_ascii_case(host))
}

/// Whether what we know is fresh enough.
struct Fresh;

impl Check for Fresh {
    fn check(exchange: &mut Exchange) -> Result<(), Refused> {
        let span_s = exchange.entry().and_then(|entry| entry.route.stale_after_s());
        if span_s.is_none_or(|span_s| !exchange.edge.is_silent(span_s, exchange.now)) {
            return Ok(());
        }
        exchange.observe("edge.stale");
        let detail = "It cannot be checked just now whether this is still allowed.";
        Err(Refused::new(503, "edge.stale", detail).retry_after(5))
    }
}

/// The signed identity headers.
struct Told;

impl Check for Told {
    fn check(exchange: &mut Exchange) -> Result<(), Refused> {
        let mut headers = std::mem::take(&mut exchange.head.headers);
        sign(exchange, &exchange.head.uri, &mut headers);
        exchange.head.headers = headers;
        Ok(())
    }
}

/// Signs the identity headers of a request for `uri`, each time with another nonce.
pub(crate) fn sign(exchange: &Exchange, uri: &http::Uri, headers: &mut http::HeaderMap) {
    let Some(entry) = exchange.entry() else { return };
    let (Some(session), Some(key)) = (&exchange.session, &entry.upstream.key) else { return };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let stamp = (exchange.edge.clock.now(), exchange.edge.nonce());
    key.sign((exchange.head.method.as_str(), target), &session.headers, stamp, headers);
}
