//! Who a request of the console's listener comes from (C1): a staff session that was opened at the
//! console's own sign-in, by the console's own cookie. Tokens and the shop's sessions count for
//! nothing.

use http::request::Parts;
use identity::{AccountKind, Client, Identity};
use kernel::{Actor, Ctx};
use web::{App, BoxFuture, Caller, Callers, Problem, Service, cookie};

/// The sessions of the console.
#[derive(Clone, Debug)]
pub struct OperatorCallers(pub Identity);

impl OperatorCallers {
    async fn find(&self, parts: &Parts, visit: &Ctx) -> Result<Option<Caller>, Problem> {
        let Some(app) = parts.extensions.get::<App>() else { return Ok(None) };
        let Some(secret) = cookie(&parts.headers, app.site.session_cookie) else {
            return Ok(None);
        };
        let live = self.0.session_of_secret(visit, secret).await?;
        let live =
            live.filter(|live| live.client == Client::Console && live.kind == AccountKind::Staff);
        Ok(live.map(|live| Caller {
            ctx: visit.acted_by(Actor::Account { id: live.account, session: Some(live.id) }),
            account: live.account,
            session: live.id,
            kind: live.kind.as_str().to_owned(),
            roles: live.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            auth_time: live.auth_at,
        }))
    }
}

impl Callers for OperatorCallers {
    fn session<'a>(
        &'a self,
        parts: &'a Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        Box::pin(self.find(parts, visit))
    }

    fn service<'a>(
        &'a self,
        _token: &'a str,
        _visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
