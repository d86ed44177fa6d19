//! The doors: who may do what, and what the document says of it.

use std::sync::Arc;

use http::StatusCode;
use kernel::{AccountId, Actor, Ctx, SessionId};
use serde_json::{Value, json};
use web::testing::{Client, app};
use web::{BoxFuture, Caller, Callers, Problem, Service};

use crate::scene::*;

/// Knows one person, of this kind with these roles.
struct Known(Option<(&'static str, &'static [&'static str])>);

impl Callers for Known {
    fn session<'a>(
        &'a self,
        _: &'a http::request::Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        let account = AccountId::from_bytes([5; 16]);
        let caller = self.0.map(|(kind, roles)| Caller {
            ctx: visit.acted_by(Actor::Account { id: account, session: None }),
            account,
            session: SessionId::from_bytes([6; 16]),
            kind: kind.to_owned(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            auth_time: visit.now,
            fresh: true,
        });
        Box::pin(std::future::ready(Ok(caller)))
    }

    fn service<'a>(
        &'a self,
        _: &'a str,
        _: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

const CALLERS: [Known; 5] = [
    Known(None),
    Known(Some(("customer", &["admin"]))),
    Known(Some(("staff", &["auditor"]))),
    Known(Some(("staff", &["support"]))),
    Known(Some(("staff", &["admin"]))),
];

fn client(watch: &watch::Watch, callers: Known) -> Client {
    let router = web::api::assemble("Stagedoor", "0", [watch::routes(watch.clone())]);
    Client::new(web::serve_stack(router.unwrap().router, app(Arc::new(callers))))
}

fn statuses(access: &str) -> [bool; 5] {
    match access {
        "operator:staff" => [false, false, true, true, true],
        "operator:auditor" => [false, false, true, false, true],
        "operator:support" => [false, false, false, true, true],
        "operator:admin" => [false, false, false, false, true],
        _ => panic!("{access}"),
    }
}

testkit::on_both! { ROOMS;
    async fn every_operation_opens_to_its_roles_and_to_nobody_else(world: &testkit::World) {
        let watch = open(world, acting());
        let document = web::api::assemble("Stagedoor", "0", [watch::routes(watch.clone())]);
        let operations = document.unwrap().operations;
        assert_eq!(operations.len(), 11);
        for (number, callers) in CALLERS.into_iter().enumerate() {
            let anonymous = callers.0.is_none();
            let mut client = client(&watch, callers);
            for operation in &operations {
                let path = operation.path.replace("{id}", "alr_00000000000000000000000000");
                let answer = match operation.method {
                    "GET" => client.get_json(&path).await,
                    _ => client.post_json(&path, &json!({ "nonsense": 1 })).await,
                };
                let may = statuses(&operation.access.to_string())[number];
                let refused = if anonymous { 401 } else { 403 };
                let opens = answer.status.as_u16() != refused;
                assert_eq!(opens, may, "{number} {} {answer:?}", operation.id);
                assert!(!answer.status.is_server_error(), "{answer:?}");
            }
        }
    }

    async fn an_operator_looks_stops_closes_and_asks(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, "198.51.100.9", 12).await;
        deliver(world, &watch).await;
        let [_, _, _, support, admin] = CALLERS;
        let (mut support, mut admin) = (client(&watch, support), client(&watch, admin));
        let rules: Value = support.get_json("/v1/watch/rules").await.expect(StatusCode::OK).json();
        assert_eq!(rules.as_array().unwrap().len(), watch::RULES.len());
        let list: Value = support.get_json("/v1/watch/alerts?limit=1").await.json();
        let id = list["items"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/watch/alerts/{id}");
        // whole addresses are an administrator's, as at the console
        let _ = support.get_json(&path).await.expect(StatusCode::FORBIDDEN);
        let why: Value = admin.get_json(&path).await.expect(StatusCode::OK).json();
        assert_eq!(why["address"], "198.51.100.9");
        assert_eq!(why["events"].as_array().unwrap().len(), 10);
        assert_eq!(why["answers"][0]["state"], "asked");
        let acknowledge = format!("{path}/acknowledge");
        let _ = support.post_json(&acknowledge, &json!({})).await.expect(StatusCode::OK);
        let close = format!("{path}/close");
        let attack = json!({ "verdict": "attack" });
        let _ = support.post_json(&close, &attack).await.expect(StatusCode::OK);
        let _ = support.post_json(&close, &attack).await.expect(StatusCode::CONFLICT);
        let stop = "/v1/watch/switch/stop";
        let _ = support.post_json(stop, &json!({ "reason": "drill" })).await.expect(StatusCode::OK);
        let switch: Value = support.get_json("/v1/watch/switch").await.json();
        assert_eq!(switch["stopped"], true);
        let resume = "/v1/watch/switch/resume";
        let _ = admin.post_json(resume, &json!({ "reason": "over" })).await.expect(StatusCode::OK);
        let ask = json!({ "action": "unblock_client", "address": "198.51.100.9", "reason": "us" });
        // who may be a colleague is not seen here, so that support asks at the console only
        let refused = support.post_json("/v1/watch/answers", &ask).await;
        let _ = refused.expect(StatusCode::FORBIDDEN);
        let _ = admin.post_json("/v1/watch/answers", &ask).await.expect(StatusCode::OK);
        let answers: Value = admin.get_json("/v1/watch/answers?state=asked").await.json();
        assert_eq!(answers["items"].as_array().unwrap().len(), 2);
        let replay: Value = admin.get_json("/v1/watch/replay?hours=2").await.json();
        assert_eq!(replay["rules"].as_array().unwrap().len(), watch::RULES.len());
    }
}
