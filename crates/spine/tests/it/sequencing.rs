//! P2, P3: every event one leaf, no gaps, one leader, and a leader that was replaced is harmless.

use std::collections::BTreeSet;

use spine::{EventFilter, args};
use tokio_util::sync::CancellationToken;

use crate::thing::{self, ROOMS};

testkit::on_both! { ROOMS;
    async fn eight_writers_one_dense_log(world: &testkit::World) {
        let owner = world.person().await;
        let stop = CancellationToken::new();
        let sequencer = tokio::spawn(spine::run_sequencer(world.spine.clone(), stop.clone()));
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (spine, ctx) = (world.spine.clone(), thing::ctx_of(world, owner));
                tokio::spawn(async move {
                    let mut events = Vec::new();
                    for _ in 0..25 {
                        let mut tx = spine.begin(&ctx).await.unwrap();
                        events.push(thing::make_in(&mut tx, owner, "one of many").await.1);
                        tx.commit().await.unwrap();
                    }
                    events
                })
            })
            .collect();
        let mut told = BTreeSet::new();
        for writer in writers {
            told.extend(writer.await.unwrap());
        }
        stop.cancel();
        sequencer.await.unwrap().unwrap();
        let filter = EventFilter { limit: 200, ..EventFilter::default() };
        let events = world.spine.events(&filter).await.unwrap();
        let indexes: Vec<i64> = events.iter().rev().map(|event| event.index).collect();
        assert_eq!(indexes, (0..200).collect::<Vec<_>>());
        assert_eq!(events.iter().map(|event| event.id).collect::<BTreeSet<_>>(), told);
        let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
        assert_eq!((found.size, found.rows), (200, 200));
    }

    async fn only_the_leader_sequences(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "first").await;
        world.spine.sequence().await.unwrap();
        let nine = EventFilter { limit: 9, ..EventFilter::default() };
        // another node, while the lease runs: it waits
        let db = world.attacker().await;
        let mut tx = db.begin().await.unwrap();
        tx.run("UPDATE spine_head SET holder = 'node-2' WHERE id = 1", args![]).await.unwrap();
        tx.commit().await.unwrap();
        thing::make(world, owner, "second").await;
        world.spine.sequence().await.unwrap();
        assert_eq!(world.spine.events(&nine).await.unwrap().len(), 1);
        // the lease is over: this node leads again
        world.end_lease().await;
        world.spine.sequence().await.unwrap();
        assert_eq!(world.spine.events(&nine).await.unwrap().len(), 2);
        db.close().await;
    }

    async fn two_sequencers_at_once_make_one_log(world: &testkit::World) {
        let owner = world.person().await;
        for _ in 0..30 {
            thing::make(world, owner, "contended").await;
        }
        let other = world.another_spine().await;
        let (a, b) = tokio::join!(world.spine.sequence(), other.sequence());
        // one of them may have found the other's batch in its way; none may break the log
        drop((a, b));
        world.spine.sequence().await.unwrap();
        let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
        assert_eq!(found.size, 30);
        other.close().await;
    }

    async fn a_row_slipped_into_the_outbox_is_kept_out(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "honest").await;
        let db = world.attacker().await;
        let mut tx = db.begin().await.unwrap();
        tx.run(
            "INSERT INTO spine_outbox (id, at, kind, actor_kind, subject, aggregate, aggregate_id, \
             version, entry, body, leaf, mac) SELECT $1, at, 'identity.signed_up', actor_kind, \
             subject, aggregate, aggregate_id, version, entry, body, $2, mac FROM spine_outbox",
            args![[9_u8; 16], [1_u8; 32]],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        world.spine.sequence().await.unwrap();
        let filter = EventFilter { limit: 9, ..EventFilter::default() };
        let events = world.spine.events(&filter).await.unwrap();
        let kinds: BTreeSet<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, BTreeSet::from(["demo.thing_made", "spine.forged_events_found"]));
        let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
    }
}
