//! What follows a form that was taken: another page, and the cookies of a session.

use axum::response::{IntoResponse, Redirect, Response};
use kernel::Ctx;
use web::{App, LocalPath, Problem, SameSite, SetCookie};

use crate::session::{Opened, TOKEN_COOKIE};

/// A path to go on to, where it stays on this site; else where `otherwise` says.
pub(crate) fn next_or(next: Option<&str>, otherwise: &str) -> String {
    next.and_then(|next| next.parse::<LocalPath>().ok())
        .map_or_else(|| otherwise.to_owned(), |path| path.as_str().to_owned())
}

/// The answer to a form that was taken: on to another page, so that a reload sends nothing again.
pub(crate) fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Puts a browser into a session: its cookie, and away with any token of an earlier one.
///
/// # Errors
/// A broken problem where the cookie's name cannot be used.
pub(crate) fn sign_in_cookies(
    app: &App,
    ctx: &Ctx,
    opened: &Opened,
) -> Result<(SetCookie, SetCookie), Problem> {
    let life_s = u32::try_from(opened.ends_at.since(ctx.now).as_secs()).unwrap_or(u32::MAX);
    let secret = opened.secret.expose();
    let cookie = SetCookie::new(app.site.session_cookie, secret, SameSite::Lax, Some(life_s))?;
    Ok((cookie, SetCookie::removed(TOKEN_COOKIE)?))
}

/// Takes a browser out of its session.
///
/// # Errors
/// A broken problem where a cookie's name cannot be used.
pub(crate) fn sign_out_cookies(app: &App) -> Result<(SetCookie, SetCookie), Problem> {
    Ok((SetCookie::removed(app.site.session_cookie)?, SetCookie::removed(TOKEN_COOKIE)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_never_leaves_the_site() {
        assert_eq!(next_or(Some("/cart?step=2"), "/"), "/cart?step=2");
        for away in
            ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", ""]
        {
            assert_eq!(next_or(Some(away), "/"), "/", "{away}");
        }
        assert_eq!(next_or(None, "/"), "/");
    }
}
