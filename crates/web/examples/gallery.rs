//! Shows every component of the pages on 127.0.0.1, to be looked at in light and dark.
//! `cargo run -p web --features testing --example gallery`, then open the address it prints.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use web::testing::Nobody;
use web::{App, Event, Page, Problem, Shape, html};

#[derive(Template)]
#[template(path = "gallery.html")]
struct Gallery {
    page: Page,
}

#[derive(Template)]
#[template(path = "gallery_sign_in.html")]
struct SignIn {
    page: Page,
}

async fn gallery(page: Page) -> Result<Response, Problem> {
    let page = page.titled("Gallery", Shape::Wide);
    let nav = [("Overview", "/"), ("Gallery", "/gallery"), ("Events", "/events"), ("Rules", "/r")];
    html(&Gallery { page: page.with_nav(&nav) })
}

async fn sign_in(page: Page) -> Result<Response, Problem> {
    html(&SignIn { page: page.titled("Sign in", Shape::Narrow) })
}

async fn events(app: App) -> Result<Response, Problem> {
    let rows = [
        r#"{"kind":"identity.signed_up","href":"/gallery","actor":"nobody","tone":"plain","at":"02:25:38"}"#,
        r#"{"kind":"identity.login_failed","href":"/gallery","actor":"nobody","tone":"bad","at":"02:25:39"}"#,
        r#"{"kind":"watch.response_requested","href":"//evil.example","actor":"watch","tone":"warn","at":"02:25:40"}"#,
    ];
    let rows = stream::iter(rows.map(|row| Event::default().data(row)));
    app.streams.open(rows.chain(stream::pending()), std::future::pending())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let assets: Router = web::assets::routes().into();
    let router = Router::new()
        .route("/gallery", get(gallery))
        .route("/gallery/stream", get(events))
        .route("/gallery/sign-in", get(sign_in))
        .merge(assets);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    writeln!(std::io::stdout(), "http://{address}/gallery")?;
    let app = web::testing::app(Arc::new(Nobody));
    axum::serve(listener, web::serve_stack(router, app)).await?;
    Ok(())
}
