//! P7: a consumer sees each event once, in the transaction of its own writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use spine::{BoxFuture, Consumer, Error, EventFilter, Opened, Recorded, Subject, Tx, args};
use tokio_util::sync::CancellationToken;

use crate::thing::{self, ROOMS, USE, USES};

/// Counts what it sees, and fails on its first batches.
#[derive(Default)]
struct Tally {
    fail: AtomicUsize,
}

impl Consumer for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &["demo.thing_made"]
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let uses = i64::try_from(events.len()).unwrap();
            tx.upkeep(&USE, args!["seen", uses]).await?;
            if self
                .fail
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok()
            {
                return Err(Error::NoSuchEvent);
            }
            Ok(())
        })
    }
}

async fn seen(world: &testkit::World) -> i64 {
    let rows = world.spine.read().await.unwrap().rows(&USES, args!["seen"]).await.unwrap();
    rows.first().map_or(0, |row| row.int("uses").unwrap())
}

testkit::on_both! { ROOMS;
    async fn once_each_through_failures_and_restarts(world: &testkit::World) {
        let owner = world.person().await;
        for _ in 0..5 {
            let (id, _) = thing::make(world, owner, "seen").await;
            thing::count_up(world, owner, id).await;
        }
        world.spine.sequence().await.unwrap();
        let tally = Tally { fail: AtomicUsize::new(1) };
        assert!(world.spine.consume(&tally).await.is_err());
        assert_eq!(seen(world).await, 0);
        world.spine.consume(&tally).await.unwrap();
        assert_eq!(seen(world).await, 5);
        // a restart reads the cursor and finds nothing new
        let other = world.another_spine().await;
        other.consume(&Tally::default()).await.unwrap();
        assert_eq!(seen(world).await, 5);
        thing::make(world, owner, "new").await;
        world.spine.sequence().await.unwrap();
        let (first, second) = (Tally::default(), Tally::default());
        let (a, b) = tokio::join!(world.spine.consume(&first), other.consume(&second));
        drop((a, b));
        assert_eq!(seen(world).await, 6);
        other.close().await;
    }

    async fn a_running_consumer_is_woken(world: &testkit::World) {
        let owner = world.person().await;
        let stop = CancellationToken::new();
        let (spine, token) = (world.spine.clone(), stop.clone());
        let consumer = tokio::spawn(async move {
            spine::run_consumer(spine, &Tally::default(), token).await;
        });
        let sequencer = tokio::spawn(spine::run_sequencer(world.spine.clone(), stop.clone()));
        thing::make(world, owner, "woken").await;
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while seen(world).await == 0 && tokio::time::Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        consumer.await.unwrap();
        sequencer.await.unwrap().unwrap();
        assert_eq!(seen(world).await, 1);
    }

    async fn gets_past_what_cannot_be_opened(world: &testkit::World) {
        let (lost, other) = (world.person().await, world.person().await);
        for (owner, note) in [(lost, "without its key"), (other, "forged"), (other, "whole")] {
            thing::make(world, owner, note).await;
            world.spine.sequence().await.unwrap();
        }
        let keys = format!("sqlite://{}", world.dir().join("keys.db").display());
        let keys = store::Db::open(&store::Options::new(keys)).await.unwrap();
        let mut tx = keys.begin().await.unwrap();
        let subject = Subject::Account(lost).to_bytes();
        tx.run("DELETE FROM key_subject WHERE subject = $1", args![subject]).await.unwrap();
        tx.commit().await.unwrap();
        keys.close().await;
        let db = world.attacker().await;
        let mut tx = db.begin().await.unwrap();
        let forge = "UPDATE spine_leaf SET body = \
                     (SELECT body FROM spine_leaf WHERE idx = 2) WHERE idx = 1";
        tx.run(forge, args![]).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        // what is in memory is read again
        world.advance(std::time::Duration::from_secs(90));
        world.spine.consume(&Tally::default()).await.unwrap();
        assert_eq!(seen(world).await, 3);
        let filter = EventFilter { kind: Some("demo.".to_owned()), limit: 9, ..EventFilter::default() };
        let events = world.spine.events(&filter).await.unwrap();
        assert!(matches!(events[0].sealed, Opened::Whole(_)));
        assert_eq!(events[1].sealed, Opened::Forged);
        assert!(events[1].plain.is_empty(), "nothing of a forged event is believed");
        assert_eq!(events[2].sealed, Opened::Missing);
        assert!(!events[2].plain.is_empty());
        // it is told, and a check of the log finds both
        let told = world.told("spine.unreadable_events_passed").await;
        assert_eq!((told.len(), &told[0].plain["count"]), (1, &2.into()));
        assert_eq!(told[0].plain["first_leaf"], 0);
        let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
        let places: Vec<&str> = found.faults.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(places[..2], ["leaf 0", "leaf 1"], "{:?}", found.faults);
    }
}
