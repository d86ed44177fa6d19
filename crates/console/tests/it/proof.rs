//! Whoever does anything at the console proved the password lately (C8).

use std::time::Duration;

use http::{Request, StatusCode};
use identity::{Client as With, StaffRole};
use web::api::{Access, Effect};

use crate::doors::filled;
use crate::house::{COOKIE, House, Must as _, PASSWORD, ROOMS};

/// Just more than the default of `identity.session.fresh_s`.
const LATER: Duration = Duration::from_secs(601);

fn asks(body: &str) -> bool {
    body.contains("name=\"proof\"")
}

testkit::on_both! { ROOMS;
    // C8, W7: no later operation can forget it
    async fn every_operation_that_changes_a_fact_asks_for_the_password(world: &testkit::World) {
        let house = House::new(world);
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        let operations = house.assembled().operations;
        let changes = operations.iter().filter(|operation| {
            operation.effect == Effect::Fact && matches!(operation.access, Access::Operator(_))
        });
        let changes: Vec<_> = changes.collect();
        assert!(changes.len() > 15, "{}", changes.len());
        let mut told = None;
        for stale in [false, true] {
            if stale {
                world.advance(LATER);
                house.settle().await;
                told = Some(house.events("").await.len());
            }
            for operation in &changes {
                let path = filled(&operation.path);
                let json = !path.starts_with("/console");
                let (code, page) = if json {
                    let request = Request::builder().method(operation.method).uri(&path);
                    let request = request
                        .header("origin", crate::house::URL)
                        .header("content-type", "application/json");
                    let answer = admin.send(request.body("{}".into()).unwrap()).await;
                    let is_problem = answer.header("content-type").contains("problem");
                    (if is_problem { answer.code() } else { String::new() }, false)
                } else {
                    admin.get("/console").await.must(StatusCode::OK);
                    let answer = admin.post_form(&path, &[("reason", "kept words")]).await;
                    let page = asks(&answer.body) && answer.status == StatusCode::FORBIDDEN;
                    if page {
                        assert!(answer.body.contains("kept words"), "{path}");
                    }
                    (String::new(), page)
                };
                let refused = page || code == "web.password_needed";
                assert_eq!(refused, stale, "{} {code}", operation.id);
            }
        }
        // and nothing was done
        assert_eq!(told, Some(house.events("").await.len()));
    }

    // C8
    async fn what_was_begun_goes_on_with_the_password(world: &testkit::World) {
        let house = House::new(world);
        let ada = house.customer("ada@example.test").await;
        let opened = house.sign_in("ada@example.test", With::Browser).await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let lock = format!("/console/accounts/{ada}/lock");
        let fresh = support.get(&lock).await.expect(StatusCode::OK);
        assert!(!asks(&fresh.body));
        world.advance(LATER);
        // the page of the act has the field already; a wrong password keeps the reason
        let page = support.get(&lock).await.expect(StatusCode::OK);
        assert!(asks(&page.body));
        let wrong = [("reason", "ticket <9>"), ("proof", "not this one, no")];
        let wrong = support.post_form(&lock, &wrong).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(wrong.body.contains("ticket &#60;9&#62;") && wrong.body.contains("id=\"e-proof\""));
        assert!(house.identity.session_of_secret(&house.ctx(), opened.secret.expose()).await
            .unwrap().is_some());
        let stolen = support.cookies.clone();
        let right = [("reason", "ticket <9>"), ("proof", PASSWORD)];
        let done = support.post_form(&lock, &right).await;
        assert_eq!(done.location(), format!("/console/accounts/{ada}?notice=locked"));
        let locked = house.events("identity.account_locked").await;
        assert_eq!(locked[0].sealed_text("reason"), Some("ticket <9>"));
        assert_eq!(locked[0].actor_kind, "operator");
        // the session goes on as another, fresh for a while; a thief of the cookie is out
        assert_ne!(stolen.get(COOKIE), support.cookies.get(COOKIE));
        let unlock = format!("/console/accounts/{ada}/unlock");
        let fields = [("reason", "it was her")];
        support.submit(&unlock, &unlock, &fields).await.must(StatusCode::SEE_OTHER);
        let mut thief = house.browser();
        thief.cookies = stolen;
        thief.get("/console").await.must(StatusCode::SEE_OTHER);
        // the guess is told as one at the operators' door is
        let told = house.events("identity.password_refused").await;
        assert_eq!(told[0].plain["client"], "console");
    }

    // C8: forms without a page of their own come back with all that was typed
    async fn nothing_that_was_typed_is_lost(world: &testkit::World) {
        let house = House::new(world);
        let mut support = house.operator(&[StaffRole::Support]).await;
        world.advance(LATER);
        let fields = [("net", "198.51.100.7"), ("minutes", "5"), ("reason", "a & b \"c\"")];
        let asked = support.submit("/console/clients", "/console/clients", &fields).await;
        let asked = asked.expect(StatusCode::FORBIDDEN);
        assert!(asks(&asked.body));
        // as the browser sends the page that came: hidden fields, and the password
        let mut again: Vec<(&str, &str)> = fields.to_vec();
        again.push(("proof", PASSWORD));
        for (name, _) in fields {
            assert!(asked.body.contains(&format!("name=\"{name}\"")), "{name}");
        }
        let done = support.post_form("/console/clients", &again).await;
        assert_eq!(done.location(), "/console/clients?notice=blocked");
        assert!(support.get("/console/clients").await.body.contains("198.51.100.7"));
        // a page that answers itself has forms that work with the new cookie
        let ada = house.customer("ada@example.test").await;
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        world.advance(LATER);
        let reveal = format!("/console/accounts/{ada}/reveal");
        let fields = [("reason", "ticket 7"), ("proof", PASSWORD)];
        let seen = admin.submit(&reveal, &reveal, &fields).await.expect(StatusCode::OK);
        assert!(seen.body.contains("ada@example.test"));
        let token = seen.csrf().unwrap();
        let out = admin.post_form("/console/sign-out", &[("csrf", &token)]).await;
        assert_eq!(out.location(), "/console/sign-in?notice=signed-out");
    }

    // C8: guesses are bounded, and another site proves nothing
    async fn guesses_are_bounded_and_foreign_pages_prove_nothing(world: &testkit::World) {
        let house = House::new(world);
        let mut support = house.operator(&[StaffRole::Support]).await;
        world.advance(LATER);
        let path = "/console/rules/stop";
        let fields = |password| [("reason", "x"), ("proof", password)];
        support.get(path).await.must(StatusCode::OK);
        support.origin = "https://evil.test".to_owned();
        support.post_form(path, &fields(PASSWORD)).await.must(StatusCode::FORBIDDEN);
        support.origin = crate::house::URL.to_owned();
        assert!(house.events("identity.password_confirmed").await.is_empty());
        for _ in 0..5 {
            let wrong = support.submit(path, path, &fields("not this one, no")).await;
            assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
        let spent = support.submit(path, path, &fields(PASSWORD)).await;
        assert_eq!(spent.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(spent.body.contains("Too many attempts"));
        // signing out needs no proof
        let out = support.submit("/console", "/console/sign-out", &[]).await;
        assert_eq!(out.location(), "/console/sign-in?notice=signed-out");
    }
}
