//! Facts (A8, A9): taken once, alike for all who send them, all or none, sealed as declared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use access::{Batch, Error, FieldSpec, FieldType, KindSpec};
use kernel::{Actor, KeyId};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use spine::{Opened, Subject};
use testkit::World;
use tokio::task::JoinSet;

use crate::place::{Place, ROOMS, References, told};

fn batch(facts: Value) -> Batch {
    serde_json::from_value(json!({ "facts": facts })).expect("a batch")
}

fn paid(id: &str, account: &impl ToString, amount: i64) -> Value {
    json!({
        "id": id, "kind": "order.paid", "account": account.to_string(), "version": 2,
        "fields": { "order": "o-1", "amount_minor": amount, "currency": "EUR", "items": 2 }
    })
}

fn product(id: &str) -> Value {
    json!({
        "id": id, "kind": "product.changed",
        "fields": { "product": "p-9", "change": "price", "price_minor": 500 }
    })
}

fn shop(world: &World) -> kernel::Ctx {
    world.ctx(Actor::Service { key: KeyId::from_bytes([5; 16]) })
}

/// The fields that an error names.
fn fields(error: &Error) -> Vec<(String, String)> {
    let (Error::Fields(errors) | Error::FactConflict(errors)) = error else {
        panic!("{error:?}");
    };
    errors.iter().map(|error| (error.field.to_string(), error.detail.clone())).collect()
}

