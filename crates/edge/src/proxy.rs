//! Forwards what has passed the stack: to our own paths in this process, or to an upstream.
//! Bodies stream both ways; nothing is gathered.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, COOKIE, FORWARDED, HOST, SET_COOKIE, VIA};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use tokio::time::Instant;
use tower::ServiceExt as _;
use tracing::{Instrument as _, Span};
use web::feed::{Protocol, Standing};

use crate::body::{AnswerBody, BodyFault, RequestBody};
use crate::exchange::{Answer, Exchange, SESSION_COOKIE, forwarded};
use crate::fields::{Fields, strip, strip_hop_by_hop};
use crate::long_lived::{Owner, Place};
use crate::refused::Refused;
use crate::routes::{Entry, Found};
use crate::stack;
use crate::trace::TRACEPARENT;
use crate::tunnel;
use crate::upstream::{FromUpstream, SendFault, Source, Upstream};

/// The head of a request as it came, in the extensions of requests to our own paths: order, case
/// and spaces of its fields tell programs apart. Empty for HTTP/2.
#[derive(Clone, Debug)]
pub struct RawHead(pub bytes::Bytes);

/// In the extensions of an answer of our own paths: core did not answer, and this is not its word.
#[derive(Clone, Copy, Debug)]
pub struct CoreGone;

/// Answers a request that has passed the stack.
pub(crate) async fn pass_on(exchange: Box<Exchange>) -> Answer {
    match exchange.found.clone() {
        // The usual way is not boxed: it is the one whose cost counts.
        Found::Route(entry) if !exchange.record.websocket => forward(exchange, entry).await,
        Found::Route(entry) => Box::pin(tunnel::open(exchange, entry)).await,
        Found::Own => Box::pin(own(exchange)).await,
        Found::OtherMethod | Found::Nothing => {
            exchange.refuse(Refused::new(404, "edge.no_route", "There is nothing here."))
        }
    }
}

/// Our own paths are answered by core, in this process or another.
async fn own(mut exchange: Box<Exchange>) -> Answer {
    let facts = exchange.facts();
    exchange.page = exchange.wants_page();
    let body = std::mem::replace(&mut exchange.body, RequestBody::none());
    let mut request = Request::new(axum::body::Body::new(body));
    *request.method_mut() = exchange.head.method.clone();
    *request.uri_mut() = exchange.head.uri.clone();
    *request.version_mut() = exchange.head.version;
    *request.headers_mut() = std::mem::take(&mut exchange.head.headers);
    request.extensions_mut().insert(facts);
    request.extensions_mut().insert(RawHead(std::mem::take(&mut exchange.record.raw)));
    let span = exchange.trace.as_ref().map_or_else(Span::none, |trace| trace.span().clone());
    if let Some(trace) = &exchange.trace {
        request.headers_mut().insert(TRACEPARENT, trace.told());
    }
    let core = exchange.edge.core.clone();
    let Ok(response) = core.oneshot(request).instrument(span).await;
    if response.extensions().get::<CoreGone>().is_some() {
        let refused = Refused::new(503, "edge.core_gone", "This is not answered just now.");
        return exchange.refuse(refused.retry_after(1));
    }
    let (mut head, body) = response.into_parts();
    exchange.notes.apply(&mut head.headers);
    Response::from_parts(head, AnswerBody::core(body))
}

