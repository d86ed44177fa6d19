//! Who a request of the console's listener comes from (C1): a staff session that was opened at the
//! console's own sign-in, by the console's own cookie. Tokens and the shop's sessions count for
//! nothing.

use http::request::Parts;
use identity::{AccountKind, Client, Identity};
use kernel::{Ctx, Secret};
use web::{App, BoxFuture, Caller, Callers, Problem, Proven, Service, cookie};

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
        Ok(live.map(|live| self.0.caller(&live, visit)))
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

    fn prove<'a>(
        &'a self,
        caller: &'a Caller,
        password: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<Proven, Problem>> {
        Box::pin(async move { Ok(self.0.prove_caller(caller, password).await?) })
    }
}
