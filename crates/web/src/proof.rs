//! Before an operator changes a fact, the password was proved lately (W7). One layer around every
//! assembled route asks for it, so that no operation can forget to: a page comes back with all that
//! was typed and a field for the password, a program gets a refusal with a stable code.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use kernel::{Ctx, Secret};

use crate::api::{Access, Effect, Operation};
use crate::extract::{Known, Sent, is_form, is_met, known};
use crate::{App, Caller, Page, Problem, SetCookie, Shape, cookies, csrf, html_with, negotiate};

/// The field in which the password is typed to prove who acts.
pub(crate) const FIELD: &str = "proof";

/// The operations that ask for a proof, by path and method, with the role that each wants.
type Guarded = BTreeMap<(String, &'static str), String>;

/// Asks for a fresh proof before what an operator changes.
pub(crate) fn guard(router: Router, operations: &[Operation]) -> Router {
    let guarded: Guarded = operations
        .iter()
        .filter(|operation| operation.effect == Effect::Fact)
        .filter_map(|operation| match &operation.access {
            Access::Operator(role) => {
                Some(((operation.path.clone(), operation.method), role.clone()))
            }
            Access::Public | Access::Session | Access::Service(_) => None,
        })
        .collect();
    router.layer(from_fn_with_state(Arc::new(guarded), admit))
}

async fn admit(State(guarded): State<Arc<Guarded>>, request: Request, next: Next) -> Response {
    let Some(role) = wanted(&guarded, &request) else { return next.run(request).await };
    match prove(request, role).await {
        Ok(Admitted { request, cookie }) => {
            let mut response = next.run(request).await;
            if let Some(cookie) = cookie {
                cookie.add_to(response.headers_mut());
            }
            response
        }
        Err(refused) => refused.into_response(),
    }
}

fn wanted<'a>(guarded: &'a Guarded, request: &Request) -> Option<&'a str> {
    let path = request.extensions().get::<MatchedPath>()?.as_str();
    let at = |((known, method), _): &(&(String, &'static str), &String)| {
        known == path && request.method() == *method
    };
    guarded.iter().find(at).map(|(_, role)| role.as_str())
}

/// A request that goes on, with the cookie of the session's successor where one was made.
struct Admitted {
    request: Request,
    cookie: Option<SetCookie>,
}

/// What is answered instead.
enum Refused {
    Problem(Problem),
    Page(Response),
}

impl Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Page(page) => page,
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn prove(request: Request, role: &str) -> Result<Admitted, Refused> {
    let (mut parts, body) = request.into_parts();
    let Some(caller) = known(&mut parts).await?.filter(|caller| is_stale(caller, role)) else {
        // Fresh; or nobody who may, whom the operation itself refuses.
        return Ok(Admitted { request: Request::from_parts(parts, body), cookie: None });
    };
    if !is_form(&parts.headers) {
        return Err(Problem::password_needed().into());
    }
    let sent = Sent::read(&parts, body).await?;
    let Some(password) = sent.proof.as_ref().filter(|typed| !typed.expose().is_empty()) else {
        return Err(ask(parts, &sent, Problem::password_needed(), None).await);
    };
    let proven = match App::of(&parts)?.callers.prove(&caller, password).await {
        Ok(proven) => proven,
        // What another try can mend; a session that ended meanwhile has nothing to prove.
        Err(problem)
            if [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::TOO_MANY_REQUESTS]
                .contains(&problem.status()) =>
        {
            let said = problem.errors().first().map_or(problem.detail(), |error| &error.detail);
            let said = said.to_owned();
            return Err(ask(parts, &sent, problem, Some(said)).await);
        }
        Err(problem) => return Err(problem.into()),
    };
    let cookie = App::of(&parts)?.session_cookie(&caller.ctx, &proven.secret, proven.ends_at);
    let cookie = cookie.map_err(Problem::from)?;
    let body = go_on(&mut parts, &sent, &proven.secret, &caller.ctx)?;
    parts.extensions.insert(Known(Some(proven.caller)));
    Ok(Admitted { request: Request::from_parts(parts, body), cookie: Some(cookie) })
}

fn is_stale(caller: &Caller, role: &str) -> bool {
    caller.kind == "staff" && is_met(role, &caller.roles) && !caller.fresh
}

/// The form as the operation reads it: in the successor of the session, with a token that is bound
/// to it.
fn go_on(
    parts: &mut Parts,
    sent: &Sent,
    secret: &Secret<String>,
    ctx: &Ctx,
) -> Result<Body, Problem> {
    let app = App::of(parts)?.clone();
    cookies::replace(&mut parts.headers, app.site.session_cookie, secret.expose())?;
    parts.headers.remove(CONTENT_LENGTH);
    let token = csrf::token_of(&app, secret.expose(), ctx);
    Ok(Body::from(sent.encoded(Some(&token))))
}

#[derive(Template)]
#[template(path = "proof.html")]
struct ProofPage<'a> {
    page: Page,
    fields: &'a [(String, String)],
    /// What is wrong with the password that was typed.
    wrong: Option<&'a str>,
}

/// The page that asks for the password and keeps what was typed; for programs, the problem.
async fn ask(mut parts: Parts, sent: &Sent, problem: Problem, wrong: Option<String>) -> Refused {
    if !negotiate::prefers_html(&parts.headers) {
        return problem.into();
    }
    let page = match Page::from_request_parts(&mut parts, &()).await {
        Ok(page) => page.titled("Enter your password", Shape::Narrow),
        Err(problem) => return problem.into(),
    };
    let shown = ProofPage { page, fields: &sent.fields, wrong: wrong.as_deref() };
    match html_with(problem.status(), &shown) {
        Ok(mut response) => {
            problem.add_headers(&mut response);
            Refused::Page(response)
        }
        Err(problem) => problem.into(),
    }
}
