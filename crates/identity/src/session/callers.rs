//! Who a request comes from: a browser by its cookie, an app by its signed token.

use http::header::AUTHORIZATION;
use http::request::Parts;
use kernel::{Actor, Ctx, Secret};
use spine::BoxFuture;
use web::{App, Caller, Callers, Problem, Proven, Service, cookie};

use super::{Client, LiveSession, Opened, SESSION_COOKIE};
use crate::error::Error;
use crate::password::ConfirmPassword;
use crate::room::Identity;

/// The session part of [`Callers`]; service keys are another room's.
#[derive(Clone, Debug)]
pub struct SessionCallers(pub Identity);

/// The cookie of the site that this request came to, with the client whose sessions it may hold: a
/// session of the shop opens nothing at the console, and the other way round.
fn cookie_of(parts: &Parts) -> Option<(&str, Client)> {
    let name = parts.extensions.get::<App>().map_or(SESSION_COOKIE, |app| app.site.session_cookie);
    cookie(&parts.headers, name).map(|secret| (secret, client_of(name)))
}

/// What signs in where sessions have a cookie of this name.
pub(crate) fn client_of(session_cookie: &str) -> Client {
    if session_cookie == SESSION_COOKIE { Client::Browser } else { Client::Console }
}

/// A bearer token that could be one of ours: three parts, so never an API key.
fn bearer_of(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let ours = scheme.eq_ignore_ascii_case("bearer")
        && token.len() <= 4_096
        && token.matches('.').count() == 2;
    ours.then_some(token)
}

impl Identity {
    /// A live session as pages and APIs know it.
    #[must_use]
    pub fn caller(&self, live: &LiveSession, visit: &Ctx) -> Caller {
        Caller {
            ctx: visit.acted_by(Actor::Account { id: live.account, session: Some(live.id) }),
            account: live.account,
            session: live.id,
            kind: live.kind.as_str().to_owned(),
            roles: live.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            auth_time: live.auth_at,
            fresh: self.is_fresh(visit, live),
        }
    }

    /// Proves the password of a caller once more; what follows is done in the successor of the
    /// session (I8).
    ///
    /// # Errors
    /// As [`Identity::confirm_password`].
    pub async fn prove_caller(
        &self,
        caller: &Caller,
        password: &Secret<String>,
    ) -> Result<Proven, Error> {
        let (account, session) = (caller.account, caller.session);
        let command = ConfirmPassword { account, session, password: password.clone() };
        let Opened { session, secret, ends_at, .. } =
            self.confirm_password(&caller.ctx, command).await?.opened;
        let actor = Actor::Account { id: account, session: Some(session) };
        let ctx = caller.ctx.acted_by(actor);
        let auth_time = ctx.now;
        let caller = Caller { ctx, session, auth_time, fresh: true, ..caller.clone() };
        Ok(Proven { caller, secret, ends_at })
    }
}

impl SessionCallers {
    async fn find(&self, parts: &Parts, visit: &Ctx) -> Result<Option<Caller>, Error> {
        // A token in the header says who asks on purpose; a cookie comes along by itself.
        let live = match (bearer_of(parts), cookie_of(parts)) {
            (Some(token), _) => self.0.session_of_token(visit, token).await?,
            (None, Some((secret, client))) => {
                let live = self.0.session_of_secret(visit, secret).await?;
                live.filter(|live| live.client == client)
            }
            (None, None) => None,
        };
        Ok(live.map(|live| self.0.caller(&live, visit)))
    }
}

impl Callers for SessionCallers {
    fn session<'a>(
        &'a self,
        parts: &'a Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        Box::pin(async move { Ok(self.find(parts, visit).await?) })
    }

    fn service<'a>(
        &'a self,
        _token: &'a str,
        _visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn prove<'a>(
        &'a self,
        caller: &'a Caller,
        password: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<Proven, Problem>> {
        Box::pin(async move { Ok(self.0.prove_caller(caller, password).await?) })
    }
}