async fn forward(mut exchange: Box<Exchange>, entry: Arc<Entry>) -> Answer {
    let Some(permit) = entry.upstream.enter() else {
        let refused = Refused::new(503, "edge.upstream_full", "Too many requests are under way.");
        return exchange.refuse(refused.retry_after(1));
    };
    let protocol = entry.upstream.config.protocol;
    let mut request = match outgoing(&mut exchange, &entry.upstream, protocol) {
        Ok(request) => request,
        Err(refused) => return exchange.refuse(refused),
    };
    let span = traced(&exchange, &entry, &mut request);
    let times = &entry.route.timeouts;
    let began = Instant::now();
    let until = (times.total_ms > 0).then(|| began + Duration::from_millis(times.total_ms));
    let anew = |request: &mut Request<RequestBody>| {
        let uri = request.uri().clone();
        stack::sign(&exchange, &uri, request.headers_mut());
    };
    let sent = entry.upstream.send(request, times, &exchange.edge.background, anew);
    let sent = match until {
        Some(until) => tokio::time::timeout_at(until, sent).await.unwrap_or(Err(SendFault::Late)),
        None => sent.await,
    };
    entry.metered.meters.upstream_took(began.elapsed());
    if let Ok(response) = &sent {
        span.record("status", response.status().as_u16());
    }
    drop(span);
    let response = match sent {
        Ok(response) => response,
        Err(fault) => {
            let refused = no_answer(&exchange, &entry, fault);
            return exchange.refuse(refused);
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it: what follows would be read as HTTP by one side only.
        let refused = Refused::new(502, "edge.upstream_switched", "The shop answered wrongly.");
        return exchange.refuse(refused.closing());
    }
    let idle = Duration::from_millis(times.response_idle_ms);
    let idle = (times.response_idle_ms > 0).then_some(idle);
    let events = is_event_stream(response.headers());
    let place = match events.then(|| place(&exchange)) {
        Some(Err(refused)) => return exchange.refuse(refused),
        Some(Ok(place)) => Some(place),
        None => None,
    };
    // An event stream may be silent for as long as nothing happens.
    let (idle, until) = if events { (None, None) } else { (idle, until) };
    let wrap =
        |source: Source| AnswerBody::upstream(FromUpstream::new(source, permit, idle, until));
    incoming(exchange, response.map(wrap), place)
}

/// Begins the upstream's span where the request is traced, and tells the upstream of it.
fn traced(exchange: &Exchange, entry: &Entry, request: &mut Request<RequestBody>) -> Span {
    let Some(trace) = &exchange.trace else { return Span::none() };
    let name = &entry.upstream.config.name;
    let (span, told) = trace.upstream(exchange.edge.entropy.as_ref(), name);
    request.headers_mut().insert(TRACEPARENT, told);
    span
}

/// A place among the long-lived streams, unless the session has ended just now.
pub(crate) fn place(exchange: &Exchange) -> Result<Place, Refused> {
    let session = exchange.session.as_ref();
    let owner = Owner {
        session: session.map(|session| (session.id, session.account)),
        client: exchange.client,
    };
    let Some(place) = exchange.edge.long_lived.enter(owner) else {
        let refused = Refused::new(503, "edge.streams_full", "Too many streams are open.");
        return Err(refused.retry_after(5));
    };
    // An end between the check and the place would be missed by both.
    let ended = session.is_some_and(|session| exchange.edge.standing(session) == Standing::Ended);
    if ended { Err(Refused::new(401, "session.ended", "Sign in first.")) } else { Ok(place) }
}

fn no_answer(exchange: &Exchange, entry: &Entry, fault: SendFault) -> Refused {
    let upstream = entry.upstream.config.name.as_str();
    match exchange.fate.as_ref().and_then(crate::body::Fate::fault) {
        Some(BodyFault::TooLarge) => {
            let detail = format!("The body may have at most {} bytes.", entry.route.body_max_bytes);
            return Refused::new(413, "edge.body_too_large", detail).closing();
        }
        Some(BodyFault::Slow) => {
            return Refused::new(408, "edge.body_slow", "The body came too slowly.").closing();
        }
        Some(BodyFault::Broken | BodyFault::Response | BodyFault::Closed) => {
            return Refused::new(400, "edge.body_broken", "The body broke off.").closing();
        }
        None => {}
    }
    tracing::warn!(upstream, ?fault, "no answer from an upstream");
    unanswered(fault).closing()
}

/// What is said where an upstream did not answer.
pub(crate) fn unanswered(fault: SendFault) -> Refused {
    match fault {
        SendFault::Late => {
            Refused::new(504, "edge.upstream_late", "The shop does not answer in time.")
        }
        SendFault::Unproved => {
            let detail = "The shop cannot prove that it is the shop.";
            Refused::new(502, "edge.upstream_unproved", detail)
        }
        SendFault::Gone | SendFault::Body => {
            Refused::new(502, "edge.upstream_gone", "The shop cannot be reached.")
        }
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The request as the upstream gets it.
pub(crate) fn outgoing(
    exchange: &mut Exchange,
    upstream: &Upstream,
    protocol: Protocol,
) -> Result<Request<RequestBody>, Refused> {
    exchange.page = exchange.wants_page();
    let mut headers = std::mem::take(&mut exchange.head.headers);
    if exchange.our_cookies {
        hide_cookies(&mut headers);
    }
    tell_way(exchange, &mut headers);
    if !upstream.config.keep_host {
        headers.insert(HOST, upstream.host.clone());
    }
    headers.append(VIA, exchange.edge.via.clone());
    let body = std::mem::replace(&mut exchange.body, RequestBody::none());
    let mut request = Request::new(body);
    *request.method_mut() = exchange.head.method.clone();
    *request.uri_mut() = match protocol {
        Protocol::Http1 => origin_form(&mut exchange.head.uri),
        Protocol::Http2 => {
            let host = headers.remove(HOST);
            let secure = upstream.config.is_secure();
            absolute_form(&exchange.head.uri, host.as_ref(), secure)
                .ok_or_else(|| Refused::new(400, "hygiene.target", "The target is not usable."))?
        }
    };
    *request.headers_mut() = headers;
    Ok(request)
}

/// Path and query only; the same bytes that were matched.
fn origin_form(uri: &mut Uri) -> Uri {
    if uri.authority().is_none() && uri.scheme().is_none() {
        return uri.clone();
    }
    let target = uri.path_and_query().cloned();
    target.map_or_else(|| Uri::from(PathAndQuery::from_static("/")), Uri::from)
}

fn absolute_form(uri: &Uri, host: Option<&HeaderValue>, secure: bool) -> Option<Uri> {
    let authority = Authority::try_from(host?.as_bytes()).ok()?;
    let target = uri.path_and_query()?.clone();
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).ok()
}

/// The session's secrets are nobody's but ours: the upstream gets the signed headers instead.
fn hide_cookies(headers: &mut HeaderMap) {
    let ours = SESSION_COOKIE.as_bytes();
    let mut kept = Vec::new();
    for value in headers.get_all(COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            if !pair.is_empty() && !pair.starts_with(ours) {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(pair);
            }
        }
    }
    headers.remove(COOKIE);
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(kept))
        && !value.is_empty()
    {
        headers.insert(COOKIE, value);
    }
}

