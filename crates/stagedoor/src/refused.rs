//! The page of what the door itself refuses, in the shop's own layout.

use askama::Template;
use axum::response::Response;
use axum::{Extension, Router};
use web::{App, Page, Problem, Shape};

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused {
    page: Page,
    shown: edge::Shown,
}

/// What makes the pages.
pub(crate) fn pages(app: App) -> Router {
    web::serve_stack(Router::new().route("/", axum::routing::get(page)), app)
}

async fn page(page: Page, Extension(shown): Extension<edge::Shown>) -> Result<Response, Problem> {
    let page = page.titled(web::texts::title(shown.status), Shape::Narrow);
    web::html_with(shown.status, &Refused { page, shown })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_refusal_stands_in_the_shops_layout() {
        let (house, _dir) = crate::demo::throw_away().await.unwrap();
        let shown = edge::Shown {
            status: StatusCode::BAD_GATEWAY,
            code: "edge.upstream_gone".into(),
            detail: "The shop cannot be reached.".to_owned(),
            request: house.operator_ctx().request,
        };
        let told = shown.request.to_string();
        let router =
            pages(house.shop_app()).layer(Extension(shown.request)).layer(Extension(shown));
        let mut client = web::testing::Client::new(router);
        let page = client.get("/").await;
        assert_eq!(page.status, StatusCode::BAD_GATEWAY);
        let text = page.body;
        for part in ["/assets/stagedoor.", "The shop cannot be reached.", ">502<"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains(&told), "{text}");
    }
}
