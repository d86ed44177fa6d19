//! What every room that speaks HTTP shares: problems, extractors, pages, cookies, documents.
//!
//! Promises, each quoted by its test:
//! - **W1** every refusal is one problem document (RFC 9457) or its page, made in one place, with
//!   the request id; a broken part or a panic tells nothing else;
//! - **W2** every answer carries the security headers, and nothing is cached unless it says so;
//! - **W3** an unsafe request that our cookies authenticate is obeyed only where the browser
//!   proves that our own page sent it; a form needs its token as well;
//! - **W4** a path that a caller names as "go there next" never leaves this host;
//! - **W5** every body, header list, cookie, stream and wait has a limit;
//! - **W6** an operation without its effect and its access is not served;
//! - **W7** no operation of an operator changes a fact after a proof that is too old.

pub mod api;
mod app;
pub mod assets;
mod client;
mod cookies;
mod csrf;
mod extract;
pub mod feed;
mod form;
mod headers;
mod local_path;
mod negotiate;
mod page;
mod paging;
mod problem;
mod proof;
mod sse;
mod stack;
#[cfg(feature = "testing")]
pub mod testing;
pub mod texts;

pub use app::{App, Callers, Proven, Site, Timeouts};
pub use client::ClientFacts;
pub use cookies::{CookieError, SameSite, SetCookie, cookie};
pub use csrf::Csrf;
pub use extract::{
    Admin, Auditor, Caller, Device, Form, HalfWay, Json, MachineForm, Operator, Path, Query, Role,
    Service, Staff, Support, Visit,
};
pub use form::{Nothing, Wrong, next_or, see_other, wrong_field};
pub use local_path::LocalPath;
pub use page::{NavItem, Page, Shape, html, html_with};
pub use paging::{Cursor, Listing, Paging, PagingParams};
pub use problem::{Document, FieldError, Problem};
pub use sse::{Event, Streams};
pub use stack::serve_stack;

/// A future that a trait object gives.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
