//! What the layout of every page needs: names, asset addresses, the form token. Templates have a
//! field `page: Page`, extend `layout.html` and import `components.html`.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use kernel::Ctx;

use crate::csrf::{self, NewVisit};
use crate::{App, Problem, Site, assets::Assets};

/// How wide a page's content stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One card in the middle: sign-in, a question, a problem.
    Narrow,
    /// Text and settings.
    Medium,
    /// Tables and lists.
    Wide,
}

/// One link of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NavItem {
    /// What it says.
    pub label: String,
    /// Where it leads.
    pub href: String,
    /// Whether it is where the person is.
    pub current: bool,
}

/// The page's own part of the layout. An extractor: take it in the handler, give it its title.
#[derive(Clone, Debug)]
pub struct Page {
    /// What the page is called.
    pub title: String,
    /// How wide it stands.
    pub shape: Shape,
    /// The links of the head.
    pub nav: Vec<NavItem>,
    /// The token for this page's forms; the `csrf` macro writes it.
    pub csrf: String,
    /// Names this request in the logs.
    pub request_id: String,
    /// The path that was asked for, without its query.
    pub path: String,
    site: Arc<Site>,
    assets: Arc<Assets>,
}

impl Page {
    /// A page without a form token and without a path.
    pub(crate) fn plain(app: &App, ctx: &Ctx) -> Self {
        Self {
            title: String::new(),
            shape: Shape::Narrow,
            nav: Vec::new(),
            csrf: String::new(),
            request_id: ctx.request.to_string(),
            path: String::new(),
            site: app.site.clone(),
            assets: app.assets.clone(),
        }
    }

    /// The page with its title and shape.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>, shape: Shape) -> Self {
        self.title = title.into();
        self.shape = shape;
        self
    }

    /// The page with the links of its head, as (label, address). The one whose address is the
    /// longest beginning of this page's path is current.
    #[must_use]
    pub fn with_nav(mut self, links: &[(&str, &str)]) -> Self {
        let here = |href: &str| {
            let rest = self.path.strip_prefix(href.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let longest = links.iter().map(|(_, href)| *href).filter(|href| here(href));
        let current = longest.max_by_key(|href| href.len()).map(str::to_owned);
        self.nav = links
            .iter()
            .map(|(label, href)| NavItem {
                label: (*label).to_owned(),
                href: (*href).to_owned(),
                current: current.as_deref() == Some(*href),
            })
            .collect();
        self
    }

    /// The site's name.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site.name
    }

    /// Where the site's name leads.
    #[must_use]
    pub fn home(&self) -> &str {
        self.site.home
    }

    /// The address of an asset, with its hash.
    #[must_use]
    pub fn asset(&self, name: &str) -> String {
        self.assets.url(name)
    }

    /// The class of the page's shape.
    #[must_use]
    pub const fn shape_class(&self) -> &'static str {
        match self.shape {
            Shape::Narrow => "narrow",
            Shape::Medium => "medium",
            Shape::Wide => "wide",
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let app = App::of(parts)?;
        let ctx = parts.extensions.get::<Ctx>().ok_or_else(Problem::not_wired)?;
        let visit = parts.extensions.get::<NewVisit>().ok_or_else(Problem::not_wired)?;
        let mut page = Self::plain(app, ctx);
        page.csrf = csrf::token_for(app, &parts.headers, visit, ctx);
        page.path = parts.uri.path().to_owned();
        Ok(page)
    }
}

/// A template as an answer with status 200.
///
/// # Errors
/// A broken problem where the template fails.
pub fn html<T: Template>(template: &T) -> Result<Response, Problem> {
    html_with(StatusCode::OK, template)
}

/// A template as an answer with another status: a form shown again with what is wrong (422).
///
/// # Errors
/// A broken problem where the template fails.
pub fn html_with<T: Template>(status: StatusCode, template: &T) -> Result<Response, Problem> {
    let text = template.render().map_err(|error| Problem::broken("web.template", error))?;
    Ok((status, Html(text)).into_response())
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    page: Page,
    problem: &'a Problem,
}

/// The page of a problem; the document where the page fails.
pub(crate) fn problem(page: Page, problem: &Problem) -> Response {
    let page = page.titled(crate::texts::title(problem.status()), Shape::Narrow);
    let request_id = page.request_id.clone();
    let Ok(mut response) = html_with(problem.status(), &ProblemPage { page, problem }) else {
        return problem.to_json(Some(request_id));
    };
    problem.add_headers(&mut response);
    response
}
