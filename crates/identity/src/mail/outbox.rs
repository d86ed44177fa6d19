//! The outbox for development and the demo: letters are kept in memory and shown on a page. It is
//! mounted only where the configuration asks for it: whoever sees the page can take over accounts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use spine::BoxFuture;

use super::{Mail, MailError, MailId, Mailer};

/// Letters that are kept; the oldest goes.
const KEPT_MAX: usize = 200;

/// A letter that was kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The letter's name.
    pub id: MailId,
    /// The letter.
    pub mail: Mail,
}

/// Keeps letters instead of sending them. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    kept: Arc<Mutex<VecDeque<Kept>>>,
}

impl Outbox {
    /// The letters, newest first.
    #[must_use]
    pub fn letters(&self) -> Vec<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().cloned().collect()
    }

    /// Keeps a letter, once.
    fn keep(&self, id: MailId, mail: &Mail) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|known| known.id == id) {
            return;
        }
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept { id, mail: mail.clone() });
    }
}

impl Mailer for Outbox {
    fn send<'a>(&'a self, id: MailId, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        self.keep(id, mail);
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) mod http {
    //! The page and the document of the outbox.

    use askama::Template;
    use axum::extract::State;
    use axum::response::Response;
    use serde::Serialize;
    use utoipa_axum::router::OpenApiRouter;
    use utoipa_axum::routes;
    use web::{Json, Page, Problem, Shape, html};

    use super::Outbox;

    #[derive(Template)]
    #[template(path = "outbox.html")]
    struct OutboxPage {
        page: Page,
        letters: Vec<Shown>,
    }

    /// A letter as shown to the developer.
    #[derive(Debug, Serialize, utoipa::ToSchema)]
    pub(crate) struct Shown {
        /// Its name.
        id: String,
        /// The reader's address.
        to: String,
        /// The subject line.
        subject: String,
        /// The body as plain text.
        text: String,
        /// The first link in it.
        link: Option<String>,
    }

    fn shown(outbox: &Outbox) -> Vec<Shown> {
        let letters = outbox.letters().into_iter();
        letters
            .map(|kept| Shown {
                id: kept.id.to_string(),
                link: kept
                    .mail
                    .text
                    .split_whitespace()
                    .find(|word| word.starts_with("http"))
                    .map(str::to_owned),
                to: kept.mail.to,
                subject: kept.mail.subject,
                text: kept.mail.text,
            })
            .collect()
    }

    /// The letters that would have been sent, newest first, as a page.
    #[utoipa::path(
        get, path = "/auth/dev/outbox", operation_id = "identity.outbox_page", tag = "identity",
        responses((status = 200, description = "The letters")),
        extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
    )]
    async fn outbox_page(State(outbox): State<Outbox>, page: Page) -> Result<Response, Problem> {
        let page = page.titled("Outbox", Shape::Medium);
        html(&OutboxPage { page, letters: shown(&outbox) })
    }

    /// The letters that would have been sent, newest first, as a document.
    #[utoipa::path(
        get, path = "/auth/dev/outbox.json", operation_id = "identity.outbox", tag = "identity",
        responses((status = 200, description = "The letters", body = Vec<Shown>)),
        extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
    )]
    async fn outbox_json(State(outbox): State<Outbox>) -> Json<Vec<Shown>> {
        Json(shown(&outbox))
    }

    /// The routes of the outbox; mount them in development only.
    pub(crate) fn routes(outbox: Outbox) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(outbox_page))
            .routes(routes!(outbox_json))
            .with_state(outbox)
    }
}