testkit::on_both! { ROOMS;
    // A8, A9
    async fn a_fact_becomes_an_event_of_its_customer(world: &testkit::World) {
        let place = Place::new(world);
        let person = world.person().await;
        let mut fact = paid("f-1", &person, 1_999);
        fact["at"] = json!("2026-11-23T23:59:00Z");
        let taken = place.access.take_facts(&shop(world), &batch(json!([fact]))).await.unwrap();
        let events = told(world, "order.paid").await;
        assert_eq!(events.len(), 1);
        let event = &events[0];
        assert_eq!((taken[0].id.as_str(), taken[0].event), ("f-1", event.id));
        assert_eq!(event.account(), Some(person));
        assert_eq!((event.aggregate.as_str(), event.version), ("order", 2));
        assert_eq!(event.actor_kind, "service");
        let at = world.now().minus(Duration::from_secs(60)).micros();
        let plain = json!({ "currency": "EUR", "items": 2, "_at": at });
        assert_eq!(Value::Object(event.plain.clone()), plain);
        assert_eq!(event.sealed_text("order"), Some("o-1"));
        assert_eq!(event.sealed_text("_fact"), Some("f-1"));
        let Opened::Whole(sealed) = &event.sealed else { panic!() };
        assert_eq!(sealed["amount_minor"], 1_999);
    }

    // A8
    async fn a_repeated_fact_is_answered_alike_and_taken_once(world: &testkit::World) {
        let place = Place::new(world);
        let person = world.person().await;
        let both = batch(json!([paid("f-1", &person, 5), product("f-2")]));
        let first = place.access.take_facts(&shop(world), &both).await.unwrap();
        world.advance(Duration::from_secs(71 * 3_600));
        let second = place.access.take_facts(&shop(world), &both).await.unwrap();
        assert_eq!(first, second);
        let mixed = batch(json!([product("f-3"), product("f-2")]));
        let third = place.access.take_facts(&shop(world), &mixed).await.unwrap();
        assert_eq!(third[1], first[1]);
        assert_eq!(told(world, "product.changed").await.len(), 2);
        assert_eq!(told(world, "order.paid").await.len(), 1);
        // Its time is over: the id is free again, before and after it was swept.
        world.advance(Duration::from_secs(2 * 3_600));
        let later = place.access.take_facts(&shop(world), &both).await.unwrap();
        assert_ne!(later[0].event, first[0].event);
        world.advance(Duration::from_secs(73 * 3_600));
        place.access.tend().await.unwrap();
        let last = place.access.take_facts(&shop(world), &both).await.unwrap();
        assert_ne!(last[0].event, later[0].event);
    }

    // A8
    async fn an_id_with_other_contents_is_a_conflict_and_nothing_is_taken(world: &testkit::World) {
        let place = Place::new(world);
        let person = world.person().await;
        let first = batch(json!([paid("f-1", &person, 5)]));
        place.access.take_facts(&shop(world), &first).await.unwrap();
        let other = batch(json!([product("f-2"), paid("f-1", &person, 6)]));
        let error = place.access.take_facts(&shop(world), &other).await.unwrap_err();
        let detail = "was used before for a fact with other contents";
        assert_eq!(fields(&error), [("facts[1].id".to_owned(), detail.to_owned())]);
        assert_eq!(told(world, "product.changed").await.len(), 0);
    }

    // A8
    async fn eight_at_once_take_it_once(world: &testkit::World) {
        let place = Place::new(world);
        let person = world.person().await;
        for round in 0..4 {
            let mut racing = JoinSet::new();
            for racer in 0..8 {
                let (access, ctx) = (place.access.clone(), shop(world));
                // The same facts in another order, and one of its own.
                let mut facts: Vec<Value> = (0..12)
                    .map(|n| paid(&format!("r{round}-{}", (n + racer) % 12), &person, 7))
                    .collect();
                facts.push(product(&format!("own-{round}-{racer}")));
                racing.spawn(async move { access.take_facts(&ctx, &batch(json!(facts))).await });
            }
            let mut events: HashMap<String, kernel::EventId> = HashMap::new();
            while let Some(done) = racing.join_next().await {
                for taken in done.unwrap().unwrap() {
                    let event = *events.entry(taken.id.clone()).or_insert(taken.event);
                    assert_eq!(event, taken.event, "{}", taken.id);
                }
            }
            assert_eq!(events.len(), 20);
        }
        assert_eq!(told(world, "order.paid").await.len(), 48);
        assert_eq!(told(world, "product.changed").await.len(), 32);
    }

    // A8
    async fn eight_at_once_with_other_contents_leave_one(world: &testkit::World) {
        let place = Place::new(world);
        let person = world.person().await;
        let mut racing = JoinSet::new();
        for racer in 0..8 {
            let (access, ctx) = (place.access.clone(), shop(world));
            let facts = batch(json!([paid("same", &person, racer)]));
            racing.spawn(async move { access.take_facts(&ctx, &facts).await });
        }
        let (mut taken, mut refused) = (0, 0);
        while let Some(done) = racing.join_next().await {
            match done.unwrap() {
                Ok(_) => taken += 1,
                Err(Error::FactConflict(_)) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((taken, refused), (1, 7));
        assert_eq!(told(world, "order.paid").await.len(), 1);
    }

    // A8, A9
    async fn strangers_and_the_erased_are_refused_and_replays_are_not(world: &testkit::World) {
        let place = Place::new(world);
        let person = world.person().await;
        let known = batch(json!([paid("f-1", &person, 5)]));
        let first = place.access.take_facts(&shop(world), &known).await.unwrap();
        world.vault.shred(Subject::Account(person)).await.unwrap();
        let stranger = kernel::AccountId::from_bytes([9; 16]);
        for (id, account) in [("f-2", person), ("f-3", stranger)] {
            let facts = batch(json!([product("p"), paid(id, &account, 5)]));
            let error = place.access.take_facts(&shop(world), &facts).await.unwrap_err();
            let detail = "is no account here: leave this fact out";
            assert_eq!(fields(&error), [("facts[1].account".to_owned(), detail.to_owned())]);
        }
        assert_eq!(place.access.take_facts(&shop(world), &known).await.unwrap(), first);
        let events = told(world, "order.paid").await;
        assert_eq!((events.len(), &events[0].sealed), (1, &Opened::Erased));
        assert_eq!(told(world, "product.changed").await.len(), 0);
    }

    // A9
    async fn a_customer_by_the_shops_reference(world: &testkit::World) {
        let person = world.person().await;
        let known = References(HashMap::from([("c-1".to_owned(), person)]));
        let place = Place::with(world, |parts| parts.customers = Some(Arc::new(known)));
        let fact = |id: &str, customer: &str| json!({
            "id": id, "kind": "chat.sent", "customer": customer,
            "fields": { "message": id, "room": "r", "text": "hello" }
        });
        let facts = batch(json!([fact("m-1", "c-1"), fact("m-2", "c-2"), fact("m-3", "c-1")]));
        place.access.take_facts(&shop(world), &facts).await.unwrap();
        let mut events = told(world, "chat.sent").await;
        events.sort_by_key(|event| event.sealed_text("message").map(str::to_owned));
        let subjects: Vec<_> = events.iter().map(|event| event.subject.unwrap()).collect();
        let day = Subject::Day(world.now().day());
        assert_eq!(subjects, [Subject::Account(person), day, Subject::Account(person)]);
        assert_eq!(events[1].sealed_text("_customer"), Some("c-2"));
        assert!(events[1].plain.is_empty());
    }

    // A9
    async fn a_kind_of_the_shops_own(world: &testkit::World) {
        let kind: KindSpec = toml::from_str(
            r#"
            name = "loyalty.joined"
            says = "A customer joined the club."
            about = "customer"
            [[field]]
            name = "level"
            type = "word"
            words = ["silver", "gold"]
            [[field]]
            name = "points"
            type = "int"
            personal = true
            "#,
        )
        .unwrap();
        assert_eq!(kind.field("level").map(|field: &FieldSpec| field.holds), Some(FieldType::Word));
        let place = Place::with(world, |parts| parts.config.facts.kind = vec![kind]);
        let person = world.person().await;
        let facts = batch(json!([{
            "id": "l-1", "kind": "loyalty.joined", "account": person.to_string(),
            "fields": { "level": "gold", "points": 7 }
        }]));
        place.access.take_facts(&shop(world), &facts).await.unwrap();
        let events = told(world, "loyalty.joined").await;
        assert_eq!(Value::Object(events[0].plain.clone()), json!({ "level": "gold" }));
        assert_eq!(events[0].aggregate, "fact");
    }

    async fn a_batch_of_five_hundred_is_taken_in_order(world: &testkit::World) {
        let place = Place::new(world);
        for count in [1_usize, 7, 9, 65, 500] {
            let facts: Vec<Value> = (0..count).map(|n| product(&format!("b{count}-{n}"))).collect();
            let facts = batch(json!(facts));
            let first = place.access.take_facts(&shop(world), &facts).await.unwrap();
            let ids: Vec<String> = (0..count).map(|n| format!("b{count}-{n}")).collect();
            assert_eq!(first.iter().map(|taken| taken.id.clone()).collect::<Vec<_>>(), ids);
            assert_eq!(place.access.take_facts(&shop(world), &facts).await.unwrap(), first);
        }
        let too_many: Vec<Value> = (0..501).map(|n| product(&format!("t-{n}"))).collect();
        let too_many = batch(json!(too_many));
        let error = place.access.take_facts(&shop(world), &too_many).await.unwrap_err();
        assert_eq!(fields(&error)[0].0, "facts");
        assert!(place.access.take_facts(&shop(world), &batch(json!([]))).await.is_err());
    }
}

/// Every wrong form, each named by its path. One database is enough: nothing is written.
#[test]
fn wrong_forms_are_named() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let person = world.person().await;
        let with = |change: &dyn Fn(&mut Value)| {
            let mut fact = paid("f", &person, 5);
            change(&mut fact);
            fact
        };
        let cases: Vec<(Value, &str)> = vec![
            (with(&|f| f["id"] = json!("")), "facts[0].id"),
            (with(&|f| f["id"] = json!("x".repeat(129))), "facts[0].id"),
            (with(&|f| f["kind"] = json!("identity.login_failed")), "facts[0].kind"),
            (with(&|f| f["kind"] = json!("order.lost")), "facts[0].kind"),
            (with(&|f| f["at"] = json!("yesterday")), "facts[0].at"),
            (with(&|f| f["at"] = json!("2026-11-24T00:06:00Z")), "facts[0].at"),
            (with(&|f| f["at"] = json!("2026-09-24T00:00:00Z")), "facts[0].at"),
            (with(&|f| f["version"] = json!(0)), "facts[0].version"),
            (with(&|f| f["account"] = Value::Null), "facts[0].account"),
            (with(&|f| f["customer"] = json!("c-1")), "facts[0].customer"),
            (with(&|f| f["fields"]["amount_minor"] = json!("5")), "facts[0].fields.amount_minor"),
            (with(&|f| f["fields"]["amount_minor"] = json!(-5)), "facts[0].fields.amount_minor"),
            (with(&|f| f["fields"]["amount_minor"] = json!(5.5)), "facts[0].fields.amount_minor"),
            (with(&|f| f["fields"]["currency"] = json!("eur")), "facts[0].fields.currency"),
            (with(&|f| f["fields"]["items"] = Value::Null), "facts[0].fields.items"),
            (with(&|f| f["fields"]["order"] = json!("a\nb")), "facts[0].fields.order"),
            (with(&|f| f["fields"]["creator"] = json!("usr_1")), "facts[0].fields.creator"),
            (with(&|f| f["fields"]["colour"] = json!("red")), "facts[0].fields.colour"),
            (with(&|f| f["fields"]["<b>"] = json!("red")), "facts[0].fields"),
            (
                with(&|f| f["fields"] = json!({ "order": "o", "currency": "EUR" })),
                "facts[0].fields.amount_minor",
            ),
        ];
        for (fact, field) in cases {
            let shown = fact.to_string();
            let error = place.access.take_facts(&shop(world), &batch(json!([fact]))).await;
            let error = error.expect_err(&shown);
            assert_eq!(fields(&error).len(), 1, "{shown}: {error:?}");
            assert_eq!(fields(&error)[0].0, field, "{shown}");
        }
        let twice = batch(json!([product("f"), product("f")]));
        let error = place.access.take_facts(&shop(world), &twice).await.unwrap_err();
        assert_eq!(fields(&error)[0].0, "facts[1].id");
        assert!(told(world, "order.").await.is_empty());
    });
}

