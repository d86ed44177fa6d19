//! The pages and the API, through the whole stack: a browser without scripts, and an app.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::house::{House, OTHER, PASSWORD, ROOMS, secret_in};

/// A page without what differs in each run.
fn tidy(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("value=\"") {
        let (value, after) = after.split_once('"').unwrap_or((after, ""));
        let shown = if value.len() > 40 { "[SECRET]" } else { value };
        out.push_str(before);
        out.push_str("value=\"");
        out.push_str(shown);
        out.push('"');
        rest = after;
    }
    out.push_str(rest);
    // asset hashes and ids
    out.split_inclusive('"')
        .map(|part| if part.contains("/assets/") { "[ASSET]\"" } else { part })
        .collect::<String>()
        .lines()
        .map(|line| match line.find("ses_") {
            Some(at) => format!("{}[SESSION]{}", &line[..at], &line[at + 30..]),
            None => line.to_owned(),
        })
        .filter(|line| !line.contains("req_"))
        .collect::<Vec<_>>()
        .join("\n")
}

testkit::on_both! { ROOMS;
    async fn a_browser_without_scripts_goes_the_whole_way(world: &testkit::World) {
        let house = House::new(world);
        let mut browser = house.browser();
        let page = browser.get("/auth/sign-up").await.expect(StatusCode::OK);
        insta::assert_snapshot!("sign_up", tidy(&page.body));
        let fields =
            |name| [("kind", "customer"), ("email", "ada@example.org"), ("name", name)];
        let wrong = browser.post_form("/auth/sign-up", &fields(" ")).await;
        let wrong = wrong.expect(StatusCode::UNPROCESSABLE_ENTITY);
        insta::assert_snapshot!("sign_up_wrong", tidy(&wrong.body));
        let sent = browser.submit("/auth/sign-up", "/auth/sign-up", &fields("Ada")).await;
        assert_eq!(sent.expect(StatusCode::SEE_OTHER).location(), "/auth/check-mail");
        let page = browser.get("/auth/check-mail").await.expect(StatusCode::OK);
        insta::assert_snapshot!("check_mail", tidy(&page.body));

        let letters = house.letters("ada@example.org").await;
        let secret = secret_in(&letters[0]);
        let link = format!("/auth/verify?token={}", secret.expose());
        let page = browser.get(&link).await.expect(StatusCode::OK);
        insta::assert_snapshot!("verify", tidy(&page.body));
        let fields = |password| [("token", secret.expose().as_str()), ("password", password)];
        let short = browser.post_form("/auth/verify", &fields("short")).await;
        let short = short.expect(StatusCode::UNPROCESSABLE_ENTITY);
        insta::assert_snapshot!("verify_wrong", tidy(&short.body));
        let fields = fields(PASSWORD);
        let verified = browser.post_form("/auth/verify", &fields).await;
        assert_eq!(verified.location(), "/auth/sign-in?notice=verified");
        let page = browser.get(verified.location()).await.expect(StatusCode::OK);
        insta::assert_snapshot!("sign_in", tidy(&page.body));
        let spent = browser.submit("/auth/sign-in", "/auth/verify", &fields).await;
        assert!(spent.expect(StatusCode::BAD_REQUEST).body.contains("used already"));

        let sign_in =
            |password| [("email", "ada@example.org"), ("password", password), ("next", "/cart")];
        let wrong = browser.submit("/auth/sign-in", "/auth/sign-in", &sign_in(OTHER)).await;
        let wrong = wrong.expect(StatusCode::UNAUTHORIZED);
        insta::assert_snapshot!("sign_in_wrong", tidy(&wrong.body));
        let inside = browser.submit("/auth/sign-in", "/auth/sign-in", &sign_in(PASSWORD)).await;
        assert_eq!(inside.expect(StatusCode::SEE_OTHER).location(), "/cart");
        assert!(browser.cookies.contains_key("__Host-stagedoor"));
        let mut phone = house.browser();
        phone.submit("/auth/sign-in", "/auth/sign-in", &sign_in(PASSWORD)).await;
        let page = browser.get("/auth/account").await.expect(StatusCode::OK);
        insta::assert_snapshot!("account", tidy(&page.body));

        let out = browser.submit("/auth/account", "/auth/sign-out", &[]).await;
        assert_eq!(out.location(), "/auth/sign-in?notice=signed-out");
        assert!(!browser.cookies.contains_key("__Host-stagedoor"));
        let away = browser.get("/auth/account").await;
        assert_eq!(away.location(), "/auth/sign-in?next=%2Fauth%2Faccount");
    }

    async fn the_account_page_does_what_it_says(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        let mut browser = house.browser();
        let next = ("next", "//evil.example");
        let fields = [("email", "ada@example.org"), ("password", PASSWORD), next];
        let inside = browser.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        assert_eq!(inside.location(), "/");
        let mut other = house.browser();
        other.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        let account = "/auth/account";
        let named = browser.submit(account, "/auth/account/name", &[("name", "Countess")]).await;
        assert_eq!(named.location(), "/auth/account?notice=name");
        assert!(browser.get(account).await.body.contains("Countess"));
        let blank = browser.submit(account, "/auth/account/name", &[("name", " ")]).await;
        assert!(blank.expect(StatusCode::UNPROCESSABLE_ENTITY).body.contains("A name is needed"));
        let fields = [("old", "not the one at all"), ("password", OTHER)];
        let wrong = browser.submit(account, "/auth/account/password", &fields).await;
        assert!(wrong.expect(StatusCode::UNPROCESSABLE_ENTITY).body.contains("id=\"e-old\""));
        let stolen = browser.cookies.clone();
        let fields = [("old", PASSWORD), ("password", OTHER)];
        let changed = browser.submit(account, "/auth/account/password", &fields).await;
        assert_eq!(changed.location(), "/auth/account?notice=password");
        // I8: a thief of that very cookie is out
        let mut thief = house.browser();
        thief.cookies = stolen;
        assert_eq!(thief.get(account).await.location(), "/auth/sign-in?next=%2Fauth%2Faccount");
        assert_eq!(other.get(account).await.location(), "/auth/sign-in?next=%2Fauth%2Faccount");
        let page = browser.get("/auth/confirm?next=https://evil.example").await;
        assert!(page.expect(StatusCode::OK).body.contains("name=\"next\" value=\"/auth/account\""));
        let stolen = browser.cookies.clone();
        let confirmed = browser.post_form("/auth/confirm", &[("password", OTHER)]).await;
        assert_eq!(confirmed.location(), "/auth/account");
        thief.cookies = stolen;
        assert_eq!(thief.get(account).await.location(), "/auth/sign-in?next=%2Fauth%2Faccount");
        let delete = "/auth/account/delete";
        let wrong = browser.submit(account, delete, &[("password", PASSWORD)]).await;
        assert!(wrong.expect(StatusCode::UNPROCESSABLE_ENTITY).body.contains("e-delete-password"));
        let gone = browser.submit(account, delete, &[("password", OTHER)]).await;
        assert_eq!(gone.location(), "/auth/sign-in?notice=deleted");
        assert!(house.sign_in("ada@example.org", OTHER).await.is_err());
    }

    async fn a_form_without_its_token_is_refused(world: &testkit::World) {
        let house = House::new(world);
        let mut browser = house.browser();
        let fields = [("email", "ada@example.org")];
        let bare = browser.post_form("/auth/forgot", &fields).await;
        assert_eq!(bare.status, StatusCode::FORBIDDEN);
        browser.get("/auth/forgot").await;
        browser.origin = "https://evil.example".to_owned();
        let foreign = browser.post_form("/auth/forgot", &fields).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    }

    async fn a_forgotten_password_by_pages(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        let mut browser = house.browser();
        let page = browser.get("/auth/forgot").await.expect(StatusCode::OK);
        insta::assert_snapshot!("forgot", tidy(&page.body));
        let sent = browser.post_form("/auth/forgot", &[("email", "ada@example.org")]).await;
        assert_eq!(sent.location(), "/auth/check-mail");
        let secret = house.link("ada@example.org").await;
        let link = format!("/auth/reset?token={}", secret.expose());
        let page = browser.get(&link).await.expect(StatusCode::OK);
        insta::assert_snapshot!("reset", tidy(&page.body));
        let fields = [("token", secret.expose().as_str()), ("password", OTHER)];
        let reset = browser.post_form("/auth/reset", &fields).await;
        assert_eq!(reset.location(), "/auth/sign-in?notice=reset");
        let spent = browser.get(&link).await;
        assert!(spent.expect(StatusCode::BAD_REQUEST).body.contains("Ask for a new link"));
    }

    async fn an_app_signs_in_refreshes_and_is_signed_out(world: &testkit::World) {
        let house = House::new(world);
        let mut app = house.browser();
        let body = json!({"email": "ada@example.org", "name": "Ada"});
        let up = app.post_json("/v1/sign-up", &body).await.expect(StatusCode::ACCEPTED);
        let again = app.post_json("/v1/sign-up", &body).await.expect(StatusCode::ACCEPTED);
        assert_eq!(up.body, again.body);
        let letters = house.letters("ada@example.org").await;
        let secret = secret_in(letters.last().unwrap());
        let token = json!({"token": secret.expose(), "password": PASSWORD});
        let _ = app.post_json("/v1/verify-email", &token).await.expect(StatusCode::NO_CONTENT);
        let spent = app.post_json("/v1/verify-email", &token).await;
        assert_eq!(spent.expect(StatusCode::BAD_REQUEST).code(), "identity.link_spent");

        let sign_in = |password| json!({"email": "ada@example.org", "password": password});
        let wrong = app.post_json("/v1/sign-in", &sign_in(OTHER)).await;
        let nobody = json!({"email": "nobody@example.org", "password": OTHER});
        let unknown = app.post_json("/v1/sign-in", &nobody).await;
        let bare = |body: &str| {
            let mut document: serde_json::Value = serde_json::from_str(body).unwrap();
            document.as_object_mut().unwrap().remove("request_id");
            document
        };
        // I1
        assert_eq!((wrong.status, bare(&wrong.body)), (unknown.status, bare(&unknown.body)));
        let tokens = app.post_json("/v1/sign-in", &sign_in(PASSWORD)).await;
        let tokens: serde_json::Value = tokens.expect(StatusCode::OK).json();
        assert_eq!(tokens["token_type"], "Bearer");
        assert_eq!(tokens["expires_in"], 300);
        app.bearer = tokens["access_token"].as_str().map(str::to_owned);
        let account: serde_json::Value =
            app.get_json("/v1/account").await.expect(StatusCode::OK).json();
        assert_eq!(account["email"], "ada@example.org");
        let sessions: serde_json::Value = app.get_json("/v1/sessions").await.json();
        assert_eq!(sessions[0]["current"], true);

        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        let next = app.post_json("/v1/tokens/refresh", &refresh).await.expect(StatusCode::OK);
        let next: serde_json::Value = next.json();
        world.advance(Duration::from_secs(11));
        let reused = app.post_json("/v1/tokens/refresh", &refresh).await;
        assert_eq!(reused.expect(StatusCode::UNAUTHORIZED).code(), "identity.refresh_reused");
        // I7: the signed token has minutes to live, and is refused here at once
        app.bearer = next["access_token"].as_str().map(str::to_owned);
        let dead = app.get_json("/v1/account").await;
        assert_eq!(dead.status, StatusCode::UNAUTHORIZED);
    }

    async fn sessions_and_account_by_api(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        let mut app = house.browser();
        let body = json!({"email": "ada@example.org", "password": PASSWORD});
        let tokens: serde_json::Value = app.post_json("/v1/sign-in", &body).await.json();
        app.bearer = tokens["access_token"].as_str().map(str::to_owned);
        let other: serde_json::Value = app.post_json("/v1/sign-in", &body).await.json();
        let path = format!("/v1/sessions/{}", other["session"].as_str().unwrap());
        let ended = app.json(Method::DELETE, &path, &json!({})).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
        let again = app.json(Method::DELETE, &path, &json!({})).await;
        assert_eq!(again.status, StatusCode::NOT_FOUND);
        let _ = app.post_json("/v1/sign-in", &body).await.expect(StatusCode::OK);
        let ended = app.json(Method::DELETE, "/v1/sessions", &json!({})).await;
        assert_eq!(ended.json::<serde_json::Value>()["ended"], 1);
        let change = json!({"old": PASSWORD, "password": OTHER});
        let changed = app.json(Method::PUT, "/v1/account/password", &change).await;
        // I8: the app goes on with new tokens, and with nothing else
        let next: serde_json::Value = changed.expect(StatusCode::OK).json();
        assert_eq!(app.get_json("/v1/account").await.status, StatusCode::UNAUTHORIZED);
        app.bearer = next["access_token"].as_str().map(str::to_owned);
        let gone = app.json(Method::DELETE, "/v1/account", &json!({"password": OTHER})).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        assert_eq!(app.get_json("/v1/account").await.status, StatusCode::UNAUTHORIZED);
        let keys: serde_json::Value = app.get_json("/.well-known/jwks.json").await.json();
        assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    }

    async fn the_outbox_shows_the_letters(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        let mut browser = house.browser();
        let page = browser.get("/auth/dev/outbox").await.expect(StatusCode::OK);
        assert!(page.body.contains("Confirm your e-mail address"));
        let list: serde_json::Value = browser.get_json("/auth/dev/outbox.json").await.json();
        let link = list[0]["link"].as_str().unwrap();
        assert!(link.starts_with("https://shop.test/auth/verify?token="));
    }

    async fn letters_say_what_they_should(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        house.sign_up("ada@example.org").await.unwrap();
        let command = identity::ForgotPassword { email: "ada@example.org".to_owned() };
        house.room.forgot_password(&house.ctx(), command).await.unwrap();
        let shown: Vec<String> = house
            .letters("ada@example.org")
            .await
            .into_iter()
            .map(|mail| {
                let mut parts = format!("# {}\n{}\n--\n{}", mail.subject, mail.text, mail.html);
                while let Some((before, after)) = parts.split_once("token=") {
                    let end = after.find(['\n', '"', '<']).unwrap_or(after.len());
                    parts = format!("{before}[LINK]{}", &after[end..]);
                }
                parts
            })
            .collect();
        insta::assert_snapshot!("letters", shown.join("\n=====\n"));
    }
}
