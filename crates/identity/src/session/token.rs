//! Session tokens for the edge and the shop: signed, at most five minutes long (RFC 9068, EdDSA as
//! in RFC 8037), minted from a session only while it lives.

use kernel::{AccountId, Ctx, SessionId};
use serde::{Deserialize, Serialize};
use spine::BoxFuture;
use vault::Expected;
use web::ClientFacts;
use web::feed::{Minted, Minter};

use super::{Client, LiveSession, SESSION_COOKIE};
use crate::account::{AccountKind, StaffRole};
use crate::error::Error;
use crate::room::Identity;

/// The cookie that carries a browser's session token. The edge sets and renews it.
pub const TOKEN_COOKIE: &str = "__Host-stagedoor_token";
/// The set of keys that session tokens are signed with.
pub(super) const SIGNER: &str = "session";
/// The media type in a token's header (RFC 9068 section 2.1).
const TYPE: &str = "at+jwt";

/// What a session token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The site that signed it: its public address.
    pub iss: String,
    /// The account.
    pub sub: AccountId,
    /// Whom it is for.
    pub aud: String,
    /// When it was signed, s.
    pub iat: i64,
    /// When it ends, s.
    pub exp: i64,
    /// A name of its own.
    pub jti: String,
    /// The client that asked: `browser`, `app` or `console`.
    pub client_id: String,
    /// The session.
    pub sid: SessionId,
    /// The account's kind.
    pub kind: AccountKind,
    /// The account's staff roles.
    pub roles: Vec<StaffRole>,
    /// How the person proved who they are (RFC 8176): `pwd`, `otp`, `mfa`.
    pub amr: Vec<String>,
    /// The assurance that this gives (NIST SP 800-63B): `aal1`, `aal2`.
    pub acr: String,
    /// When they did so, s.
    pub auth_time: i64,
}

impl Identity {
    /// A token for a live session; it never outlives the session.
    fn mint_for(&self, ctx: &Ctx, session: &LiveSession) -> Result<Minted, Error> {
        let ends = ctx.now.plus(self.config().token.access()).min(session.ends_at);
        let claims = Claims {
            iss: self.site().public_url.clone(),
            sub: session.account,
            aud: self.config().token.audience.clone(),
            iat: ctx.now.seconds(),
            exp: ends.seconds(),
            jti: kernel::RequestId::generate(ctx.now, ctx.entropy()).to_string(),
            client_id: session.client.as_str().to_owned(),
            sid: session.id,
            kind: session.kind,
            roles: session.roles.clone(),
            amr: session.methods.references(),
            acr: session.methods.level().to_owned(),
            auth_time: session.auth_at.seconds(),
        };
        let token = self.vault().signer(SIGNER)?.sign_jwt(&claims, TYPE)?;
        Ok(Minted { token, expires: kernel::Timestamp::from_seconds(claims.exp) })
    }

    /// A token for the session with this id; none where it does not live.
    pub(crate) async fn mint_for_id(
        &self,
        ctx: &Ctx,
        session: SessionId,
    ) -> Result<Option<Minted>, Error> {
        let live = self.session_of_id(ctx, session).await?;
        live.map(|live| self.mint_for(ctx, &live)).transpose()
    }

    /// The live session that a signed token speaks for. The signature alone is not believed: the
    /// session is looked up, so that one that ended a moment ago is over here.
    pub(super) async fn session_of_token(
        &self,
        ctx: &Ctx,
        token: &str,
    ) -> Result<Option<LiveSession>, Error> {
        let expected = Expected {
            typ: TYPE,
            issuer: &self.site().public_url,
            audience: &self.config().token.audience,
        };
        let Ok(claims) = self.vault().signer(SIGNER)?.verify_jwt::<Claims>(token, expected) else {
            return Ok(None);
        };
        let live = self.session_of_id(ctx, claims.sid).await?;
        Ok(live.filter(|live| live.account == claims.sub))
    }

    /// The public keys that session tokens are verified with (RFC 7517), as a JSON document.
    ///
    /// # Errors
    /// As the vault says.
    pub fn jwks(&self) -> Result<serde_json::Value, Error> {
        Ok(self.vault().signer(SIGNER)?.jwks())
    }

    async fn mint_for_cookie(
        &self,
        secret: &str,
        facts: &ClientFacts,
    ) -> Result<Option<Minted>, Error> {
        let ctx = self.own_ctx().from_origin(facts.origin());
        let live = self.session_of_secret(&ctx, secret).await?;
        // A session of the console opens nothing in the shop.
        let live = live.filter(|live| live.client == Client::Browser);
        live.map(|live| self.mint_for(&ctx, &live)).transpose()
    }
}

impl Minter for Identity {
    fn mint<'a>(
        &'a self,
        session_cookie: &'a str,
        facts: &'a ClientFacts,
    ) -> BoxFuture<'a, Option<Minted>> {
        Box::pin(async move {
            match self.mint_for_cookie(session_cookie, facts).await {
                Ok(minted) => minted,
                Err(error) => {
                    tracing::error!(cookie = SESSION_COOKIE, %error, "no session token minted");
                    None
                }
            }
        })
    }
}
