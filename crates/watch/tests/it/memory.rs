//! A2: each event is counted once, whatever crashes, comes again, or races.

use std::sync::Arc;

use spine::{Consumer as _, EventFilter, Recorded};
use watch::Watch;

use crate::scene::*;

const BAD: &str = "198.51.100.9";

/// The log so far, oldest first.
async fn log(world: &testkit::World) -> Vec<Recorded> {
    let filter = EventFilter { limit: 200, ..EventFilter::default() };
    let mut events = world.spine.events(&filter).await.unwrap();
    events.reverse();
    events
}

/// Hands a batch over past the cursor, as a broken delivery would.
async fn hand_over(world: &testkit::World, watch: &Watch, events: &[Recorded], commit: bool) {
    watch.prepare(&world.spine, events).await.unwrap();
    let ctx = world.spine.system_ctx("watch");
    let mut tx = world.spine.begin(&ctx).await.unwrap();
    watch.handle(&mut tx, events).await.unwrap();
    if commit {
        tx.commit().await.unwrap();
    } else {
        tx.rollback().await.unwrap();
    }
}

testkit::on_both! { ROOMS;
    async fn a_restart_in_the_middle_of_a_window_keeps_the_counts(world: &testkit::World) {
        let before = open(world, acting());
        spray(world, BAD, 6).await;
        deliver(world, &before).await;
        assert!(alerts(&before).await.is_empty());
        let spine = world.another_spine().await;
        let after = Watch::open(spine.clone(), world.vault.clone(), acting()).unwrap();
        for number in 6..10 {
            fail(world, BAD, Who::Nobody(&format!("{number}@{BAD}.test"))).await;
        }
        world.spine.sequence().await.unwrap();
        deliver_on(&spine, &after).await;
        assert_eq!(alerts_of(&after, "stuffing_client").await.len(), 1);
        let why = after.why(alerts(&after).await[0].id).await.unwrap();
        assert_eq!(why.details.unwrap().bad, 10);
        spine.close().await;
    }

    async fn a_batch_that_comes_again_counts_nothing(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 6).await;
        world.spine.sequence().await.unwrap();
        let events = log(world).await;
        // guessing_client and others count events, not accounts: they would double
        for _ in 0..10 {
            hand_over(world, &watch, &events, true).await;
        }
        for number in 6..9 {
            fail(world, BAD, Who::Nobody(&format!("{number}@{BAD}.test"))).await;
        }
        deliver(world, &watch).await;
        assert!(alerts(&watch).await.is_empty());
        fail(world, BAD, Who::Nobody("10@shop.test")).await;
        deliver(world, &watch).await;
        let why = watch.why(alerts(&watch).await[0].id).await.unwrap();
        assert_eq!(why.details.unwrap().bad, 10);
        assert_eq!(why.events.len(), 10);
    }

    async fn a_batch_that_was_rolled_back_counts_when_it_comes_again(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 10).await;
        world.spine.sequence().await.unwrap();
        let events = log(world).await;
        for _ in 0..3 {
            hand_over(world, &watch, &events, false).await;
            assert!(alerts(&watch).await.is_empty());
        }
        deliver(world, &watch).await;
        let why = watch.why(alerts(&watch).await[0].id).await.unwrap();
        assert_eq!(why.details.unwrap().bad, 10);
        assert_eq!(asked(world).await.len(), 1);
    }

    async fn eight_nodes_that_deliver_at_once_answer_once(world: &testkit::World) {
        let mut nodes = Vec::new();
        for _ in 0..8 {
            let spine = world.another_spine().await;
            let watch = Watch::open(spine.clone(), world.vault.clone(), acting()).unwrap();
            nodes.push((spine, Arc::new(watch)));
        }
        for round in 0..4 {
            for number in 0..6 {
                fail(world, BAD, Who::Nobody(&format!("{round}.{number}@shop.test"))).await;
            }
            world.spine.sequence().await.unwrap();
            let mut deliveries = tokio::task::JoinSet::new();
            for (spine, watch) in nodes.clone() {
                deliveries.spawn(async move { spine.consume(watch.as_ref()).await });
            }
            let done = deliveries.join_all().await;
            assert!(done.iter().any(Result::is_ok), "{done:?}");
        }
        let last = open(world, acting());
        deliver(world, &last).await;
        assert_eq!(asked(world).await.len(), 1);
        let alerts = alerts_of(&last, "stuffing_client").await;
        assert_eq!((alerts.len(), alerts[0].times), (1, 1));
        assert_eq!(last.tallies(world.now(), 24).await.unwrap()["stuffing_client"].fired, 1);
        for (spine, _) in nodes {
            spine.close().await;
        }
    }

    // A4: what is over is swept, in memory and in the database
    async fn windows_whose_time_is_over_leave_the_database(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 6).await;
        deliver(world, &watch).await;
        let count = async || {
            let db = world.attacker().await;
            let mut read = db.read().await.unwrap();
            let text = "SELECT CAST(COUNT(*) AS BIGINT) AS n FROM watch_window";
            let rows = read.rows(text, Vec::new()).await.unwrap();
            let n = rows[0].int("n").unwrap();
            drop(read);
            db.close().await;
            n
        };
        assert!(count().await > 6);
        world.advance(std::time::Duration::from_secs(2 * 86_400));
        fail(world, "192.0.2.200", Who::Nobody("late@shop.test")).await;
        deliver(world, &watch).await;
        assert!(count().await <= 8, "{}", count().await);
    }
}
