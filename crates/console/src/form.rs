//! Forms that come back, notices after an act, and where to go next.

use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use serde::Deserialize;
use web::{FieldError, LocalPath, Problem};

/// The longest reason, bytes; as the rooms have it.
const REASON_BYTES: usize = 500;

/// What was wrong with a form.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Option<Problem>);

impl Wrong {
    /// What is wrong with one field.
    pub(crate) fn of(&self, field: &str) -> Option<&str> {
        self.0.as_ref()?.field(field)
    }

    /// What is wrong with the whole, where no field is named.
    pub(crate) fn message(&self) -> Option<&str> {
        let problem = self.0.as_ref()?;
        problem.errors().is_empty().then(|| problem.detail())
    }

    /// What is wrong, where it is not this field.
    pub(crate) fn beside(&self, field: &str) -> Option<&str> {
        let problem = self.0.as_ref()?;
        match problem.errors().first() {
            None => Some(problem.detail()),
            Some(_) if problem.field(field).is_some() => None,
            Some(other) => Some(&other.detail),
        }
    }

    /// What the page shows of a problem, with its status. What is gone, and faults of our own, go
    /// on as problems.
    pub(crate) fn shown(problem: impl Into<Problem>) -> Result<(StatusCode, Self), Problem> {
        let problem = problem.into();
        let status = problem.status();
        if status.is_client_error() && status != StatusCode::NOT_FOUND {
            return Ok((status, Self(Some(problem))));
        }
        Err(problem)
    }
}

/// A problem of one field.
pub(crate) fn wrong_field(field: &str, detail: &str) -> Problem {
    Problem::invalid_fields(vec![FieldError { field: field.to_owned(), detail: detail.to_owned() }])
}

/// A form with nothing but its token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// The form of a confirmation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    #[serde(default)]
    pub(crate) reason: String,
}

impl Reason {
    /// The reason, tidied.
    ///
    /// # Errors
    /// A problem of the field `reason`.
    pub(crate) fn given(&self) -> Result<&str, Problem> {
        let reason = self.reason.trim();
        if reason.is_empty() || reason.len() > REASON_BYTES {
            return Err(wrong_field("reason", "Say why, in 1 to 500 letters."));
        }
        Ok(reason)
    }
}

/// What a page says first after an act.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct NoticeQuery {
    #[serde(default)]
    pub(crate) notice: Option<String>,
}

/// The words of a notice; unknown codes say nothing.
pub(crate) fn notice(code: Option<&str>) -> Option<&'static str> {
    Some(match code? {
        "signed-out" => "You are signed out.",
        "ended" => "Done. The sessions have ended.",
        "asked" => "Asked for. It will be done within a moment; reload to see.",
        "step-up" => "Done. The password is asked for again before anything sensitive.",
        "locked" => "The account is locked, and its sessions have ended.",
        "unlocked" => "The account is open again.",
        "blocked" => "The client is blocked.",
        "unblocked" => "The client may come in again.",
        "acknowledged" => "You take care of this alert.",
        "closed" => "The alert is closed.",
        "stopped" => "Automatic answers are stopped.",
        "resumed" => "Automatic answers go on.",
        "revoked" => "The key is revoked.",
        _ => return None,
    })
}

/// On to another page, so that a reload sends nothing again.
pub(crate) fn see_other(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// A path of the console to go on to; else where `otherwise` says.
pub(crate) fn next_or(next: &str, otherwise: &str) -> String {
    let path = next.parse::<LocalPath>().ok().filter(|path| path.as_str().starts_with("/console"));
    path.map_or_else(|| otherwise.to_owned(), |path| path.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use kernel::Kind;

    use super::*;

    #[test]
    fn next_stays_in_the_console() {
        assert_eq!(next_or("/console/alerts?a=1", "/console"), "/console/alerts?a=1");
        for away in ["/shop", "//evil.example/console", "https://x/console", "/console/../x", ""] {
            assert_eq!(next_or(away, "/console"), "/console", "{away}");
        }
    }

    // C3
    #[test]
    fn an_act_has_a_reason() {
        let given = |text: &str| Reason { reason: text.to_owned() }.given().is_ok();
        assert!(given("a ticket of today"));
        assert!(!given("") && !given(" \t ") && !given(&"x".repeat(501)));
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
        assert!(shown(Kind::Invalid) && shown(Kind::Conflict) && shown(Kind::Forbidden));
        assert!(!shown(Kind::NotFound) && !shown(Kind::Broken) && !shown(Kind::Unavailable));
    }
}
