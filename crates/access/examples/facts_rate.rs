//! Measures how many facts of the shop are taken in a second, on both databases: batches of 1, 50
//! and 500, by one sender and by eight at once. The control tells the same number of events in the
//! same batches without checking, claiming or answering.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "it is run by hand, for its figures")]

use access::{Access, AccessConfig, Batch, Mode, Parts};
use kernel::{Actor, Clock as _, Ctx, KeyId, SystemClock};
use serde_json::{Map, json};
use spine::About;
use testkit::World;
use tokio::task::JoinSet;
use web::feed::{Hub, PublisherId, Snapshot};

/// Facts of one measurement.
const FACTS: usize = 4_000;
/// At most so many batches, so that single facts do not take for ever.
const BATCHES: usize = 400;

const ROOMS: &[spine::Room] = &[access::ROOM];

fn open(world: &World) -> Access {
    let hub = Hub::new(world.clock.clone(), Snapshot::default());
    Access::open(Parts {
        spine: world.spine.clone(),
        vault: world.vault.clone(),
        publisher: hub.publisher(PublisherId(1)),
        config: AccessConfig::default(),
        proxies: Vec::new(),
        scopes: vec!["facts"],
        mode: Mode::Test,
        customers: None,
        limit_store: None,
    })
    .expect("the room opens")
}

fn batch(name: &str, size: usize, account: &str) -> Batch {
    let fact = |n: usize| {
        json!({
            "id": format!("{name}-{n}"), "kind": "order.paid", "account": account,
            "fields": { "order": format!("o-{n}"), "amount_minor": 1_999, "currency": "EUR" }
        })
    };
    let facts: Vec<_> = (0..size).map(fact).collect();
    serde_json::from_value(json!({ "facts": facts })).expect("a batch")
}

async fn control(access: &World, ctx: &Ctx, size: usize, account: kernel::AccountId) {
    let subject = spine::Subject::Account(account);
    access.vault.resolve(&[subject]).await.expect("a key");
    let mut tx = access.spine.begin(ctx).await.expect("a transaction");
    for n in 0..size {
        let about = About::account(account, 0);
        let (mut plain, mut sealed) = (Map::new(), Map::new());
        plain.insert("currency".to_owned(), json!("EUR"));
        sealed.insert("order".to_owned(), json!(format!("o-{n}")));
        sealed.insert("amount_minor".to_owned(), json!(1_999));
        tx.emit_foreign(about, "order.paid".to_owned(), plain, sealed).expect("an event");
    }
    tx.commit().await.expect("a commit");
}

fn rate(facts: usize, began: kernel::Timestamp) -> u128 {
    let spent = SystemClock.now().since(began).as_micros().max(1);
    u128::try_from(facts).unwrap_or(0) * 1_000_000 / spent
}

async fn measure(world: &World, database: &str) {
    let access = open(world);
    let account = world.person().await;
    let text = account.to_string();
    let ctx = world.ctx(Actor::Service { key: KeyId::from_bytes([5; 16]) });
    for size in [500, 50, 1] {
        let count = (FACTS / size).clamp(8, BATCHES);
        let began = SystemClock.now();
        for _ in 0..count {
            control(world, &ctx, size, account).await;
        }
        let told = rate(count * size, began);
        for senders in [1, 8] {
            let began = SystemClock.now();
            let mut all = JoinSet::new();
            for sender in 0..senders {
                let batches: Vec<Batch> = (0..count / senders)
                    .map(|n| batch(&format!("{size}-{senders}-{sender}-{n}"), size, &text))
                    .collect();
                let (access, ctx) = (access.clone(), ctx.clone());
                all.spawn(async move {
                    for batch in &batches {
                        access.take_facts(&ctx, batch).await.expect("taken");
                    }
                });
            }
            while let Some(done) = all.join_next().await {
                done.expect("a sender ends");
            }
            let taken = rate(count / senders * senders * size, began);
            println!(
                "{database}: {senders} senders, batches of {size}: {taken} facts/s \
                 (control, one sender: {told} events/s)"
            );
        }
    }
}

fn main() {
    World::run_sqlite(ROOMS, async |world| measure(world, "SQLite").await);
    World::run_postgres(ROOMS, async |world| measure(world, "PostgreSQL").await);
}
