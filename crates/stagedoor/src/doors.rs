//! The doors: every operation of the door and of the console, tried with no credentials, with wrong
//! ones, and as each role. What came of it is checked in, so that a door that opens wider is seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
use identity::{AccountKind, Client as Device, OpenAccount, SignIn, StaffRole};
use kernel::Secret;
use web::api::{Access, Effect, Operation, operations};
use web::testing::Client;

use crate::demo::throw_away;
use crate::house::House;

const PASSWORD: &str = "four words make one door";

/// An operation with its path filled in with names that nothing has.
fn filled(operation: &Operation) -> String {
    operation
        .path
        .split('/')
        .map(|part| match part {
            "{session}" => "ses_00000000000000000000000000",
            "{*path}" => "0/000",
            part if part.starts_with("{id") || part == "{account}" || part == "{event}" => "x",
            part if part.starts_with('{') => "x",
            part => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// Asks from our own page. Only the head is read: some answers are streams without an end.
async fn ask(client: &mut Client, operation: &Operation) -> Response {
    let request = Request::builder()
        .method(operation.method)
        .uri(filled(operation))
        .header("accept", "application/json")
        .header("origin", &client.origin)
        .header("content-type", "application/json")
        .body(Body::from("{}"))
        .unwrap();
    client.open(request).await
}

/// Whether the answer says "you may not": by a problem, or by sending to the sign-in page.
fn is_refused(answer: &Response) -> bool {
    let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
    match answer.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => true,
        StatusCode::SEE_OTHER => location.is_some_and(|location| location.contains("sign-in")),
        _ => false,
    }
}

async fn account(house: &House, kind: AccountKind, roles: &[StaffRole], email: &str) {
    let account = OpenAccount {
        kind,
        email: email.to_owned(),
        name: "Somebody".to_owned(),
        roles: roles.to_vec(),
        password: Some(Secret::new(PASSWORD.to_owned())),
    };
    house.identity.open_account(&house.operator_ctx(), account).await.unwrap();
}

async fn cookie(house: &House, email: &str, client: Device) -> String {
    let sign_in = SignIn {
        email: email.to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        client,
        device: None,
        trust: None,
    };
    let opened = house.identity.sign_in(&house.operator_ctx(), sign_in).await.unwrap();
    let opened = opened.inside().unwrap();
    opened.secret.expose().clone()
}

/// Each who can come, by name, with the cookies that they bring.
async fn visitors(
    house: &House,
    console: bool,
) -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let (name, device) = if console {
        ("__Host-stagedoor_console", Device::Console)
    } else {
        ("__Host-stagedoor", Device::Browser)
    };
    let cast: [(&'static str, AccountKind, &[StaffRole]); 4] = [
        ("customer", AccountKind::Customer, &[]),
        ("auditor", AccountKind::Staff, &[StaffRole::Auditor]),
        ("support", AccountKind::Staff, &[StaffRole::Support]),
        ("admin", AccountKind::Staff, &[StaffRole::Admin]),
    ];
    let mut visitors = BTreeMap::from([
        ("nobody", BTreeMap::new()),
        ("forger", BTreeMap::from([(name.to_owned(), "A".repeat(43))])),
    ]);
    for (who, kind, roles) in cast {
        let email = format!("{who}{}@doors.example", u8::from(console));
        account(house, kind, roles, &email).await;
        // A customer's cookie of the shop, shown to the console, must count nothing.
        let device = if kind == AccountKind::Customer { Device::Browser } else { device };
        let secret = cookie(house, &email, device).await;
        visitors.insert(who, BTreeMap::from([(name.to_owned(), secret)]));
    }
    visitors
}

/// One line for each operation: who is let in.
async fn matrix(house: &House, console: bool) -> String {
    let (assembled, app) = if console {
        (house.console_routes().unwrap(), house.console_app("https://localhost:8444"))
    } else {
        (house.door_routes().unwrap(), house.shop_app())
    };
    let origin = app.site.public_url.clone();
    let operations = operations(&assembled.document).unwrap();
    let router = web::serve_stack(assembled.router, app);
    let visitors = visitors(house, console).await;
    let mut page = String::new();
    for operation in &operations {
        let mut let_in = Vec::new();
        for (who, cookies) in &visitors {
            let mut client = Client::new(router.clone());
            client.origin.clone_from(&origin);
            client.cookies.clone_from(cookies);
            // Whoever signs out or is erased must not spoil the next try.
            if operation.access != Access::Public && *who != "nobody" && *who != "forger" {
                let ends = ["sign_out", "end_", "delete_account", "erase"];
                if ends.iter().any(|word| operation.id.contains(word)) {
                    continue;
                }
            }
            let answer = ask(&mut client, operation).await;
            assert_ne!(
                answer.status(),
                StatusCode::INTERNAL_SERVER_ERROR,
                "{} {who}",
                operation.id
            );
            if !is_refused(&answer) {
                let_in.push(*who);
            }
        }
        if operation.access != Access::Public {
            assert!(!let_in.contains(&"nobody"), "{}: open to nobody", operation.id);
            assert!(!let_in.contains(&"forger"), "{}: open to a forger", operation.id);
        }
        if let Access::Operator(_) = operation.access {
            assert!(!let_in.contains(&"customer"), "{}: open to customers", operation.id);
        }
        writeln!(page, "{:<28} {:<22} {}", operation.id, said(&operation.access), let_in.join(" "))
            .unwrap();
    }
    page
}

/// Every change that an operator can make is asked of an administrator whose proof is too old: none
/// is made, whatever room it is of.
#[tokio::test(flavor = "multi_thread")]
async fn no_change_at_the_console_goes_without_a_fresh_proof() {
    let (house, _dir) = throw_away().await.unwrap();
    let assembled = house.console_routes().unwrap();
    let app = house.console_app("https://localhost:8444");
    let origin = app.site.public_url.clone();
    let router = web::serve_stack(assembled.router, app);
    account(&house, AccountKind::Staff, &[StaffRole::Admin], "stale@doors.example").await;
    let secret = cookie(&house, "stale@doors.example", Device::Console).await;
    let mut client = Client::new(router);
    client.origin = origin;
    client.cookies.insert("__Host-stagedoor_console".to_owned(), secret);
    let admin = house.identity.find_account("stale@doors.example").await.unwrap().unwrap();
    house.identity.ask_again(&house.operator_ctx(), admin.id).await.unwrap();
    let mut asked = 0;
    for operation in &assembled.operations {
        let answer = ask(&mut client, operation).await;
        let status = answer.status();
        let body = match operation.effect {
            Effect::Fact => answer.into_body().collect().await.unwrap().to_bytes(),
            // Some of these are streams without an end.
            Effect::Upkeep | Effect::None => continue,
        };
        let told = String::from_utf8_lossy(&body).contains("web.password_needed");
        let changes = matches!(operation.access, Access::Operator(_));
        assert_eq!(told && status == StatusCode::FORBIDDEN, changes, "{}", operation.id);
        asked += usize::from(changes);
    }
    assert!(asked > 15, "{asked}");
}

fn said(access: &Access) -> String {
    match access {
        Access::Public => "public".to_owned(),
        Access::Session => "session".to_owned(),
        Access::Operator(role) => format!("operator:{role}"),
        Access::Service(scope) => format!("service:{scope}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_lets_in_whom_its_document_says() {
    let (house, _dir) = throw_away().await.unwrap();
    insta::assert_snapshot!("door", matrix(&house, false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_lets_in_whom_its_document_says() {
    let (house, _dir) = throw_away().await.unwrap();
    insta::assert_snapshot!("console", matrix(&house, true).await);
}
