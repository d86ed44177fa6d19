//! The pages and the API, through the whole stack: a browser without scripts, and an app.

use std::time::Duration;

use http::{Method, StatusCode};
use identity::AccountKind;
use serde_json::json;

use crate::house::{House, OTHER, PASSWORD, ROOMS, secret_in};
use crate::second_factor::{Guarded, code_at, required};

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

    async fn a_second_factor_by_pages(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        let mut browser = house.browser();
        let fields =
            [("email", "ada@example.org"), ("password", PASSWORD), ("next", "/cart?item=1")];
        browser.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        let factors = "/auth/account/factors";
        let page = browser.get(factors).await.expect(StatusCode::OK);
        insta::assert_snapshot!("factors_none", tidy(&page.body));
        let begin = format!("{factors}/totp");
        let begun = browser.submit(factors, &begin, &[("name", "My phone")]).await;
        let shown = begun.expect(StatusCode::SEE_OTHER).location().to_owned();
        let page = browser.get(&shown).await.expect(StatusCode::OK);
        assert!(page.body.contains("<svg class=\"qr\""));
        let (_, key) = page.body.split_once("<code class=\"key\">").unwrap();
        let key = key.split_once('<').unwrap().0.replace(' ', "");
        let key = kernel::Secret::new(key);
        let code = || code_at(&key, world.now().seconds());
        let factor = shown.split_once("factor=").unwrap().1.to_owned();
        let confirm = format!("{factors}/totp/confirm");
        let fields = [("factor", factor.as_str()), ("code", "12")];
        let wrong = browser.submit(&shown, &confirm, &fields).await;
        let wrong = wrong.expect(StatusCode::UNPROCESSABLE_ENTITY);
        assert!(wrong.body.contains("id=\"e-code\"") && wrong.body.contains("<svg class=\"qr\""));
        let right = code();
        let fields = [("factor", factor.as_str()), ("code", right.expose())];
        let added = browser.submit(&shown, &confirm, &fields).await.expect(StatusCode::OK);
        assert_eq!(added.body.matches("<li><code>").count(), 10);
        let (_, paper) = added.body.split_once("<li><code>").unwrap();
        let paper = paper.get(..11).unwrap().to_owned();
        let page = browser.get(factors).await.expect(StatusCode::OK);
        assert!(page.body.contains("10 of your codes are left"), "{}", page.body);
        // The next sign-in asks for it, and goes on to where the person wanted to go.
        world.advance(Duration::from_secs(30));
        let mut other = house.browser();
        let fields =
            [("email", "ada@example.org"), ("password", PASSWORD), ("next", "/cart?item=1")];
        let half = other.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        let second = half.expect(StatusCode::SEE_OTHER).location().to_owned();
        assert_eq!(second, "/auth/second?next=%2Fcart%3Fitem%3D1");
        assert!(!other.cookies.contains_key("__Host-stagedoor"));
        assert_eq!(other.get("/auth/account").await.location(),
            "/auth/sign-in?next=%2Fauth%2Faccount");
        let page = other.get(&second).await.expect(StatusCode::OK);
        insta::assert_snapshot!("second", tidy(&page.body));
        assert!(page.body.contains("Do not ask on this device for 30 days"));
        let by_paper = other.get(&format!("{second}&method=backup_code")).await;
        assert!(by_paper.expect(StatusCode::OK).body.contains("It works once"));
        let fields = [("method", "totp"), ("code", "000000"), ("next", "/cart?item=1")];
        let wrong = other.submit(&second, "/auth/second", &fields).await;
        let wrong = wrong.expect(StatusCode::UNPROCESSABLE_ENTITY);
        insta::assert_snapshot!("second_wrong", tidy(&wrong.body));
        let right = code();
        let fields = [
            ("method", "totp"), ("code", right.expose()), ("next", "/cart?item=1"),
            ("remember", "yes"),
        ];
        let inside = other.submit(&second, "/auth/second", &fields).await;
        assert_eq!(inside.expect(StatusCode::SEE_OTHER).location(), "/cart?item=1");
        assert!(other.cookies.contains_key("__Host-stagedoor"));
        assert!(!other.cookies.contains_key("__Host-stagedoor_pending"));
        let over = other.get(&second).await.expect(StatusCode::UNAUTHORIZED);
        insta::assert_snapshot!("second_over", tidy(&over.body));
        // This device is not asked again until its owner says so.
        let fields = [("email", "ada@example.org"), ("password", PASSWORD), ("next", factors)];
        for next in [factors, "/auth/second?next=%2Fauth%2Faccount%2Ffactors"] {
            other.submit(factors, "/auth/sign-out", &[]).await;
            let on = other.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
            assert_eq!(on.expect(StatusCode::SEE_OTHER).location(), next);
            if next != factors {
                break;
            }
            let page = other.get(factors).await.expect(StatusCode::OK);
            assert!(page.body.contains("Devices that are not asked"));
            let (_, device) = page.body.split_once("value=\"tru_").unwrap();
            let device = format!("tru_{}", device.split_once('"').unwrap().0);
            let end = "/auth/account/trusted-devices/end";
            let ended = other.submit(factors, end, &[("device", &device)]).await;
            assert_eq!(ended.location(), "/auth/account/factors?notice=trust");
        }
        world.advance(Duration::from_secs(30));
        let right = code();
        let fields = [("method", "totp"), ("code", right.expose()), ("next", factors)];
        assert_eq!(other.submit(&second, "/auth/second", &fields).await.location(), factors);
        // New codes, then the app is taken away again; old proofs are asked for anew.
        let codes = "/auth/account/backup-codes";
        let fields = [("method", "backup_code"), ("code", paper.as_str())];
        let new = other.submit(factors, codes, &fields).await.expect(StatusCode::OK);
        assert!(!new.body.contains(&paper));
        assert_eq!(browser.get(factors).await.location(),
            "/auth/sign-in?next=%2Fauth%2Faccount%2Ffactors");
        world.advance(Duration::from_secs(700));
        let remove = format!("{factors}/remove");
        let right = code();
        let fields =
            [("factor", factor.as_str()), ("method", "totp"), ("code", right.expose())];
        let stale = other.submit(factors, &remove, &fields).await;
        let confirm = "/auth/confirm?next=%2Fauth%2Faccount%2Ffactors";
        assert_eq!(stale.location(), confirm);
        let fields = [("password", PASSWORD), ("next", factors)];
        assert_eq!(other.submit(confirm, "/auth/confirm", &fields).await.location(), factors);
        let fields =
            [("factor", factor.as_str()), ("method", "totp"), ("code", right.expose())];
        let gone = other.submit(factors, &remove, &fields).await;
        assert_eq!(gone.location(), "/auth/account/factors?notice=removed");
    }

    async fn a_second_factor_that_must_be_is_got_on_the_way_in(world: &testkit::World) {
        let house = House::with(world, required(AccountKind::Customer));
        house.customer("ada@example.org").await;
        let mut browser = house.browser();
        let fields = [("email", "ada@example.org"), ("password", PASSWORD), ("next", "/cart")];
        let half = browser.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        let enrol = half.expect(StatusCode::SEE_OTHER).location().to_owned();
        assert_eq!(enrol, "/auth/second/enrol?next=%2Fcart");
        assert_eq!(browser.get("/auth/second?next=/cart").await.location(), enrol);
        let page = browser.get(&enrol).await.expect(StatusCode::OK);
        insta::assert_snapshot!("second_enrol", tidy(&page.body));
        let begun = browser.submit(&enrol, "/auth/second/enrol", &[("next", "/cart")]).await;
        let shown = begun.expect(StatusCode::SEE_OTHER).location().to_owned();
        let page = browser.get(&shown).await.expect(StatusCode::OK);
        let (_, key) = page.body.split_once("<code class=\"key\">").unwrap();
        let key = kernel::Secret::new(key.split_once('<').unwrap().0.replace(' ', ""));
        let factor = shown.split_once("factor=").unwrap().1.to_owned();
        let fields = [("factor", factor.as_str()), ("code", "123"), ("next", "/cart")];
        let wrong = browser.submit(&shown, "/auth/second/enrolled", &fields).await;
        assert!(wrong.expect(StatusCode::UNPROCESSABLE_ENTITY).body.contains("id=\"e-code\""));
        let code = code_at(&key, world.now().seconds());
        let fields = [("factor", factor.as_str()), ("code", code.expose()), ("next", "/cart")];
        let inside = browser.submit(&shown, "/auth/second/enrolled", &fields).await;
        let inside = inside.expect(StatusCode::OK);
        assert_eq!(inside.body.matches("<li><code>").count(), 10);
        assert!(inside.body.contains("href=\"/cart\""));
        let _ = browser.get("/auth/account").await.expect(StatusCode::OK);
        // An app cannot do so; it is told.
        house.customer("bob@example.org").await;
        let body = json!({"email": "bob@example.org", "password": PASSWORD});
        let half = house.browser().post_json("/v1/sign-in", &body).await;
        let half: serde_json::Value = half.expect(StatusCode::ACCEPTED).json();
        assert_eq!(half["methods"], json!([]));
    }

    async fn a_second_factor_inside_a_session_by_pages(world: &testkit::World) {
        let house = House::new(world);
        let ada = Guarded::new(&house, "ada@example.org").await;
        let mut browser = house.browser();
        let fields = [("email", "ada@example.org"), ("password", PASSWORD)];
        browser.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        let paper = ada.codes[0].expose().as_str();
        let fields = [("method", "backup_code"), ("code", paper), ("next", "/cart")];
        let inside = browser.submit("/auth/second", "/auth/second", &fields).await;
        assert_eq!(inside.location(), "/cart");
        let asks = "/auth/step-up?next=%2Fpayout";
        let page = browser.get(asks).await.expect(StatusCode::OK);
        insta::assert_snapshot!("step_up", tidy(&page.body));
        let fields = [("method", "totp"), ("code", "1"), ("next", "/payout")];
        let wrong = browser.submit(asks, "/auth/step-up", &fields).await;
        let wrong = wrong.expect(StatusCode::UNPROCESSABLE_ENTITY);
        assert!(wrong.body.contains("id=\"e-code\""), "{}", wrong.body);
        let stolen = browser.cookies.clone();
        let code = ada.code(&house);
        let fields = [("method", "totp"), ("code", code.expose()), ("next", "/payout")];
        let on = browser.submit(asks, "/auth/step-up", &fields).await;
        assert_eq!(on.expect(StatusCode::SEE_OTHER).location(), "/payout");
        let _ = browser.get("/auth/account").await.expect(StatusCode::OK);
        // I8: a thief of the cookie from before is out.
        let mut thief = house.browser();
        thief.cookies = stolen;
        assert_eq!(thief.get("/auth/account").await.status, StatusCode::SEE_OTHER);
        // Who has no second factor is led to get one.
        house.customer("bob@example.org").await;
        let mut bob = house.browser();
        let fields = [("email", "bob@example.org"), ("password", PASSWORD)];
        bob.submit("/auth/sign-in", "/auth/sign-in", &fields).await;
        let needed = bob.get(asks).await.expect(StatusCode::SEE_OTHER).location().to_owned();
        assert_eq!(needed, "/auth/account/factors?notice=needed");
        let page = bob.get(&needed).await.expect(StatusCode::OK);
        assert!(page.body.contains("asks for a second factor: add one first"));
    }

    async fn an_app_gets_and_proves_a_second_factor(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.org").await;
        let mut app = house.browser();
        let body = json!({"email": "ada@example.org", "password": PASSWORD});
        let tokens: serde_json::Value = app.post_json("/v1/sign-in", &body).await.json();
        app.bearer = tokens["access_token"].as_str().map(str::to_owned);
        let begin = app.post_json("/v1/account/factors/totp", &json!({"name": "Ada's"})).await;
        let begun: serde_json::Value = begin.expect(StatusCode::OK).json();
        assert!(begun["uri"].as_str().unwrap().starts_with("otpauth://totp/Lantern%20Market:"));
        let key = kernel::Secret::new(begun["key"].as_str().unwrap().to_owned());
        let confirm = format!("/v1/account/factors/{}/confirm", begun["factor"].as_str().unwrap());
        let code = |at: i64| json!({"code": code_at(&key, world.now().seconds() + at).expose()});
        let wrong = app.post_json(&confirm, &json!({"code": "1"})).await;
        let _ = wrong.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let added = app.post_json(&confirm, &code(0)).await.expect(StatusCode::OK);
        let codes: serde_json::Value = added.json();
        assert_eq!(codes["backup_codes"].as_array().unwrap().len(), 10);
        let listed: serde_json::Value = app.get_json("/v1/account/factors").await.json();
        assert_eq!(listed["factors"][0]["method"], "totp");
        assert_eq!(listed["backup_codes_left"], 10);
        // Another device.
        let mut other = house.browser();
        let half: serde_json::Value =
            other.post_json("/v1/sign-in", &body).await.expect(StatusCode::ACCEPTED).json();
        assert_eq!(half["methods"], json!(["totp", "backup_code"]));
        let proof = |method: &str, code: &str| {
            json!({"pending": half["pending"], "method": method, "code": code})
        };
        let used = code(0);
        let used = proof("totp", used["code"].as_str().unwrap());
        let used = other.post_json("/v1/sign-in/second", &used).await;
        let _ = used.expect(StatusCode::UNPROCESSABLE_ENTITY);
        let paper = proof("backup_code", codes["backup_codes"][0].as_str().unwrap());
        let inside = other.post_json("/v1/sign-in/second", &paper).await;
        let inside: serde_json::Value = inside.expect(StatusCode::OK).json();
        assert!(inside["refresh_token"].is_string() && inside["device"].is_string());
        let over = other.post_json("/v1/sign-in/second", &paper).await;
        let _ = over.expect(StatusCode::UNAUTHORIZED);
        other.bearer = inside["access_token"].as_str().map(str::to_owned);
        let again = codes["backup_codes"][1].as_str().unwrap();
        let again = json!({"method": "backup_code", "code": again});
        let up = other.post_json("/v1/sessions/step-up", &again).await.expect(StatusCode::OK);
        let up: serde_json::Value = up.json();
        assert!(up["refresh_token"].is_string());
        // Its tokens are the session's now.
        let old = json!({"refresh_token": inside["refresh_token"]});
        let old = other.post_json("/v1/tokens/refresh", &old).await;
        let _ = old.expect(StatusCode::UNAUTHORIZED);
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
