//! The cookies of a browser that comes in, goes out, or is known.

use kernel::{Ctx, Secret};
use web::{App, Problem, SameSite, SetCookie};

use crate::device::KNOWN_FOR;
use crate::gate::Pending;
use crate::session::{Opened, TOKEN_COOKIE};

/// What a browser that comes in is told to keep, and to forget.
pub(crate) type Inside = (SetCookie, SetCookie, Option<SetCookie>);

/// Puts a browser into a session: its cookie, away with any token of an earlier one, and what a
/// trusted device keeps.
///
/// # Errors
/// A broken problem where the cookie's name cannot be used.
pub fn sign_in_cookies(app: &App, ctx: &Ctx, opened: &Opened) -> Result<Inside, Problem> {
    let cookie = app.session_cookie(ctx, &opened.secret, opened.ends_at)?;
    let trust = opened.trust.as_ref().map(|trust| {
        let life_s = u32::try_from(trust.ends_at.since(ctx.now).as_secs()).unwrap_or(u32::MAX);
        let (name, secret) = (app.site.trust_cookie, trust.secret.expose());
        SetCookie::new(name, secret, SameSite::Strict, Some(life_s))
    });
    Ok((cookie, SetCookie::removed(TOKEN_COOKIE)?, trust.transpose()?))
}

/// Lets a browser go on with a sign-in that is half-way. It comes along where another site, such as a
/// provider's, sends the person back.
///
/// # Errors
/// A broken problem where the cookie's name cannot be used.
pub fn pending_cookie(app: &App, ctx: &Ctx, pending: &Pending) -> Result<SetCookie, Problem> {
    let life_s = u32::try_from(pending.ends_at.since(ctx.now).as_secs()).unwrap_or(u32::MAX);
    let (name, secret) = (app.site.pending_cookie, pending.secret.expose());
    Ok(SetCookie::new(name, secret, SameSite::Lax, Some(life_s))?)
}

/// Takes a browser out of its session.
///
/// # Errors
/// A broken problem where a cookie's name cannot be used.
pub(crate) fn sign_out_cookies(app: &App) -> Result<(SetCookie, SetCookie), Problem> {
    Ok((SetCookie::removed(app.site.session_cookie)?, SetCookie::removed(TOKEN_COOKIE)?))
}

/// Lets a browser show at its next sign-in that the account knows it.
///
/// # Errors
/// A broken problem where the cookie's name cannot be used.
pub fn device_cookie(app: &App, token: &Secret<String>) -> Result<SetCookie, Problem> {
    let life_s = u32::try_from(KNOWN_FOR.as_secs()).unwrap_or(u32::MAX);
    let name = app.site.device_cookie;
    Ok(SetCookie::new(name, token.expose(), SameSite::Strict, Some(life_s))?)
}
