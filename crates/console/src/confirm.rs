//! The page before an act: what will happen, a reason, and a way back (C3).

use askama::Template;
use axum::response::Response;
use serde::Deserialize;
use web::{Page, Problem, Shape, Wrong, html, html_with, wrong_field};

use crate::desk::Desk;

/// The longest reason, bytes; as the rooms have it.
const REASON_BYTES: usize = 500;

/// What is confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// The heading.
    pub(crate) title: &'static str,
    /// What will happen.
    pub(crate) text: &'static str,
    /// What it will happen to.
    pub(crate) target: String,
    /// Where the form goes.
    pub(crate) action: String,
    /// What its button says.
    pub(crate) button: &'static str,
    /// The way back.
    pub(crate) back: String,
}

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

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    page: Page,
    desk: Desk,
    act: Act,
    wrong: Wrong,
    reason: String,
}

impl Act {
    /// The page.
    pub(crate) fn ask(self, page: Page, desk: Desk) -> Result<Response, Problem> {
        let page = desk.shaped(page, self.title, Shape::Narrow);
        let (wrong, reason) = (Wrong::default(), String::new());
        html(&ConfirmPage { page, desk, act: self, wrong, reason })
    }

    /// Does it for the reason that was given; the page again where there is none, or where what was
    /// to be done is refused.
    pub(crate) async fn carry_out(
        self,
        (page, desk): (Page, Desk),
        form: &Reason,
        act: impl AsyncFnOnce(&str) -> Result<Response, Problem>,
    ) -> Result<Response, Problem> {
        let done = match form.given() {
            Ok(reason) => act(reason).await,
            Err(problem) => Err(problem),
        };
        match done {
            Ok(response) => Ok(response),
            Err(problem) => {
                let (status, wrong) = Wrong::shown(problem)?;
                let page = desk.shaped(page, self.title, Shape::Narrow);
                let reason = form.reason.clone();
                html_with(status, &ConfirmPage { page, desk, act: self, wrong, reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // C3
    #[test]
    fn an_act_has_a_reason() {
        let given = |text: &str| Reason { reason: text.to_owned() }.given().is_ok();
        assert!(given("a ticket of today"));
        assert!(!given("") && !given(" \t ") && !given(&"x".repeat(501)));
    }
}
