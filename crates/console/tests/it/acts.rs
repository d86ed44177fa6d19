//! What operators do: to accounts by the door of the rules (C4), with a reason (C3), to clients,
//! alerts, rules and keys.

use http::StatusCode;
use identity::{AccountKind, AccountState, Client as With, StaffRole};

use crate::house::{House, Must as _, ROOMS};

testkit::on_both! { ROOMS;
    // C3, C4
    async fn ending_a_session_really_ends_it(world: &testkit::World) {
        let house = House::new(world);
        let ada = house.customer("ada@example.test").await;
        let first = house.sign_in("ada@example.test", With::Browser).await;
        let second = house.sign_in("ada@example.test", With::App).await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let page = support.get(&format!("/console/accounts/{ada}")).await.expect(StatusCode::OK);
        assert!(page.body.contains("203.0.113.•••") && !page.body.contains("203.0.113.7"));
        let path = format!("/console/accounts/{ada}/sessions/{}/end", first.session);
        // Without a reason nothing is done.
        let again = support.submit(&path, &path, &[("reason", " ")]).await;
        assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
        let fields = [("reason", "ticket 12")];
        let done = house.alive(support.submit(&path, &path, &fields)).await;
        assert_eq!(done.location(), format!("/console/accounts/{ada}?notice=ended"));
        let lives = async |opened: &identity::Opened| {
            let secret = opened.secret.expose();
            house.identity.session_of_secret(&house.ctx(), secret).await.unwrap().is_some()
        };
        assert!(!lives(&first).await && lives(&second).await);
        let all = format!("/console/accounts/{ada}/end-sessions");
        let done = house.alive(support.submit(&all, &all, &fields)).await;
        assert_eq!(done.location(), format!("/console/accounts/{ada}?notice=ended"));
        assert!(!lives(&second).await);
        let asked = house.events("watch.response_requested").await;
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0].plain["reason"], "ticket 12");
        assert_eq!(asked[0].actor_kind, "operator");
        // What is over cannot be ended again.
        support.submit(&path, &path, &fields).await.must(StatusCode::NOT_FOUND);
    }

    // C3
    async fn locking_and_unlocking(world: &testkit::World) {
        let house = House::new(world);
        let ada = house.customer("ada@example.test").await;
        let opened = house.sign_in("ada@example.test", With::Browser).await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let state = async || house.identity.account(ada).await.unwrap().state;
        let lock = format!("/console/accounts/{ada}/lock");
        support.submit(&lock, &lock, &[("reason", "stolen")]).await.must(StatusCode::SEE_OTHER);
        assert_eq!(state().await, AccountState::Locked);
        let secret = opened.secret.expose();
        let live = house.identity.session_of_secret(&house.ctx(), secret).await.unwrap();
        assert!(live.is_none());
        // Locked already: the page again.
        let again = support.submit(&lock, &lock, &[("reason", "again")]).await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        let unlock = format!("/console/accounts/{ada}/unlock");
        let done = support.submit(&unlock, &unlock, &[("reason", "it was her")]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER);
        assert_eq!(state().await, AccountState::Active);
        let reasons = house.events("console.reason_given").await;
        assert_eq!(reasons[0].sealed_text("reason"), Some("it was her"));
        assert_eq!(reasons[0].plain["act"], "unlock account");
    }

    // C3
    async fn second_factors_are_taken_away_by_administrators_only(world: &testkit::World) {
        let house = House::new(world);
        let ada = house.customer("ada@example.test").await;
        let made = house.identity.begin_totp(&house.ctx(), ada, "Ada's phone").await.unwrap();
        let mut support = house.operator(&[StaffRole::Support]).await;
        let mut chief = house.operator(&[StaffRole::Admin]).await;
        let path = format!("/console/accounts/{ada}/reset-factors");
        support.get(&path).await.must(StatusCode::FORBIDDEN);
        let fields = [("reason", "lost the phone")];
        // What was begun counts as well: nobody knows who holds the key.
        chief.submit(&path, &path, &fields).await.must(StatusCode::SEE_OTHER);
        assert!(house.identity.begun_totp(ada, made.factor).await.is_err());
        let told = house.events("identity.factors_reset").await;
        assert_eq!(told[0].sealed_text("reason"), Some("lost the phone"));
        let again = chief.submit(&path, &path, &fields).await;
        assert_eq!(again.status, StatusCode::CONFLICT);
    }

    // C3
    async fn nobody_acts_above_themselves(world: &testkit::World) {
        let house = House::new(world);
        let chief = house.person(AccountKind::Staff, "chief@staff.test", &[StaffRole::Admin]).await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let page = support.get(&format!("/console/accounts/{chief}")).await;
        assert!(page.body.contains("Only an administrator acts"));
        let token = support.get("/console/accounts").await.csrf();
        assert!(token.is_some());
        for deed in ["lock", "end-sessions", "step-up"] {
            let path = format!("/console/accounts/{chief}/{deed}");
            support.get(&path).await.must(StatusCode::FORBIDDEN);
            support.get("/console/accounts").await;
            let tried = support.post_form(&path, &[("reason", "because")]).await;
            assert_eq!(tried.status, StatusCode::FORBIDDEN);
        }
        // An administrator may, but not to the own account.
        let mut client = house.browser();
        crate::house::enter(&mut client, "chief@staff.test").await.must(StatusCode::SEE_OTHER);
        let path = format!("/console/accounts/{chief}/lock");
        let own = client.submit(&path, &path, &[("reason", "why not")]).await;
        assert_eq!(own.status, StatusCode::CONFLICT);
        assert!(own.body.contains("lock yourself out"));
        assert!(house.events("identity.account_locked").await.is_empty());
    }

    async fn accounts_are_found_by_address_and_id(world: &testkit::World) {
        let house = House::new(world);
        let ada = house.customer("ada@example.test").await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let (list, search) = ("/console/accounts", "/console/accounts/search");
        for who in ["ada@example.test", " ADA@example.test ", &ada.to_string()] {
            let fields = [("who", who)];
            let found = support.submit(list, search, &fields).await;
            assert_eq!(found.location(), format!("/console/accounts/{ada}"), "{who}");
        }
        for who in ["bob@example.test", "nobody", "usr_00000000000000000000000000", ""] {
            let fields = [("who", who)];
            let none = support.submit(list, search, &fields).await;
            assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY, "{who}");
        }
        let list = support.get("/console/accounts?kind=customer").await.expect(StatusCode::OK);
        assert!(list.body.contains(&ada.to_string()));
        assert!(list.body.contains("a•••@e•••.test") && !list.body.contains("ada@example"));
        assert!(!list.body.contains("Lovelace"));
    }

    async fn clients_are_blocked_and_let_in_again(world: &testkit::World) {
        let house = House::new(world);
        let mut support = house.operator(&[StaffRole::Support]).await;
        let path = "/console/clients";
        for (net, minutes, status) in [
            ("not an address", "5", StatusCode::UNPROCESSABLE_ENTITY),
            ("192.0.2.44", "0", StatusCode::UNPROCESSABLE_ENTITY),
            ("127.0.0.1", "5", StatusCode::BAD_REQUEST),
            // Their own.
            ("192.0.2.0/24", "5", StatusCode::BAD_REQUEST),
            ("198.51.100.7", "5", StatusCode::SEE_OTHER),
        ] {
            let fields = [("net", net), ("minutes", minutes), ("reason", "sprays")];
            let answer = support.submit(path, path, &fields).await;
            assert_eq!(answer.status, status, "{net}");
        }
        let page = support.get(path).await;
        assert!(page.body.contains("198.51.100.7") && page.body.contains("sprays"));
        let block = house.access.blocks(None, true, 10).await.unwrap()[0].id;
        let unblock = format!("/console/clients/{block}/unblock");
        let done = support.submit(&unblock, &unblock, &[("reason", "a school")]).await;
        assert_eq!(done.location(), "/console/clients?notice=unblocked");
        assert!(house.access.blocks(None, true, 10).await.unwrap().is_empty());
        assert_eq!(house.events("console.reason_given").await.len(), 1);
        assert!(support.get("/console/clients?ended=1").await.body.contains("lifted"));
    }

    async fn alerts_are_judged(world: &testkit::World) {
        let house = House::new(world);
        house.spray("198.51.100.66", 14).await;
        house.settle().await;
        let mut auditor = house.operator(&[StaffRole::Auditor]).await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let alert = house.watch.alerts(None, None, 1).await.unwrap().remove(0);
        let path = format!("/console/alerts/{}", alert.id);
        let seen = auditor.get(&path).await.expect(StatusCode::OK);
        assert!(!seen.body.contains("198.51.100") && seen.body.contains("hidden from your role"));
        assert!(seen.body.contains("identity.login_failed"));
        let seen = support.get(&path).await.expect(StatusCode::OK);
        assert!(seen.body.contains("198.51.100.•••"));
        // Closing needs a judgement.
        let close = format!("{path}/close");
        let none = support.post_form(&close, &[]).await;
        assert_eq!(none.status, StatusCode::BAD_REQUEST);
        let took = support.post_form(&format!("{path}/acknowledge"), &[]).await;
        assert_eq!(took.location(), format!("{path}?notice=acknowledged"));
        let closed = support.post_form(&close, &[("verdict", "attack")]).await;
        assert_eq!(closed.location(), format!("{path}?notice=closed"));
        support.post_form(&close, &[("verdict", "attack")]).await.must(StatusCode::CONFLICT);
        assert!(support.get("/console/alerts?state=closed").await.body.contains(&path));
        // The client of the alert fills the form of a block.
        let form = support.get(&format!("/console/clients?alert={}", alert.id)).await;
        assert!(form.body.contains("value=\"198.51.100.66"));
    }

    async fn answers_are_stopped_and_go_on(world: &testkit::World) {
        let house = House::new(world);
        let mut support = house.operator(&[StaffRole::Support]).await;
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        let (stop, resume) = ("/console/rules/stop", "/console/rules/resume");
        let fields = [("reason", "a false alarm")];
        support.submit(stop, stop, &fields).await.must(StatusCode::SEE_OTHER);
        assert!(house.watch.switch().await.unwrap().stopped);
        let again = support.submit(stop, stop, &[("reason", "again")]).await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert!(support.get("/console").await.body.contains("Automatic answers are stopped."));
        support.get(resume).await.must(StatusCode::FORBIDDEN);
        admin.submit(resume, resume, &[("reason", "over")]).await.must(StatusCode::SEE_OTHER);
        assert!(!house.watch.switch().await.unwrap().stopped);
        let rules = admin.get("/console/rules").await.expect(StatusCode::OK);
        assert!(rules.body.contains("stuffing client"));
    }

    // C3
    async fn an_application_is_decided(world: &testkit::World) {
        let house = House::new(world);
        let mara = house.applied("mara@example.test", AccountKind::Influencer).await;
        let teo = house.applied("teo@example.test", AccountKind::Wholesaler).await;
        let mut support = house.operator(&[StaffRole::Support]).await;
        let list = "/console/applications";
        let page = support.get(list).await.expect(StatusCode::OK);
        assert!(page.body.contains(&mara.to_string()) && page.body.contains("<td>influencer</td>"));
        let approve = format!("{list}/{mara}/approve");
        let none = support.submit(&approve, &approve, &[("reason", "")]).await;
        assert_eq!(none.status, StatusCode::UNPROCESSABLE_ENTITY);
        let done = support.submit(&approve, &approve, &[("reason", "a contract")]).await;
        assert_eq!(done.location(), "/console/applications?notice=approved");
        let decline = format!("{list}/{teo}/decline");
        let done = support.submit(&decline, &decline, &[("reason", "none of ours")]).await;
        assert_eq!(done.location(), "/console/applications?notice=declined");
        let kind = async |id| house.identity.account(id).await.unwrap().kind;
        assert_eq!(kind(mara).await, AccountKind::Influencer);
        assert_eq!(kind(teo).await, AccountKind::Customer);
        let told = house.events("identity.application_decided").await;
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].actor_kind, "operator");
        // what is decided is decided
        let again = support.submit(&decline, &decline, &[("reason", "again")]).await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        assert!(support.get(list).await.body.contains("Nothing waits"));
    }

    async fn keys_are_shown_once_and_revoked(world: &testkit::World) {
        let house = House::new(world);
        let mut admin = house.operator(&[StaffRole::Admin]).await;
        let path = "/console/keys";
        let wrong = admin.submit(path, path, &[("name", "shop"), ("scopes", "everything")]).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        let made = admin.submit(path, path, &[("name", "shop"), ("scopes", "facts")]).await;
        assert_eq!(made.status, StatusCode::CREATED);
        assert!(made.body.contains("sdk_test_"));
        assert_eq!(made.header("cache-control"), "no-store");
        assert!(!admin.get(path).await.body.contains("sdk_test_"));
        let key = house.access.services(None, 1).await.unwrap()[0].id;
        let revoke = format!("/console/keys/{key}/revoke");
        admin.submit(&revoke, &revoke, &[("reason", "leaked")]).await.must(StatusCode::SEE_OTHER);
        assert!(house.access.services(None, 1).await.unwrap()[0].revoked_at.is_some());
        assert!(admin.get("/console/routes").await.body.contains("No routes yet"));
    }
}