/// Any JSON where a value is wanted: it is taken or refused by name, and nothing panics.
#[test]
fn any_value_is_taken_or_refused_by_name() {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,140}".prop_map(Value::from),
        prop::sample::select(vec!["EUR", "made", "p-1", "2026-11-24T00:00:00Z"])
            .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let name = prop::sample::select(vec![
        "product",
        "change",
        "price_minor",
        "currency",
        "stock",
        "seller",
        "other",
        "",
    ]);
    let some = prop::collection::btree_map(name, value, 0..8);
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let mut runner = TestRunner::deterministic();
        for round in 0..400 {
            let some = some.new_tree(&mut runner).unwrap().current();
            let fact = json!({ "id": format!("{round}"), "kind": "product.changed",
                "at": "2026-11-24T00:00:00Z", "fields": some });
            match place.access.take_facts(&shop(world), &batch(json!([fact]))).await {
                Ok(taken) => assert_eq!(taken.len(), 1),
                Err(error) => assert!(!fields(&error).is_empty()),
            }
        }
    });
}

#[test]
fn a_field_that_stands_twice_is_no_batch() {
    let text = r#"{"facts":[{"id":"a","kind":"order.paid","fields":{"order":"1","order":"2"}}]}"#;
    let error = serde_json::from_str::<Batch>(text).unwrap_err().to_string();
    assert!(error.starts_with("has a field twice"), "{error}");
}
