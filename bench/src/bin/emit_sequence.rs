//! Emit + sequence against the same rows written twice in the same batches, on each database.
//!
//! The peer writes a batch of rows of the same size into a table like the outbox, and then into one
//! like the log (same indexes), each in a transaction of its own. We seal, hash and emit the batch,
//! sequence it, grow the tree, sign, and delete from the outbox.

use std::time::Instant;

use kernel::Actor;
use spine::{About, Room, Subject};
use store::{Db, Value, args, multi_row};
use testkit::World;
use tokio_util::sync::CancellationToken;

spine::events! {
    room = "bench";
    /// A thing was measured.
    Measured = "measured" {
        plain { size: u32 } sealed { note: String } retain_days = 30, ocsf = 3001
    }
}

const PEER_SCHEMA: &str = "CREATE TABLE bench_peer_a (id BYTEA PRIMARY KEY, at BIGINT NOT NULL, \
    kind TEXT NOT NULL, actor_kind TEXT NOT NULL, subject BYTEA, aggregate TEXT NOT NULL, \
    aggregate_id BYTEA NOT NULL, version BIGINT NOT NULL, entry BYTEA NOT NULL, body BYTEA, \
    leaf BYTEA NOT NULL, mac BYTEA NOT NULL); \
    CREATE TABLE bench_peer_b (idx BIGINT PRIMARY KEY, id BYTEA NOT NULL, at BIGINT NOT NULL, \
    kind TEXT NOT NULL, actor_kind TEXT NOT NULL, subject BYTEA, aggregate TEXT NOT NULL, \
    aggregate_id BYTEA NOT NULL, version BIGINT NOT NULL, entry BYTEA NOT NULL, body BYTEA, \
    leaf BYTEA NOT NULL, mac BYTEA NOT NULL); \
    CREATE UNIQUE INDEX bench_peer_b_id ON bench_peer_b (id); \
    CREATE INDEX bench_peer_b_subject ON bench_peer_b (subject, idx);";

const A: &str = multi_row!(
    "INSERT INTO bench_peer_a (id, at, kind, actor_kind, subject, aggregate, \
    aggregate_id, version, entry, body, leaf, mac) VALUES ",
    12,
    32,
    ""
);
const B: &str = multi_row!(
    "INSERT INTO bench_peer_b (idx, id, at, kind, actor_kind, subject, aggregate, \
    aggregate_id, version, entry, body, leaf, mac) VALUES ",
    13,
    32,
    ""
);

const ROWS: usize = 32;

const ROOMS: &[Room] = &[Room {
    name: "bench",
    number: 98,
    tables: TABLES,
    events: &[],
    migrations: &[spine::Migration {
        version: 980_001,
        name: "bench/0001_peer",
        text: PEER_SCHEMA,
    }],
    statements: &[],
    consumers: &[],
    obeys: &[],
}];

spine::tables! {
    /// The peer's first table.
    bench_peer_a: log { subject = "", purpose = "bench", retain = "run", erase = keep("a bench"),
        columns { id: Id, at: Time, kind: Plain, actor_kind: Plain, subject: Plain,
            aggregate: Plain, aggregate_id: Plain, version: Plain, entry: Plain,
            body: Sealed, leaf: Plain, mac: Plain } }
    /// The peer's second table.
    bench_peer_b: log { subject = "", purpose = "bench", retain = "run", erase = keep("a bench"),
        columns { idx: Plain, id: Id, at: Time, kind: Plain, actor_kind: Plain,
            subject: Plain, aggregate: Plain, aggregate_id: Plain, version: Plain,
            entry: Plain, body: Sealed, leaf: Plain, mac: Plain } }
}

async fn ours(world: &World, batches: usize, per_batch: usize) -> f64 {
    let owner = world.person().await;
    world.vault.resolve(&[Subject::Account(owner)]).await.expect("a key");
    let mut grown = world.spine.grown();
    let wanted = *grown.borrow() + (batches * per_batch) as u64;
    let stop = CancellationToken::new();
    let sequencer = tokio::spawn(spine::run_sequencer(world.spine.clone(), stop.clone()));
    let began = Instant::now();
    for _ in 0..batches {
        let mut tx = world.spine.begin(&world.ctx(Actor::Nobody)).await.expect("begun");
        for _ in 0..per_batch {
            let event =
                Measured { size: 3, note: "a note of some forty letters or thereabouts".into() };
            tx.emit(About::account(owner, 1), event).expect("emitted");
        }
        tx.commit().await.expect("committed");
    }
    grown.wait_for(|size| *size >= wanted).await.expect("sequenced");
    let took = began.elapsed().as_secs_f64();
    stop.cancel();
    sequencer.await.expect("ended").expect("in order");
    took
}

fn row(number: usize) -> Vec<Value> {
    let mut id = [0_u8; 16];
    kernel::Entropy::fill(&kernel::SystemEntropy, &mut id);
    let bytes = |length: usize| vec![u8::try_from(number % 251).unwrap_or(0); length];
    args![
        id,
        1_795_478_400_000_000_i64,
        "bench.measured",
        "nobody",
        bytes(17),
        "account",
        id,
        1_i64,
        bytes(197),
        bytes(214),
        bytes(32),
        bytes(16)
    ]
}

async fn peer(db: &Db, batches: usize, per_batch: usize) -> f64 {
    let mut index = 0_i64;
    let began = Instant::now();
    for _ in 0..batches {
        let rows: Vec<Vec<Value>> = (0..per_batch).map(row).collect();
        let mut tx = db.begin().await.expect("begun");
        for chunk in rows.chunks(ROWS) {
            tx.run(A, chunk.concat()).await.expect("written");
        }
        tx.commit().await.expect("committed");
        let mut tx = db.begin().await.expect("begun");
        for chunk in rows.chunks(ROWS) {
            let mut values = Vec::new();
            for row in chunk {
                values.push(Value::Int(index));
                values.extend(row.iter().cloned());
                index += 1;
            }
            tx.run(B, values).await.expect("written");
        }
        tx.commit().await.expect("committed");
    }
    began.elapsed().as_secs_f64()
}

async fn measure(world: &World) {
    let db = world.attacker().await;
    let (batches, per_batch) = (40, 512);
    let mut ratios = Vec::new();
    for pass in 0..3 {
        let (ours, peer) =
            (ours(world, batches, per_batch).await, clean_peer(&db, batches, per_batch).await);
        let events = (batches * per_batch) as f64;
        println!(
            "  pass {pass}: emit + sequence {:>8.0} events/s, rows twice {:>8.0} rows/s, ratio {:.2}",
            events / ours,
            events / peer,
            peer / ours
        );
        ratios.push(peer / ours);
    }
    ratios.sort_by(f64::total_cmp);
    println!("  median ratio {:.2} (bar: at least 0.60)", ratios[1]);
    db.close().await;
}

async fn clean_peer(db: &Db, batches: usize, per_batch: usize) -> f64 {
    let mut tx = db.begin().await.expect("begun");
    tx.run("DELETE FROM bench_peer_a", vec![]).await.expect("emptied");
    tx.run("DELETE FROM bench_peer_b", vec![]).await.expect("emptied");
    tx.commit().await.expect("committed");
    peer(db, batches, per_batch).await
}

fn main() {
    println!("SQLite");
    World::run_sqlite(ROOMS, async |world| measure(world).await);
    println!("PostgreSQL");
    World::run_postgres(ROOMS, async |world| measure(world).await);
}
