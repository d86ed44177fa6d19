//! What stands around every route: circumstances, limits, panics, problems, headers. One layer,
//! read from top to bottom, so that nothing can be mounted around it.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::FutureExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::Limited;
use kernel::{Actor, Ctx, Kind, RequestId};
use tracing::Instrument as _;

use crate::csrf::{NewVisit, Sender, cross_site, sender};
use crate::{App, ClientFacts, Page, Problem, cookies, headers, negotiate, page, texts};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Puts the stack around the routes and the app into their requests. Fallbacks of the router are
/// replaced: what is not routed is a problem like any other (W1).
///
/// A `RequestId` that the listener put into the request's extensions is kept; otherwise one is
/// made. [`ClientFacts`] are the listener's to set.
pub fn serve_stack(router: Router, app: App) -> Router {
    router
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async {
            Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, "web.method", texts::METHOD)
        })
        .layer(from_fn_with_state(app, front))
}

/// What the answer depends on, kept while the request itself is used up.
struct Asked {
    app: App,
    ctx: Ctx,
    visit: NewVisit,
    html: bool,
    https: bool,
}

async fn front(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let facts = request.extensions().get::<ClientFacts>().cloned();
    let ctx = circumstances(&app, facts.as_ref(), request.extensions().get::<RequestId>());
    let route = request.extensions().get::<MatchedPath>();
    // The matched pattern, never the path: paths can hold personal data.
    let span = tracing::info_span!(
        "request",
        id = %ctx.request,
        method = %request.method(),
        route = route.map_or("none", MatchedPath::as_str),
    );
    let asked = Asked {
        html: negotiate::prefers_html(request.headers()),
        https: facts.is_some_and(|facts| facts.https),
        visit: NewVisit::default(),
        ctx,
        app,
    };
    request.extensions_mut().insert(asked.app.clone());
    request.extensions_mut().insert(asked.ctx.clone());
    request.extensions_mut().insert(asked.visit.clone());
    async move {
        let response = match admit(&asked.app, &request) {
            Ok(()) => answer(&asked, request, next).await,
            Err(problem) => problem.into_response(),
        };
        finish(&asked, response)
    }
    .instrument(span)
    .await
}

fn circumstances(app: &App, facts: Option<&ClientFacts>, request: Option<&RequestId>) -> Ctx {
    let mut ctx = Ctx::new(Actor::Nobody, app.clock.now(), app.entropy.clone());
    if let Some(facts) = facts {
        ctx = ctx.from_origin(facts.origin());
    }
    if let Some(request) = request {
        ctx.request = *request;
    }
    ctx
}

/// What is refused before any route sees it.
fn admit(app: &App, request: &Request) -> Result<(), Problem> {
    if request.uri().to_string().len() > MAX_TARGET_BYTES {
        let status = StatusCode::URI_TOO_LONG;
        return Err(Problem::with_status(status, "web.address_too_long", texts::TOO_LARGE));
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.is_some_and(|text| text.parse().map_or(true, |n: usize| n > app.timeouts.body_bytes))
    {
        return Err(too_large());
    }
    // W3: what a cookie of ours may authenticate must come from our own page.
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !safe
        && cookies::carries_ours(request.headers())
        && sender(request.headers(), &app.site) != Sender::Own
    {
        return Err(cross_site());
    }
    Ok(())
}

pub(crate) fn too_large() -> Problem {
    Problem::with_status(StatusCode::PAYLOAD_TOO_LARGE, "web.too_large", texts::TOO_LARGE)
}

/// Runs the route with its limits; a panic is a broken answer, not a lost connection.
async fn answer(asked: &Asked, request: Request, next: Next) -> Response {
    let timeouts = asked.app.timeouts;
    let request = request.map(|body| Body::new(Limited::new(body, timeouts.body_bytes)));
    let run = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(timeouts.request, run).await {
        Ok(Ok(response)) => response,
        // The panic's text is left to the hook: it may quote what the caller sent.
        Ok(Err(_)) => Problem::broken("web.panic", "a handler panicked").into_response(),
        Err(_) => Problem::new(Kind::Unavailable, "web.timeout", texts::TIMEOUT).into_response(),
    }
}

fn finish(asked: &Asked, mut response: Response) -> Response {
    let told = response.extensions_mut().remove::<Problem>().or_else(|| bare(&response));
    if let Some(problem) = told {
        log(&problem);
        response = told_as(asked, &problem, &response);
    }
    let spent = asked.app.clock.now().since(asked.ctx.now);
    tracing::debug!(status = response.status().as_u16(), spent_us = spent.as_micros(), "answered");
    let headers = response.headers_mut();
    headers::secure(headers, asked.https);
    if let Ok(id) = HeaderValue::from_str(&asked.ctx.request.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(cookie) = asked.visit.cookie() {
        cookie.add_to(headers);
    }
    response
}

/// A refusal that did not come from a room: of axum itself, or a bare status. It is told in the
/// same form as all others (W1).
fn bare(response: &Response) -> Option<Problem> {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let told = kind.starts_with(b"text/html") || kind.starts_with(b"application/");
    if told || !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    Some(Problem::with_status(status, "web.refused", texts::title(status)))
}

/// Our own faults with their chain; what callers do wrong is not news.
fn log(problem: &Problem) {
    if !problem.status().is_server_error() {
        return;
    }
    let mut chain = String::new();
    let mut next: Option<&dyn std::error::Error> = match problem.cause() {
        Some(cause) => Some(cause),
        None => None,
    };
    // A chain of errors ends; sixteen is more than any has.
    for _ in 0..16 {
        let Some(error) = next else { break };
        if !chain.is_empty() {
            chain.push_str(": ");
        }
        chain.push_str(&error.to_string());
        next = error.source();
    }
    tracing::error!(code = problem.code(), status = problem.status().as_u16(), chain, "refused");
}

fn told_as(asked: &Asked, problem: &Problem, before: &Response) -> Response {
    let mut response = match (asked.html, problem.sign_in()) {
        (true, Some(path)) => Redirect::to(path).into_response(),
        (true, None) => {
            let page = Page::plain(&asked.app, &asked.ctx);
            page::problem(page, problem)
        }
        (false, _) => problem.to_json(Some(asked.ctx.request.to_string())),
    };
    let headers = response.headers_mut();
    for (name, value) in before.headers() {
        let own = [CONTENT_TYPE, CONTENT_LENGTH].contains(name) || headers.contains_key(name);
        if !own {
            headers.append(name, value.clone());
        }
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}
