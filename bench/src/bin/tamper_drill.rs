//! The tamper drill: 10,000 seeded changes of log and fact tables past the spine, each of which a
//! check against an outside checkpoint must find; and the open window, the time from a commit until
//! its event is under a signed checkpoint.
//!
//! `tamper_drill [changes] [seed]`: so many changes on each database in a log of some sixty leaves,
//! and a tenth of them in one that is long enough to have tiles above the lowest. Exits with 1 where
//! one was missed. The drill itself is the one of spine's tests.
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement reads the time, and ends what it spawned"
)]

#[path = "../../../crates/spine/tests/it/drill.rs"]
mod drill;
#[path = "../../../crates/spine/tests/it/thing.rs"]
#[expect(dead_code, reason = "the tests of spine use more of it")]
mod thing;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

// the drill itself, borrowed from the tests of spine, is written with it
use merkle as _;
use testkit::World;
use tokio_util::sync::CancellationToken;

/// Events whose way under a checkpoint is measured.
const EVENTS: usize = 2_000;
/// Things in a log of one tile.
const SHORT: usize = 36;
/// Things in a log with tiles above the lowest.
const LONG: usize = 240;

async fn tamper(world: &World, changes: usize, seed: u64, made: usize) -> u32 {
    let began = Instant::now();
    let mut drill = drill::Drill::prepare(world, seed, made).await;
    let mut told = 0;
    let tally = drill
        .run(changes, &mut |what| {
            told += 1;
            if told <= 20 {
                println!("  MISSED {what}");
            }
        })
        .await;
    drill.close().await;
    let (mut tried, mut found) = (0, 0);
    for kind in drill::KINDS {
        let (of_kind, seen) = tally.get(kind).copied().unwrap_or_default();
        println!("  {kind:<28} {seen:>6} of {of_kind:>6} found");
        tried += of_kind;
        found += seen;
    }
    let took = began.elapsed().as_secs_f64();
    println!("  {:<28} {found:>6} of {tried:>6} found, in {took:.0} s", "all");
    tried - found
}

/// Commits one event at a time, and looks when the signed checkpoint covers it.
async fn open_window(world: &World) {
    let owner = world.person().await;
    let stop = CancellationToken::new();
    let sequencer = tokio::spawn(spine::run_sequencer(world.spine.clone(), stop.clone()));
    let mut grown = world.spine.grown();
    let begun = usize::try_from(*grown.borrow()).unwrap_or(0);
    let committed = Arc::new(std::sync::Mutex::new(Vec::with_capacity(EVENTS)));
    let times = Arc::clone(&committed);
    // told only once the checkpoint over it is signed and stands in the database
    let watcher = tokio::spawn(async move {
        let mut waits: Vec<Duration> = Vec::with_capacity(EVENTS);
        while waits.len() < EVENTS && grown.changed().await.is_ok() {
            let covered = usize::try_from(*grown.borrow_and_update()).unwrap_or(0) - begun;
            let times: std::sync::MutexGuard<'_, Vec<Instant>> = times.lock().expect("times");
            while waits.len() < covered.min(times.len()) {
                waits.push(times[waits.len()].elapsed());
            }
        }
        waits
    });
    let began = Instant::now();
    for _ in 0..EVENTS {
        world.advance(Duration::from_millis(2));
        // from before the commit: what is measured is never too short
        committed.lock().expect("times").push(Instant::now());
        thing::make(world, owner, "measured").await;
    }
    let rate = EVENTS as f64 / began.elapsed().as_secs_f64();
    let mut waits = tokio::time::timeout(Duration::from_secs(60), watcher)
        .await
        .expect("covered")
        .expect("ran");
    stop.cancel();
    sequencer.await.expect("ran").expect("led");
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "  open window over {EVENTS} events ({rate:.0}/s): p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(50),
        at(99),
        at(100)
    );
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mut number =
        |otherwise: u64| words.next().map_or(otherwise, |word| word.parse().expect("a number"));
    let (changes, seed) = (usize::try_from(number(10_000)).expect("a count"), number(1));
    let mut missed = 0;
    for (changes, made) in [(changes, SHORT), (changes / 10, LONG)] {
        println!("SQLite, {changes} changes, {made} things, seed {seed}");
        World::run_sqlite(thing::ROOMS, async |world| {
            missed += tamper(world, changes, seed, made).await;
        });
        println!("PostgreSQL, {changes} changes, {made} things, seed {seed}");
        World::run_postgres(thing::ROOMS, async |world| {
            missed += tamper(world, changes, seed, made).await;
        });
    }
    println!("SQLite");
    World::run_sqlite(thing::ROOMS, async |world| open_window(world).await);
    println!("PostgreSQL");
    World::run_postgres(thing::ROOMS, async |world| open_window(world).await);
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
