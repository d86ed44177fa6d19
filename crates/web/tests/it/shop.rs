//! A small site that the tests knock at: a page with a form, documents, things that break.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::{delete, get, post};
use http::request::Parts;
use kernel::{AccountId, Actor, Ctx, FieldProblem, Kind, Refusal, Refused, SessionId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use web::testing::{self, Client};
use web::{
    Admin, App, Auditor, BoxFuture, Caller, Callers, Form, Json, Operator, Page, Paging, Path,
    Problem, Query, Service, Shape, Staff, Support, Visit, html,
};

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"{% extends "layout.html" %}{% import "components.html" as ui %}
{% block content %}<article class="card"><form method="post" action="/form">
{% call ui::csrf(page) %}{% endcall %}
{% call ui::field("email", "E-mail") %}{% endcall %}
{% call ui::button("Send") %}{% endcall %}</form></article>{% endblock %}"#
)]
struct FormPage {
    page: Page,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    email: String,
    amount: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Basket {
    items: Vec<Order>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Filter {
    since: Option<i64>,
}

#[derive(Debug, Error)]
#[error("the disk said no to /var/secret/path")]
pub(crate) struct DiskError;

#[derive(Debug, Error)]
pub(crate) enum ShopError {
    #[error("fields")]
    Fields,
    #[error("invalid")]
    Invalid,
    #[error("conflict")]
    Conflict,
    #[error("limited")]
    Limited,
    #[error("unavailable")]
    Unavailable,
    #[error("cannot write the order")]
    Broken(#[source] DiskError),
}

impl Refusal for ShopError {
    fn refused(&self) -> Refused {
        let (kind, code) = match self {
            Self::Fields => (Kind::Invalid, "shop.fields"),
            Self::Invalid => (Kind::Invalid, "shop.invalid"),
            Self::Conflict => (Kind::Conflict, "shop.conflict"),
            Self::Limited => (Kind::Limited { retry_after_s: 7 }, "shop.limited"),
            Self::Unavailable => (Kind::Unavailable, "shop.unavailable"),
            Self::Broken(cause) => {
                let detail = format!("internal words: {cause}");
                return Refused::new(Kind::Broken, "shop.broken", detail);
            }
        };
        let refused = Refused::new(kind, code, format!("It is {self}. Mend it <b>so</b>."));
        let wrong = matches!(self, Self::Fields);
        refused.with_fields(wrong.then(|| FieldProblem::new("email", "is taken")))
    }
}

async fn refuse(Path(kind): Path<String>) -> Result<(), Problem> {
    let error = match kind.as_str() {
        "fields" => ShopError::Fields,
        "invalid" => ShopError::Invalid,
        "conflict" => ShopError::Conflict,
        "limited" => ShopError::Limited,
        "unavailable" => ShopError::Unavailable,
        "broken" => ShopError::Broken(DiskError),
        "unauthenticated" => return Err(Problem::unauthenticated()),
        "forbidden" => return Err(Problem::forbidden()),
        _ => return Err(Problem::not_found()),
    };
    Err(error.into())
}

async fn form_page(page: Page) -> Result<Response, Problem> {
    html(&FormPage { page: page.titled("A form", Shape::Narrow) })
}

async fn panics() -> &'static str {
    panic!("secret words of a panic")
}

async fn sleeps() -> &'static str {
    tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
    "late"
}

/// Sessions by the value of the session's cookie: `customer`, `admin`, `support`, `bare-staff`.
/// The bearer key `facts-key` has the scope `facts`.
#[derive(Debug)]
struct Known;

impl Callers for Known {
    fn session<'a>(
        &'a self,
        parts: &'a Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        Box::pin(async move {
            let account = AccountId::from_bytes([1; 16]);
            let session = SessionId::from_bytes([2; 16]);
            let (kind, roles): (_, &[&str]) = match web::cookie(&parts.headers, "__Host-stagedoor")
            {
                Some("customer") => ("customer", &["admin"]),
                Some("admin") => ("staff", &["admin"]),
                Some("support") => ("staff", &["support"]),
                Some("bare-staff") => ("staff", &[]),
                Some(_) | None => return Ok(None),
            };
            Ok(Some(Caller {
                ctx: visit.acted_by(Actor::Account { id: account, session: Some(session) }),
                account,
                session,
                kind: kind.to_owned(),
                roles: roles.iter().map(|role| (*role).to_owned()).collect(),
                auth_time: visit.now,
                fresh: true,
            }))
        })
    }

    fn service<'a>(
        &'a self,
        token: &'a str,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(async move {
            let service = Service { ctx: visit.clone(), scopes: vec!["facts".to_owned()] };
            Ok((token == "facts-key").then_some(service))
        })
    }
}

fn routes() -> Router {
    let assets: Router = web::assets::routes().into();
    Router::new()
        .route("/form", get(form_page).post(|Form(order): Form<Order>| async { Json::<_>(order) }))
        .route("/v1/orders", post(|Json(order): Json<Order>| async { Json::<_>(order) }))
        .route(
            "/v1/baskets",
            post(|Json(basket): Json<Basket>| async move { basket.items.len().to_string() }),
        )
        .route("/v1/orders/{id}", delete(|_: Caller| async { "gone" }))
        .route("/v1/accounts/{id}", get(|Path(id): Path<AccountId>| async move { id.to_string() }))
        .route("/v1/list", get(|paging: Paging| async move { paging.limit.to_string() }))
        .route(
            "/v1/find",
            get(|Query(filter): Query<Filter>| async move { format!("{:?}", filter.since) }),
        )
        .route(
            "/v1/facts",
            post(|service: Service| async move {
                service.require("facts")?;
                service.require("more").map(|()| "done")
            }),
        )
        .route("/refuse/{kind}", get(refuse))
        .route("/who", get(|Visit(ctx): Visit| async move { format!("{:?}", ctx.origin.address) }))
        .route("/mine", get(|caller: Caller| async move { caller.ctx.actor.kind() }))
        .route("/maybe", get(|caller: Option<Caller>| async move { caller.is_some().to_string() }))
        .route("/admin", get(|Operator(c, _): Operator<Admin>| async move { c.ctx.actor.kind() }))
        .route("/support", get(|_: Operator<Support>| async { "in" }))
        .route("/audit", get(|_: Operator<Auditor>| async { "in" }))
        .route("/staff", get(|_: Operator<Staff>| async { "in" }))
        .route("/panic", get(panics))
        .route("/sleep", get(sleeps))
        .route("/raw", post(|body: axum::body::Bytes| async move { body.len().to_string() }))
        .route("/axum", post(|_: axum::Json<Order>| async { "in" }))
        .merge(assets)
}

pub(crate) fn app() -> App {
    testing::app(Arc::new(Known))
}

/// A client of the site.
pub(crate) fn client() -> Client {
    Client::new(web::serve_stack(routes(), app()))
}

/// The same, with this session's cookie.
pub(crate) fn client_as(who: &str) -> Client {
    let mut client = client();
    client.cookies.insert("__Host-stagedoor".to_owned(), who.to_owned());
    client
}
