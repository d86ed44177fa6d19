//! What the served routes need from the program: clock, randomness, sessions, the site's names.
//! One value, made at wiring time, found by the extractors in each request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;
use kernel::{Clock, Ctx, Entropy, Secret, Timestamp};

use crate::assets::Assets;
use crate::cookies::CookieError;
use crate::{BoxFuture, Caller, Csrf, Problem, SameSite, Service, SetCookie, Streams};

/// Answers who a request comes from. `identity` and `access` implement it; the program wires it.
pub trait Callers: Send + Sync {
    /// The live session of this request, if it has one. The caller's context acts as the account.
    ///
    /// # Errors
    /// A problem where sessions cannot be looked up.
    fn session<'a>(
        &'a self,
        parts: &'a Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>>;

    /// The service that holds this bearer key, if there is one.
    ///
    /// # Errors
    /// A problem where keys cannot be looked up.
    fn service<'a>(
        &'a self,
        token: &'a str,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>>;

    /// Proves the password of a caller once more. The session that asked is over with it: a
    /// successor takes its place, so that nothing that was stolen of it is worth anything.
    ///
    /// # Errors
    /// A problem that says why not; here, where nobody has a password, always.
    fn prove<'a>(
        &'a self,
        _: &'a Caller,
        _: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<Proven, Problem>> {
        Box::pin(std::future::ready(Err(Problem::password_needed())))
    }
}

/// Who proved the password once more.
#[derive(Debug)]
pub struct Proven {
    /// The caller, in the successor of the session.
    pub caller: Caller,
    /// The successor's secret.
    pub secret: Secret<String>,
    /// The successor's end.
    pub ends_at: Timestamp,
}

/// The names of the site that this listener serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What people call it; shown on every page.
    pub name: String,
    /// Where it is reached, without a slash at the end (`https://shop.example`).
    pub public_url: String,
    /// The cookie that holds the session's secret here; form tokens are bound to it.
    pub session_cookie: &'static str,
    /// Whether that cookie comes along where a person follows a link of another site.
    pub session_same_site: SameSite,
    /// The cookie by which an account knows the browsers that its owner signed in with.
    pub device_cookie: &'static str,
    /// The cookie by which an account trusts a browser without a second factor.
    pub trust_cookie: &'static str,
    /// The cookie of a sign-in that is half-way.
    pub pending_cookie: &'static str,
    /// Where a page sends a person who has to sign in.
    pub sign_in: &'static str,
    /// Where a page sends an operator who has to sign in.
    pub operator_sign_in: &'static str,
    /// Where the name in the page's head leads.
    pub home: &'static str,
}

impl Site {
    /// The shop's own site: `__Host-stagedoor`, `/auth/sign-in`.
    #[must_use]
    pub fn shop(name: &str, public_url: &str) -> Self {
        Self {
            name: name.to_owned(),
            public_url: public_url.trim_end_matches('/').to_owned(),
            session_cookie: "__Host-stagedoor",
            session_same_site: SameSite::Lax,
            device_cookie: "__Host-stagedoor_device",
            trust_cookie: "__Host-stagedoor_trust",
            pending_cookie: "__Host-stagedoor_pending",
            sign_in: "/auth/sign-in",
            operator_sign_in: "/console/sign-in",
            home: "/",
        }
    }

    /// The operators' site on its own listener: a cookie of its own, `/console/sign-in`.
    #[must_use]
    pub fn console(name: &str, public_url: &str) -> Self {
        Self {
            session_cookie: "__Host-stagedoor_console",
            session_same_site: SameSite::Strict,
            device_cookie: "__Host-stagedoor_console_device",
            trust_cookie: "__Host-stagedoor_console_trust",
            pending_cookie: "__Host-stagedoor_console_pending",
            sign_in: "/console/sign-in",
            home: "/console",
            ..Self::shop(name, public_url)
        }
    }
}

/// The waits and sizes of the stack (W5).
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until a handler must have answered; streams go on after their head.
    pub request: Duration,
    /// The largest body that any route takes; extractors have tighter bounds.
    pub body_bytes: usize,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { request: Duration::from_secs(30), body_bytes: 1024 * 1024 }
    }
}

/// What the served routes need from the program.
#[derive(Clone)]
pub struct App {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Sessions and service keys.
    pub callers: Arc<dyn Callers>,
    /// Form tokens.
    pub csrf: Csrf,
    /// The site's names.
    pub site: Arc<Site>,
    /// Style sheets, scripts and pictures.
    pub assets: Arc<Assets>,
    /// The open event streams.
    pub streams: Streams,
    /// Waits and sizes.
    pub timeouts: Timeouts,
}

impl App {
    /// An app with the house's assets and the default limits.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        callers: Arc<dyn Callers>,
        csrf: Csrf,
        site: Site,
    ) -> Self {
        Self {
            clock,
            entropy,
            callers,
            csrf,
            site: Arc::new(site),
            assets: Arc::new(Assets::house()),
            streams: Streams::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// The same app with the assets of more rooms.
    #[must_use]
    pub fn with_assets(mut self, assets: Assets) -> Self {
        self.assets = Arc::new(assets);
        self
    }

    /// The cookie that puts a browser into a session.
    ///
    /// # Errors
    /// [`CookieError`] where the name or the secret cannot stand in a cookie.
    pub fn session_cookie(
        &self,
        ctx: &Ctx,
        secret: &Secret<String>,
        ends_at: Timestamp,
    ) -> Result<SetCookie, CookieError> {
        let life_s = u32::try_from(ends_at.since(ctx.now).as_secs()).unwrap_or(u32::MAX);
        let Site { session_cookie, session_same_site, .. } = *self.site;
        SetCookie::new(session_cookie, secret.expose(), session_same_site, Some(life_s))
    }

    /// The app of a request.
    pub(crate) fn of(parts: &Parts) -> Result<&Self, Problem> {
        parts.extensions.get::<Self>().ok_or_else(Problem::not_wired)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("site", &self.site).finish_non_exhaustive()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for App {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts).cloned()
    }
}
