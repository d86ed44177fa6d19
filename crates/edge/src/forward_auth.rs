//! Answers another proxy that asks "may this pass?": nginx `auth_request`, Caddy `forward_auth`,
//! Traefik ForwardAuth.
//!
//! Only listed proxies are answered. The request is told by headers: `X-Original-URI` and
//! `X-Original-Method` (nginx), or `X-Forwarded-Uri`, `X-Forwarded-Method` and
//! `X-Forwarded-Host` (Caddy, Traefik). It passes the same stack as any other; the answer is 204
//! with the signed identity headers, or a refusal. What cannot be seen from here, the body and
//! the socket, is named in `X-Stagedoor-Unchecked`, never called passed.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use kernel::Secret;
use web::feed::Net;

use crate::body::AnswerBody;
use crate::exchange::{Answer, Exchange};
use crate::head;
use crate::refused::Refused;

/// The header that carries the shared secret.
pub const SECRET: HeaderName = HeaderName::from_static("x-stagedoor-forward-secret");
const UNCHECKED: HeaderName = HeaderName::from_static("x-stagedoor-unchecked");
const REFUSED: HeaderName = HeaderName::from_static("x-stagedoor-refused");

/// Who may ask, and where.
#[derive(Debug)]
pub struct ForwardAuth {
    /// The path of the question, as in `/-/forward-auth`.
    pub path: String,
    /// The proxies that are answered.
    pub proxies: Vec<Net>,
    /// A secret that they must send in `X-Stagedoor-Forward-Secret`; none: the address is enough.
    pub secret: Option<Secret<Vec<u8>>>,
}

/// How the asking proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// nginx understands 2xx, 401 and 403 only.
    Nginx,
    /// Caddy and Traefik pass every other answer on to the client.
    Passing,
}

/// Turns a question into the request that it is about.
pub(crate) fn question(exchange: &mut Exchange, config: &ForwardAuth) -> Result<Dialect, Refused> {
    let headers = &mut exchange.head.headers;
    let known = config.proxies.iter().any(|net| net.contains(exchange.connection.peer));
    let secret = headers.remove(SECRET);
    let proved = config
        .secret
        .as_ref()
        .is_none_or(|wanted| secret.as_ref().is_some_and(|given| wanted.matches(given.as_bytes())));
    if !known || !proved {
        return Err(Refused::new(403, "edge.forward_auth_stranger", "Not for you."));
    }
    let wrong = |what: &'static str| Refused::new(400, "edge.forward_auth_question", what);
    let mut take = |names: [&str; 2]| {
        let [first, second] = names.map(|name| headers.remove(name));
        first.or(second)
    };
    let nginx = take(["x-original-uri", "x-original-url"]);
    let dialect = if nginx.is_some() { Dialect::Nginx } else { Dialect::Passing };
    let target = nginx.or_else(|| take(["x-forwarded-uri", "x-forwarded-uri"]));
    let method = take(["x-original-method", "x-forwarded-method"]);
    let host = take(["x-original-host", "x-forwarded-host"]);
    let target = target.ok_or_else(|| wrong("X-Original-URI or X-Forwarded-Uri is missing."))?;
    let uri = Uri::try_from(target.as_bytes()).map_err(|_| wrong("The URI cannot be read."))?;
    let uri = uri.path_and_query().cloned().ok_or_else(|| wrong("The URI has no path."))?;
    exchange.head.uri = Uri::from(uri);
    let method = method.ok_or_else(|| wrong("The method is missing."))?;
    exchange.head.method =
        Method::from_bytes(method.as_bytes()).map_err(|_| wrong("The method cannot be read."))?;
    if let Some(host) = host {
        if !head::is_host(host.as_bytes()) {
            return Err(wrong("The host cannot be read."));
        }
        exchange.head.headers.insert(HOST, host);
    }
    // The question's own body is none of the request's.
    exchange.head.headers.remove(CONTENT_LENGTH);
    exchange.head.headers.remove(TRANSFER_ENCODING);
    let upgrade = exchange.head.headers.get("upgrade");
    exchange.record.websocket =
        upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    Ok(dialect)
}

/// Yes, and who it is: what a proxy is told of a request that has passed the stack.
pub(crate) fn tell(mut exchange: Box<Exchange>) -> Answer {
    let mut answer = Response::new(AnswerBody::nothing());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let ours = exchange.head.headers.drain();
    let mut last = None;
    for (name, value) in ours {
        last = name.or(last);
        if let Some(name) = &last
            && name.as_str().starts_with("x-stagedoor-")
        {
            answer.headers_mut().insert(name.clone(), value);
        }
    }
    std::mem::take(&mut exchange.notes).apply(answer.headers_mut());
    answer
}

/// Puts an answer into the asking proxy's dialect.
pub(crate) fn in_dialect(mut answer: Answer, dialect: Dialect) -> Answer {
    let status = answer.status();
    if dialect == Dialect::Nginx && !status.is_success() {
        let understood = match status {
            StatusCode::UNAUTHORIZED | StatusCode::SEE_OTHER => StatusCode::UNAUTHORIZED,
            _ => StatusCode::FORBIDDEN,
        };
        *answer.status_mut() = understood;
        answer.headers_mut().insert(REFUSED, HeaderValue::from(status.as_u16()));
    }
    answer.headers_mut().insert(UNCHECKED, HeaderValue::from_static("body,schema"));
    answer
}
