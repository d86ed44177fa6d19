//! Forms that come back with what is wrong, and where to go on to after one that was taken.

use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;

use crate::{FieldError, LocalPath, Problem};

/// A form with nothing but its token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// What was wrong with a form, for the page that shows it again.
#[derive(Debug, Default)]
pub struct Wrong(Option<Problem>);

impl Wrong {
    /// What the page shows of a problem, with its status. What is gone, what must wait, and faults
    /// of our own go on as problems.
    ///
    /// # Errors
    /// The problem, where the form cannot mend it.
    pub fn shown(problem: impl Into<Problem>) -> Result<(StatusCode, Self), Problem> {
        let problem = problem.into();
        let status = problem.status();
        let is_mended = status.is_client_error()
            && ![StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        if is_mended { Ok((status, Self(Some(problem)))) } else { Err(problem) }
    }

    /// What is wrong with one field.
    #[must_use]
    pub fn of(&self, field: &str) -> Option<&str> {
        self.0.as_ref()?.field(field)
    }

    /// What is wrong with the whole, where no field is named.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        let problem = self.0.as_ref()?;
        problem.errors().is_empty().then(|| problem.detail())
    }

    /// Whether anything is.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.0.is_some()
    }

    /// What is wrong, where it is not this field.
    #[must_use]
    pub fn beside(&self, field: &str) -> Option<&str> {
        let problem = self.0.as_ref()?;
        match problem.errors().first() {
            None => Some(problem.detail()),
            Some(_) if problem.field(field).is_some() => None,
            Some(other) => Some(&other.detail),
        }
    }
}

/// A problem of one field.
#[must_use]
pub fn wrong_field(field: &str, detail: &str) -> Problem {
    Problem::invalid_fields(vec![FieldError { field: field.to_owned(), detail: detail.to_owned() }])
}

/// The answer to a form that was taken: on to another page, so that a reload sends nothing again.
#[must_use]
pub fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A path to go on to, where it stays on this site and begins with `within`; else `otherwise`.
#[must_use]
pub fn next_or(next: &str, within: &str, otherwise: &str) -> String {
    let inside = |path: &LocalPath| {
        let rest = path.as_str().strip_prefix(within);
        rest.is_some_and(|rest| {
            within.ends_with('/') || rest.is_empty() || rest.starts_with(['/', '?'])
        })
    };
    let path = next.parse::<LocalPath>().ok().filter(inside);
    path.map_or_else(|| otherwise.to_owned(), |path| path.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use kernel::Kind;

    use super::*;

    // W4
    #[test]
    fn next_never_leaves_the_site_nor_its_part() {
        assert_eq!(next_or("/cart?step=2", "/", "/home"), "/cart?step=2");
        assert_eq!(next_or("/console/alerts?a=1", "/console", "/console"), "/console/alerts?a=1");
        for away in ["//evil.example/console", "https://x/console", "/\\evil", "javascript:1", ""] {
            assert_eq!(next_or(away, "/", "/home"), "/home", "{away}");
            assert_eq!(next_or(away, "/console", "/console"), "/console", "{away}");
        }
        for outside in ["/shop", "/console/../x"] {
            assert_eq!(next_or(outside, "/console", "/console"), "/console", "{outside}");
        }
    }

    #[test]
    fn a_wrong_field_that_the_page_does_not_have_is_said_above() {
        let wrong = Wrong(Some(wrong_field("account", "is nobody")));
        assert_eq!(wrong.beside("reason"), Some("is nobody"));
        let wrong = Wrong(Some(wrong_field("reason", "is missing")));
        assert_eq!((wrong.beside("reason"), wrong.of("reason")), (None, Some("is missing")));
        assert_eq!(Wrong::default().beside("reason"), None);
    }

    #[test]
    fn forms_show_what_a_person_can_mend() {
        let shown = |kind| Wrong::shown(Problem::new(kind, "x.y", "what")).is_ok();
        for mended in [Kind::Invalid, Kind::Unauthenticated, Kind::Conflict, Kind::Forbidden] {
            assert!(shown(mended), "{mended:?}");
        }
        let limited = Kind::Limited { retry_after_s: 1 };
        for other in [Kind::NotFound, limited, Kind::Broken, Kind::Unavailable] {
            assert!(!shown(other), "{other:?}");
        }
    }
}
