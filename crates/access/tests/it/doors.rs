//! The doors: who may knock where, and what problems look like to those who may not or do it wrong.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::World;
use web::testing::{Answer, Client};

use crate::place::{Place, ROOMS, operator, told};

/// A problem without its request id, for a snapshot.
fn problem(answer: &Answer) -> String {
    let mut document: Value = answer.json();
    if let Some(fields) = document.as_object_mut() {
        fields.remove("request_id");
    }
    format!("{} {:#}", answer.status, document)
}

fn product(id: &str) -> Value {
    json!({ "facts": [{
        "id": id, "kind": "product.changed", "fields": { "product": "p", "change": "made" }
    }] })
}

fn service(place: &Place, world: &World, key: &str) -> Client {
    let mut client = place.client(world);
    client.bearer = Some(key.to_owned());
    client
}

#[test]
fn the_table_of_operations() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let all = web::api::assemble("Stagedoor", "0", [access::routes(place.access)]).unwrap();
        let lines: Vec<String> = all
            .operations
            .iter()
            .map(|one| {
                format!("{} {} {} {} {}", one.method, one.path, one.id, one.effect, one.access)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    });
}

#[test]
fn facts_over_http() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let key = place.key(world, &["facts"]).await;
        let mut client = service(&place, world, &key);
        let first = client.post_json("/v1/facts", &product("a")).await.expect(StatusCode::OK);
        let again = client.post_json("/v1/facts", &product("a")).await.expect(StatusCode::OK);
        assert_eq!(first.body, again.body);
        let kinds: Value = client.get_json("/v1/facts/kinds").await.expect(StatusCode::OK).json();
        insta::assert_json_snapshot!("kinds", kinds);

        let mut told_wrong = Vec::new();
        let other = json!({ "facts": [{
            "id": "a", "kind": "product.changed", "fields": { "product": "p", "change": "removed" }
        }] });
        told_wrong.push(client.post_json("/v1/facts", &other).await);
        let wrong = json!({ "facts": [{
            "id": "b", "kind": "order.paid", "account": "usr_00000000000000000000000000",
            "fields": { "order": 7, "amount_minor": "1.50", "colour": "red" }
        }] });
        told_wrong.push(client.post_json("/v1/facts", &wrong).await);
        told_wrong.push(client.post_json("/v1/facts", &json!({ "facts": [{ "id": 7 }] })).await);
        let unknown = json!({ "facts": [], "dry_run": true });
        told_wrong.push(client.post_json("/v1/facts", &unknown).await);
        let mut large = product("c");
        large["facts"][0]["fields"]["product"] = json!("x".repeat(1024 * 1024));
        told_wrong.push(client.post_json("/v1/facts", &large).await);
        let mut scoped = service(&place, world, &place.key(world, &["reports"]).await);
        told_wrong.push(scoped.post_json("/v1/facts", &product("d")).await);
        let mut wrong_key = service(&place, world, &format!("{}0", &key[..key.len() - 1]));
        told_wrong.push(wrong_key.post_json("/v1/facts", &product("d")).await);
        let problems: Vec<String> = told_wrong.iter().map(problem).collect();
        insta::assert_snapshot!("facts_problems", problems.join("\n"));
        assert_eq!(told(world, "product.changed").await.len(), 1);
    });
}

#[test]
fn blocks_and_services_over_http() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let mut support = place.staff(world, "support");
        let block = json!({ "net": "198.51.100.7", "for_s": 600, "reason": "sprays passwords" });
        let answer = support.post_json("/v1/access/blocks", &block).await;
        let added: Value = answer.expect(StatusCode::CREATED).json();
        let list: Value = support.get_json("/v1/access/blocks").await.expect(StatusCode::OK).json();
        assert_eq!(list["items"][0]["net"], "198.51.100.7/32");
        assert_eq!(list["items"][0]["id"], added["id"]);

        let mut problems = Vec::new();
        let own = json!({ "net": "127.0.0.1", "reason": "" });
        problems.push(support.post_json("/v1/access/blocks", &own).await);
        let no_net = json!({ "net": "everybody", "reason": "" });
        problems.push(support.post_json("/v1/access/blocks", &no_net).await);
        let zero = json!({ "net": "198.51.100.9", "for_s": 0, "reason": "" });
        problems.push(support.post_json("/v1/access/blocks", &zero).await);
        let path = format!("/v1/access/blocks/{}", added["id"].as_str().unwrap());
        let gone = support.json(Method::DELETE, &path, &json!({})).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        problems.push(support.json(Method::DELETE, &path, &json!({})).await);

        let new = json!({ "name": "backend", "scopes": ["facts"] });
        problems.push(support.post_json("/v1/access/services", &new).await);
        let mut admin = place.staff(world, "admin");
        let none = json!({ "name": "backend", "scopes": ["root"] });
        problems.push(admin.post_json("/v1/access/services", &none).await);
        let shown: Vec<String> = problems.iter().map(problem).collect();
        insta::assert_snapshot!("operator_problems", shown.join("\n"));

        let added: Value =
            admin.post_json("/v1/access/services", &new).await.expect(StatusCode::CREATED).json();
        let key = added["key"].as_str().unwrap();
        let mut client = service(&place, world, key);
        assert_eq!(client.post_json("/v1/facts", &product("a")).await.status, StatusCode::OK);
        let list = support.get_json("/v1/access/services").await.expect(StatusCode::OK);
        assert!(!list.body.contains(key));
        let path = format!("/v1/access/services/{}", added["id"].as_str().unwrap());
        let gone = admin.json(Method::DELETE, &path, &json!({})).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        assert_eq!(
            client.post_json("/v1/facts", &product("b")).await.status,
            StatusCode::UNAUTHORIZED
        );
    });
}

#[test]
fn the_configuration_is_shown() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let config = crate::config::config(
            "[[upstream]]\nname = \"shop\"\naddress = \"http://127.0.0.1:3000\"\n",
        );
        place.access.apply(&operator(world), &config, None).await.unwrap();
        let mut support = place.staff(world, "support");
        let shown: Value =
            support.get_json("/v1/access/config").await.expect(StatusCode::OK).json();
        assert_eq!(shown["revision"], 1);
        assert_eq!(shown["config"]["upstream"][0]["name"], "shop");
        assert_eq!(shown["revisions"][0]["added"], 1);
    });
}

/// Every operation with no credentials, a customer's, a service's, and a role that is not enough.
#[test]
fn every_door_is_shut_to_the_wrong_ones() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let key = place.key(world, &["reports"]).await;
        let all = web::api::assemble("t", "0", [access::routes(place.access.clone())]).unwrap();
        assert_eq!(all.operations.len(), 9);
        for operation in &all.operations {
            let method: Method = operation.method.parse().unwrap();
            let path = operation.path.replace(
                "{id}",
                if operation.path.contains("blocks") {
                    "blk_00000000000000000000000000"
                } else {
                    "key_00000000000000000000000000"
                },
            );
            let callers = [
                place.client(world),
                place.staff(world, "customer"),
                service(&place, world, &key),
                place.staff(world, "auditor"),
            ];
            for mut caller in callers {
                let answer = caller.json(method.clone(), &path, &json!({})).await;
                let shut = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                assert!(shut.contains(&answer.status), "{operation:?} {answer:?}");
            }
        }
        for kind in ["access.client", "order.", "product."] {
            assert!(told(world, kind).await.is_empty());
        }
    });
}
