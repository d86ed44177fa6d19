//! Who asks: nobody known, a person with a live session, an operator with a role, a service with a
//! key. What a handler takes is what it needs; a page sends the unknown to sign in.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use kernel::{AccountId, Actor, Ctx, Kind, Secret, SessionId, Timestamp};

use crate::{App, LocalPath, Problem, cookie, texts};

const MAX_TOKEN_BYTES: usize = 4 * 1024;

/// The circumstances of the request; nobody is known.
#[derive(Clone, Debug)]
pub struct Visit(pub Ctx);

/// A person with a live session. `Option<Caller>` for pages that greet both.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The circumstances; the account acts.
    pub ctx: Ctx,
    /// The account.
    pub account: AccountId,
    /// The session.
    pub session: SessionId,
    /// The account's kind: `customer`, `influencer`, `wholesaler`, `staff`.
    pub kind: String,
    /// The roles of staff.
    pub roles: Vec<String>,
    /// When the person last proved who they are.
    pub auth_time: Timestamp,
    /// Whether that is recent enough for what an operator changes.
    pub fresh: bool,
}

/// A role of staff, as a type.
pub trait Role: Send + Sync + 'static {
    /// Its name, as in `roles` and in `x-access`.
    const NAME: &'static str;

    /// Whether these roles are enough. An administrator may do all.
    #[must_use]
    fn is_met_by(roles: &[String]) -> bool {
        is_met(Self::NAME, roles)
    }
}

/// Whether these roles are enough for what wants the role of this name.
pub(crate) fn is_met(name: &str, roles: &[String]) -> bool {
    match name {
        Staff::NAME => !roles.is_empty(),
        name => roles.iter().any(|role| role == name || role == Admin::NAME),
    }
}

/// May do all.
#[derive(Clone, Copy, Debug)]
pub struct Admin;
/// Helps customers.
#[derive(Clone, Copy, Debug)]
pub struct Support;
/// Reads all, changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Auditor;
/// Any of the staff, whatever their roles.
#[derive(Clone, Copy, Debug)]
pub struct Staff;

impl Role for Admin {
    const NAME: &'static str = "admin";
}
impl Role for Support {
    const NAME: &'static str = "support";
}
impl Role for Auditor {
    const NAME: &'static str = "auditor";
}
impl Role for Staff {
    const NAME: &'static str = "staff";
}

/// One of the staff with the role `R`; the operator acts.
#[derive(Clone, Debug)]
pub struct Operator<R>(pub Caller, pub PhantomData<R>);

/// What a browser shows of itself beside a session, where it shows anything.
#[derive(Debug)]
pub struct Device {
    /// The token by which an account may know it.
    pub known: Option<Secret<String>>,
    /// The secret by which an account may trust it without a second factor.
    pub trust: Option<Secret<String>>,
}

/// The secret of a sign-in that is half-way, where the browser has one.
#[derive(Debug)]
pub struct HalfWay(pub Option<Secret<String>>);

/// The shop's own service, by its bearer key.
#[derive(Clone, Debug)]
pub struct Service {
    /// The circumstances; the service acts.
    pub ctx: Ctx,
    /// What its key may do (`facts`).
    pub scopes: Vec<String>,
}

impl Service {
    /// Refuses a key without this scope.
    ///
    /// # Errors
    /// [`Kind::Forbidden`].
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.scopes.iter().any(|held| held == scope) {
            return Ok(());
        }
        let detail = format!("This key lacks the scope `{scope}`. Use one that has it.");
        Err(Problem::new(Kind::Forbidden, "web.scope", detail))
    }
}

fn visit(parts: &Parts) -> Result<&Ctx, Problem> {
    parts.extensions.get::<Ctx>().ok_or_else(Problem::not_wired)
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        visit(parts).cloned().map(Self)
    }
}

/// The answer of this request's session look-up, so that it is asked once.
#[derive(Clone)]
pub(crate) struct Known(pub(crate) Option<Caller>);

pub(crate) async fn known(parts: &mut Parts) -> Result<Option<Caller>, Problem> {
    if let Some(Known(caller)) = parts.extensions.get::<Known>() {
        return Ok(caller.clone());
    }
    let app = App::of(parts)?;
    let caller = app.callers.session(parts, visit(parts)?).await?;
    parts.extensions.insert(Known(caller.clone()));
    Ok(caller)
}

/// A 401 that, as a page, leads to the sign-in and back.
fn sign_in(parts: &Parts, page: &str) -> Problem {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // Only a page can be come back to.
    let next = (parts.method == Method::GET).then(|| target.parse::<LocalPath>().ok()).flatten();
    let path = next.map_or_else(|| page.to_owned(), |next| next.as_next_of(page));
    Problem::unauthenticated().sign_in_at(path)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if let Some(caller) = known(parts).await? {
            return Ok(caller);
        }
        let page = App::of(parts)?.site.sign_in;
        Err(sign_in(parts, page))
    }
}

impl<S: Send + Sync> axum::extract::OptionalFromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        known(parts).await
    }
}

impl<R: Role, S: Send + Sync> FromRequestParts<S> for Operator<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(mut caller) = known(parts).await? else {
            let page = App::of(parts)?.site.operator_sign_in;
            return Err(sign_in(parts, page));
        };
        if caller.kind != "staff" || !R::is_met_by(&caller.roles) {
            return Err(Problem::forbidden());
        }
        caller.ctx = caller.ctx.acted_by(Actor::Operator { id: Some(caller.account) });
        Ok(Self(caller, PhantomData))
    }
}

/// The value of a cookie that holds a secret.
fn secret_cookie(parts: &Parts, name: &str) -> Option<Secret<String>> {
    cookie(&parts.headers, name).map(|secret| Secret::new(secret.to_owned()))
}

impl<S: Send + Sync> FromRequestParts<S> for Device {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let site = &App::of(parts)?.site;
        let (known, trust) = (site.device_cookie, site.trust_cookie);
        Ok(Self { known: secret_cookie(parts, known), trust: secret_cookie(parts, trust) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for HalfWay {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(secret_cookie(parts, App::of(parts)?.site.pending_cookie)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Service {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let app = App::of(parts)?;
        let refused =
            || Problem::new(Kind::Unauthenticated, "web.service_key", texts::UNAUTHENTICATED);
        let token = bearer(parts).ok_or_else(refused)?;
        app.callers.service(token, visit(parts)?).await?.ok_or_else(refused)
    }
}

/// The bearer token (RFC 6750 section 2.1): one header, at most 4 kB.
fn bearer(parts: &Parts) -> Option<&str> {
    let mut all = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let fine = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    fine.then_some(token)
}
