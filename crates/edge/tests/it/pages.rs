//! A refusal as a person sees it, and as a program does.

use axum::Extension;
use edge::Shown;

use crate::world::{Wish, World, status};

async fn page(Extension(shown): Extension<Shown>) -> impl axum::response::IntoResponse {
    let text = format!("<h1>The house says {} {}</h1>", shown.code, shown.detail);
    // What the page's maker calls it does not matter.
    let headers = [("content-security-policy", "style-src 'self'"), ("set-cookie", "a=b")];
    (http::StatusCode::IM_A_TEAPOT, headers, axum::response::Html(text))
}

#[tokio::test]
async fn a_browser_sees_the_houses_page_and_a_program_a_document() {
    let pages = axum::Router::new().fallback(page);
    let world = World::with(Wish { pages: Some(pages), ..Wish::default() }).await;
    let browser =
        "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nSec-Fetch-Dest: document\r\n";
    let large = "x".repeat(100_001);
    for (method, path, body, wanted, code) in [
        ("GET", "/gone", "", 502, "edge.upstream_gone"),
        ("GET", "/a/..%2fb", "", 400, "hygiene.path"),
        ("POST", "/cart", large.as_str(), 413, "edge.body_too_large"),
        ("GET", "/slow", "", 504, "edge.upstream_late"),
        ("POST", "/staff", "", 401, "edge.unauthenticated"),
    ] {
        let answer = world.ask(method, path, browser, body).await;
        assert_eq!(status(&answer), wanted, "{answer}");
        let words = format!("The house says {code}");
        assert!(answer.contains(&words), "{answer}");
        assert!(answer.contains("content-type: text/html"), "{answer}");
        assert!(answer.contains("content-security-policy: style-src 'self'\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
    for accept in
        ["", "Accept: application/json\r\n", "Accept: text/html\r\nSec-Fetch-Dest: empty\r\n"]
    {
        let answer = world.ask("POST", "/cart", accept, &large).await;
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        assert!(answer.contains("\"code\":\"edge.body_too_large\""), "{answer}");
    }
    // A limit still says when to come again.
    for _ in 0..2 {
        world.get("/login", browser).await;
    }
    let limited = world.get("/login", browser).await;
    assert_eq!(status(&limited), 429, "{limited}");
    assert!(limited.contains("retry-after: 30\r\n") && limited.contains("The house says"));
}

#[tokio::test]
async fn without_a_maker_of_pages_there_is_a_plain_one() {
    let world = World::new().await;
    let answer = world.get("/gone", "Accept: text/html\r\n").await;
    assert!(answer.contains("<h1>Bad Gateway</h1>"), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
}
