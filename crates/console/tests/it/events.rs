//! What operators see of events: masked by role (C2), live (C6), proved (C5), erased.

use http::StatusCode;
use http_body_util::BodyExt as _;
use identity::{AccountState, Client as With, StaffRole};
use kernel::EventId;
use merkle::{Policy, TlogProof, VerifyKey};

use crate::house::{House, Must as _, ROOMS};

const EMAIL: &str = "ada.lovelace@example.test";

async fn signed_in(house: &House<'_>) -> EventId {
    house.customer(EMAIL).await;
    house.sign_in(EMAIL, With::Browser).await;
    house.spray("198.51.100.23", 1).await;
    house.events("identity.login_failed").await[0].id
}

/// Texts of persons that nobody may find in a page.
fn assert_none_of(body: &str, texts: &[&str]) {
    for text in texts {
        assert!(!body.contains(text), "{text} stands in the page");
    }
}

testkit::on_both! { ROOMS;
    // C2
    async fn each_role_sees_its_part(world: &testkit::World) {
        let house = House::new(world);
        let failed = signed_in(&house).await;
        let path = format!("/console/events/{failed}");
        let secrets = ["person0@example.test", "198.51.100.23"];
        for role in [StaffRole::Auditor, StaffRole::Moderator] {
            let mut client = house.operator(&[role]).await;
            house.settle().await;
            let page = client.get(&path).await.expect(StatusCode::OK);
            assert!(page.body.contains("hidden from your role"));
            assert_none_of(&page.body, &secrets);
            assert_none_of(&page.body, &["198.51", "usr_", "@example"]);
            let list = client.get("/console/events").await.expect(StatusCode::OK);
            assert_none_of(&list.body, &["usr_", "@", "198.51"]);
            let whose = house.identity.find_account(EMAIL).await.unwrap().unwrap().id;
            let asked = client.get(&format!("/console/events?account={whose}")).await;
            assert_eq!(asked.status, StatusCode::FORBIDDEN);
        }
        for role in [StaffRole::Support, StaffRole::Admin] {
            let mut client = house.operator(&[role]).await;
            let page = client.get(&path).await.expect(StatusCode::OK);
            assert!(page.body.contains("p•••@e•••.test") && page.body.contains("198.51.100.•••"));
            assert_none_of(&page.body, &secrets);
        }
    }

    // C2
    async fn a_look_at_personal_data_is_an_event(world: &testkit::World) {
        let house = House::new(world);
        let failed = signed_in(&house).await;
        let ada = house.identity.find_account(EMAIL).await.unwrap().unwrap().id;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        for (path, secret) in [
            (format!("/console/events/{failed}/reveal"), "person0@example.test"),
            (format!("/console/accounts/{ada}/reveal"), EMAIL),
        ] {
            let before = house.events("console.personal_data_revealed").await.len();
            support.get(&path).await.must(StatusCode::FORBIDDEN);
            support.get("/console").await;
            let tried = support.post_form(&path, &[("reason", "curious")]).await;
            assert_eq!(tried.status, StatusCode::FORBIDDEN);
            let none = admin.submit(&path, &path, &[("reason", "")]).await;
            assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
            assert_none_of(&none.body, &[secret]);
            assert_eq!(house.events("console.personal_data_revealed").await.len(), before);
            let seen = admin.submit(&path, &path, &[("reason", "ticket 7")]).await;
            assert_eq!(seen.status, StatusCode::OK);
            assert!(seen.body.contains(secret));
            let told = house.events("console.personal_data_revealed").await;
            assert_eq!(told.len(), before + 1);
            let last = told.last().unwrap();
            assert_eq!(last.sealed_text("reason"), Some("ticket 7"));
            assert_eq!(last.actor_kind, "operator");
        }
        // The next look at the page is masked again.
        let page = admin.get(&format!("/console/accounts/{ada}")).await;
        assert_none_of(&page.body, &[EMAIL, "Lovelace"]);
    }

    // C5
    async fn a_proof_can_be_taken_along(world: &testkit::World) {
        let house = House::new(world);
        let failed = signed_in(&house).await;
        house.settle().await;
        let mut auditor = house.operator(&[StaffRole::Auditor]).await;
        let path = format!("/console/events/{failed}");
        let page = auditor.get(&path).await.expect(StatusCode::OK);
        assert!(page.body.contains("stagedoor audit verify --proof"));
        assert!(page.body.contains("badge good\">holds"));
        let proof = auditor.get(&format!("{path}/proof")).await.expect(StatusCode::OK);
        assert!(proof.header("content-disposition").contains(&format!("{failed}.tlog-proof")));
        let key = auditor.get("/console/audit/key").await.body;
        let policy = Policy::new(vec![VerifyKey::parse(key.trim()).unwrap()]).unwrap();
        let tlog = TlogProof::parse(proof.body.as_bytes()).unwrap();
        let entry = world.spine.prove(failed).await.unwrap().entry;
        tlog.verify(&entry, &policy).unwrap();
        assert!(page.body.contains(&tlog.checkpoint.claimed().root().to_base64()));
        let file = auditor.get(&format!("{path}/entry")).await.expect(StatusCode::OK);
        assert_eq!(file.header("content-type"), "application/octet-stream");
        auditor.get(&format!("/console/events/{}", EventId::from_bytes([9; 16]))).await
            .must(StatusCode::NOT_FOUND);
    }

    // C6
    async fn a_new_event_arrives_and_the_end_of_the_session_ends_the_list(world: &testkit::World) {
        let house = House::new(world);
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        house.settle().await;
        let page = admin.get("/console/events?kind=identity.").await.expect(StatusCode::OK);
        let (_, rest) = page.body.split_once("data-live=\"").unwrap();
        let stream = rest.split_once('"').unwrap().0.replace("&amp;", "&").replace("&#38;", "&");
        let request = http::Request::get(&stream).body(axum::body::Body::empty()).unwrap();
        let mut body = admin.open(request).await.into_body();
        house.customer(EMAIL).await;
        world.spine.sequence().await.unwrap();
        let mut text = String::new();
        while !text.contains("identity.account_opened") {
            let frame = body.frame().await.expect("a stream").unwrap();
            text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
        }
        assert!(text.contains("data: {") && text.contains("\"href\":\"/console/events/evt_"));
        assert_none_of(&text, &["ada.lovelace", "usr_", "203.0.113"]);
        // Signing out is told in the log, and ends the stream.
        admin.submit("/console", "/console/sign-out", &[]).await.must(StatusCode::SEE_OTHER);
        world.spine.sequence().await.unwrap();
        while let Some(frame) = body.frame().await {
            frame.unwrap();
        }
    }

    async fn the_erased_are_shown_as_erased(world: &testkit::World) {
        let house = House::new(world);
        let ada = house.customer(EMAIL).await;
        house.sign_in(EMAIL, With::Browser).await;
        let entered = house.events("identity.login_succeeded").await[0].id;
        house.identity.erase(&world.ctx(kernel::Actor::Operator { id: None }), ada).await.unwrap();
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        house.settle().await;
        let page = admin.get(&format!("/console/events/{entered}")).await.expect(StatusCode::OK);
        assert!(page.body.contains("erased with its key"));
        assert!(page.body.contains("badge good\">holds"), "the proof of what was erased holds");
        let view = house.identity.account(ada).await.unwrap();
        assert_eq!(view.state, AccountState::Erased);
        let page = admin.get(&format!("/console/accounts/{ada}")).await.expect(StatusCode::OK);
        assert!(page.body.contains("This person was erased."));
        assert_none_of(&page.body, &["ada.lovelace", "Lovelace"]);
        admin.get(&format!("/console/accounts/{ada}/lock")).await.must(StatusCode::CONFLICT);
    }

    async fn lists_are_paged_and_filtered(world: &testkit::World) {
        let house = House::new(world);
        house.spray("198.51.100.23", 30).await;
        house.spray("198.51.100.24", 30).await;
        let mut auditor = house.operator(&[StaffRole::Auditor]).await;
        house.settle().await;
        let first = auditor.get("/console/events?kind=identity.login_failed&actor=nobody").await;
        let first = first.expect(StatusCode::OK);
        assert_eq!(first.body.matches("href=\"/console/events/evt_").count(), 50);
        let (_, rest) = first.body.split_once("rel=\"next\" href=\"").unwrap();
        let older = rest.split_once('"').unwrap().0.replace("&#38;", "&").replace("&amp;", "&");
        let second = auditor.get(&older).await.expect(StatusCode::OK);
        assert_eq!(second.body.matches("href=\"/console/events/evt_").count(), 10);
        assert!(!second.body.contains("data-live"));
        for wrong in ["kind=%3Cb%3E", "actor=me", "account=x", "before=x"] {
            let page = auditor.get(&format!("/console/events?{wrong}")).await;
            assert!(page.status.is_client_error(), "{wrong}");
        }
    }
}