/// Tells the upstream the way that the request came. What a stranger said of it is dropped;
/// what a trusted proxy said is continued.
fn tell_way(exchange: &Exchange, headers: &mut HeaderMap) {
    let connection = &exchange.connection;
    let proto = HeaderValue::from_static(if exchange.https { "https" } else { "http" });
    let host = headers.get(HOST).cloned();
    if connection.trusted {
        let mut line = Vec::new();
        for value in headers.get_all(X_FORWARDED_FOR) {
            line.extend_from_slice(value.as_bytes());
            line.extend_from_slice(b", ");
        }
        line.extend_from_slice(connection.peer_text.as_bytes());
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(line)) {
            headers.insert(X_FORWARDED_FOR, value);
        }
        let way = host.as_ref().and_then(|h| forwarded(exchange.client, exchange.https, h));
        set_or_remove(headers, FORWARDED, way);
    } else {
        headers.insert(X_FORWARDED_FOR, connection.peer_text.clone());
        let way = host.as_ref().and_then(|host| connection.forwarded(host));
        set_or_remove(headers, FORWARDED, way);
    }
    headers.insert(X_FORWARDED_PROTO, proto);
    set_or_remove(headers, X_FORWARDED_HOST, host);
    if exchange.fields.has(Fields::WAY) {
        headers.remove("x-real-ip");
        headers.remove("x-forwarded-port");
    }
}

fn set_or_remove(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// The answer as the client gets it.
pub(crate) fn incoming(
    exchange: Box<Exchange>,
    mut answer: Answer,
    place: Option<Place>,
) -> Answer {
    let fields = Fields::of(answer.headers());
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        strip_hop_by_hop(answer.headers_mut(), fields);
    }
    let headers = answer.headers_mut();
    // An upstream may neither speak in our name nor set our cookies.
    if fields.has(Fields::OURS) {
        strip(headers, |name| name.starts_with("x-stagedoor-"));
    }
    if fields.has(Fields::SET_COOKIE) {
        keep_cookies(headers);
    }
    headers.append(VIA, exchange.edge.via.clone());
    exchange.notes.apply(headers);
    if let Some(place) = place {
        answer.body_mut().watch(place);
    }
    answer
}

/// Removes our cookies from an upstream's answer.
fn keep_cookies(headers: &mut HeaderMap) {
    let ours = |value: &HeaderValue| value.as_bytes().trim_ascii().starts_with(b"__Host-stagedoor");
    if headers.get_all(SET_COOKIE).iter().any(ours) {
        let kept: Vec<HeaderValue> =
            headers.get_all(SET_COOKIE).iter().filter(|value| !ours(value)).cloned().collect();
        headers.remove(SET_COOKIE);
        for value in kept {
            headers.append(SET_COOKIE, value);
        }
    }
}
