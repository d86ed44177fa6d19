//! The page before an act: what will happen, a reason, and a way back (C3).

use askama::Template;
use axum::response::Response;
use web::{Page, Problem, Shape, html, html_with};

use crate::desk::Desk;
use crate::form::Wrong;

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

    /// The page again, with what was wrong.
    pub(crate) fn ask_again(
        self,
        (page, desk): (Page, Desk),
        problem: impl Into<Problem>,
        reason: &str,
    ) -> Result<Response, Problem> {
        let (status, wrong) = Wrong::shown(problem)?;
        let page = desk.shaped(page, self.title, Shape::Narrow);
        let reason = reason.to_owned();
        html_with(status, &ConfirmPage { page, desk, act: self, wrong, reason })
    }
}
