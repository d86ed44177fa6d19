//! Who comes in, and to which page (C1): every operation, with no, wrong and every role.

use std::fmt::Write as _;

use http::{Method, Request, StatusCode};
use identity::{AccountKind, Client as With, StaffRole};
use kernel::{AccountId, EventId, KeyId, SessionId};
use web::api::{Access, Effect};
use web::testing::Client;

use crate::house::{COOKIE, House, Must as _, PASSWORD, ROOMS, enter};

/// An address that exists in form only: what is asked is who may ask.
pub(crate) fn filled(path: &str) -> String {
    let id = if path.contains("/events/") {
        EventId::from_bytes([1; 16]).to_string()
    } else if path.contains("/alerts/") {
        watch::AlertId::from_bytes([1; 16]).to_string()
    } else if path.contains("/clients/") {
        access::BlockId::from_bytes([1; 16]).to_string()
    } else if path.contains("/keys/") {
        KeyId::from_bytes([1; 16]).to_string()
    } else {
        AccountId::from_bytes([1; 16]).to_string()
    };
    path.replace("{id}", &id)
        .replace("{session}", &SessionId::from_bytes([1; 16]).to_string())
        .replace("{deed}", "lock")
        .replace("{answer}", "approve")
}

/// The status of an operation, and whether it was refused to this client; a stream is not read to
/// its end.
async fn ask(client: &mut Client, method: &'static str, path: &str) -> (StatusCode, bool) {
    let path = filled(path);
    let (status, location) = if method == "GET" {
        let request = Request::get(&path).header("accept", "text/html");
        let response = client.open(request.body(axum::body::Body::empty()).unwrap()).await;
        let location = response.headers().get("location").cloned();
        (response.status(), location)
    } else {
        assert_eq!(method, Method::POST);
        // The token of a page that this client may read, if any.
        client.get("/console").await;
        let answer = client.post_form(&path, &[]).await;
        (answer.status, answer.headers.get("location").cloned())
    };
    let sign_in = location.is_some_and(|to| to.as_bytes().starts_with(b"/console/sign-in"));
    let refused = sign_in || [StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED].contains(&status);
    (status, refused)
}

testkit::on_both! { ROOMS;
    async fn the_matrix_of_roles_and_pages(world: &testkit::World) {
        let house = House::new(world);
        let mut people = vec![("nobody".to_owned(), house.browser())];
        use StaffRole::{Admin, Auditor, Moderator, Support};
        for role in [Moderator, Auditor, Support, Admin] {
            people.push((role.as_str().to_owned(), house.operator(&[role]).await));
        }
        house.settle().await;
        let operations = web::api::assemble("t", "0", [console::routes(house.console.clone())]);
        let mut text = String::new();
        for operation in operations.unwrap().operations {
            if operation.id == "console.sign_out" || operation.id == "console.sign_in" {
                continue;
            }
            write!(text, "{} {} ({})", operation.method, operation.path, operation.access).unwrap();
            for (name, client) in &mut people {
                let (status, refused) = ask(client, operation.method, &operation.path).await;
                write!(text, " {name}={}", status.as_u16()).unwrap();
                let may = match &operation.access {
                    Access::Public => true,
                    Access::Operator(role) => match (name.as_str(), role.as_str()) {
                        ("nobody", _) => false,
                        (_, "staff") | ("admin", _) => true,
                        (name, role) => name == role,
                    },
                    Access::Session => name != "nobody",
                    Access::Service(_) => panic!("not at the console"),
                };
                assert_eq!(!refused, may, "{name} {operation:?} {status}");
            }
            text.push('\n');
            assert_ne!(operation.effect, Effect::Upkeep);
        }
        insta::assert_snapshot!("roles_and_pages", text);
    }

    // C1
    async fn only_staff_who_came_by_this_door(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.test").await;
        house.person(AccountKind::Staff, "grace@staff.test", &[StaffRole::Admin]).await;
        let mut client = house.browser();
        let shut = client.get("/console/alerts?state=open").await.expect(StatusCode::SEE_OTHER);
        assert_eq!(shut.location(), "/console/sign-in?next=%2Fconsole%2Falerts%3Fstate%3Dopen");
        // C9: a customer with the right password reads what everybody reads who guesses wrong
        let said = async |client: &mut Client, email: &str| {
            let refused = enter(client, email).await.expect(StatusCode::UNAUTHORIZED);
            let (_, rest) = refused.body.split_once("role=\"alert\"").expect("an alert");
            rest.split_once("</div>").expect("its end").0.to_owned()
        };
        let customer = said(&mut client, "ada@example.test").await;
        assert_eq!(customer, said(&mut client, "nobody@example.test").await);
        assert!(!client.cookies.contains_key(COOKIE));
        // The shop's own session of the same person opens nothing here.
        let opened = house.sign_in("grace@staff.test", With::Browser).await;
        client.cookies.insert(COOKIE.to_owned(), opened.secret.expose().clone());
        client.get("/console").await.must(StatusCode::SEE_OTHER);
        client.cookies.remove(COOKIE);
        let fields = [
            ("email", "grace@staff.test"),
            ("password", PASSWORD),
            ("next", "/console/alerts?state=open"),
        ];
        let entered = client.submit("/console/sign-in", "/console/sign-in", &fields).await;
        assert_eq!(entered.location(), "/console/alerts?state=open");
        assert!(entered.header("set-cookie").contains("SameSite=Strict"));
        client.get("/console").await.must(StatusCode::OK);
        // Half an hour without use is the end.
        world.advance(std::time::Duration::from_secs(1_801));
        client.get("/console").await.must(StatusCode::SEE_OTHER);
        assert_eq!(house.events("identity.login_failed").await.len(), 2);
    }

    async fn forms_of_other_pages_do_nothing(world: &testkit::World) {
        let house = House::new(world);
        let mut client = house.operator(&[StaffRole::Admin]).await;
        let fields = [("net", "192.0.2.9"), ("minutes", "5"), ("reason", "x")];
        client.get("/console/clients").await.must(StatusCode::OK);
        client.origin = "https://evil.test".to_owned();
        let foreign = client.post_form("/console/clients", &fields).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN);
        client.origin = crate::house::URL.to_owned();
        // Another operator's token is none of mine.
        let mut other = house.operator(&[StaffRole::Support]).await;
        let token = other.get("/console/clients").await.csrf().unwrap();
        let mut forged = client.clone();
        forged.get("/console/sign-in").await;
        let cookies = forged.cookies.clone();
        forged = house.browser();
        forged.cookies = cookies;
        let with_token = [("csrf", token.as_str()), fields[0], fields[1], fields[2]];
        forged.post_form("/console/clients", &with_token).await.must(StatusCode::FORBIDDEN);
        assert!(house.events("access.client_blocked").await.is_empty());
        client.submit("/console/clients", "/console/clients", &fields).await
            .must(StatusCode::SEE_OTHER);
        assert_eq!(house.events("access.client_blocked").await.len(), 1);
    }

    async fn signing_out_ends_the_session(world: &testkit::World) {
        let house = House::new(world);
        let mut client = house.operator(&[StaffRole::Auditor]).await;
        let kept = client.cookies.clone();
        let out = client.submit("/console", "/console/sign-out", &[]).await;
        assert_eq!(out.location(), "/console/sign-in?notice=signed-out");
        client.cookies = kept;
        client.get("/console").await.must(StatusCode::SEE_OTHER);
        assert_eq!(house.events("identity.session_ended").await.len(), 1);
    }
}
