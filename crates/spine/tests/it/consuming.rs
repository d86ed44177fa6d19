//! P7: a consumer sees each event once, in the transaction of its own writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use spine::{BoxFuture, Consumer, Error, Recorded, Tx, args};
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
}
