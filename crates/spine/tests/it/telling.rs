//! P1: facts and the event that tells of them, together or not at all.

use kernel::Actor;
use spine::{Error, EventFilter, Opened, args};

use crate::thing::{self, MAKE, ROOMS, ThingMade, USE, USES};

testkit::on_both! { ROOMS;
    async fn what_is_told_can_be_read(world: &testkit::World) {
        let owner = world.person().await;
        let (_, event) = thing::make(world, owner, "a red scarf").await;
        world.spine.sequence().await.unwrap();
        let recorded = world.spine.event(event).await.unwrap();
        let parsed = recorded.parse::<ThingMade>().unwrap();
        assert_eq!((parsed.size, parsed.note.as_str()), (3, "a red scarf"));
        assert_eq!(recorded.account(), Some(owner));
        assert_eq!(recorded.actor_name(), Some(owner.to_string().as_str()));
        assert_eq!(recorded.origin().address, Some("203.0.113.7".parse().unwrap()));
        // what is sealed stands nowhere in the clear
        assert!(!recorded.plain.contains_key("note"));
        assert!(matches!(recorded.sealed, Opened::Whole(_)));
    }

    async fn a_change_that_tells_nothing_is_undone(world: &testkit::World) {
        let owner = world.person().await;
        let mut tx = world.spine.begin(&thing::ctx_of(world, owner)).await.unwrap();
        tx.change(&MAKE, args![[7_u8; 16], owner.as_bytes(), "untold"]).await.unwrap();
        let spine = world.spine.clone();
        let outcome = tokio::spawn(async move { tx.commit().await.map(|_| ()) }).await;
        // a panic under debug assertions, an error without them
        assert!(!matches!(outcome, Ok(Ok(()))), "{outcome:?}");
        if let Ok(Err(error)) = outcome {
            assert!(matches!(error, Error::Untold { table: "demo_thing" }));
        }
        assert_eq!(thing::count_things(world).await, 0);
        spine.sequence().await.unwrap();
        assert!(spine.events(&EventFilter::default()).await.unwrap().is_empty());
    }

    async fn a_dropped_transaction_leaves_nothing(world: &testkit::World) {
        let owner = world.person().await;
        let mut tx = world.spine.begin(&thing::ctx_of(world, owner)).await.unwrap();
        thing::make_in(&mut tx, owner, "never").await;
        drop(tx);
        thing::make(world, owner, "after").await;
        assert_eq!(thing::count_things(world).await, 1);
    }

    async fn a_failed_member_does_not_take_the_group_with_it(world: &testkit::World) {
        let owner = world.person().await;
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                let (spine, ctx) = (world.spine.clone(), thing::ctx_of(world, owner));
                tokio::spawn(async move {
                    let mut tx = spine.begin(&ctx).await.unwrap();
                    thing::make_in(&mut tx, owner, "many").await;
                    if number % 3 == 0 {
                        tx.rollback().await.unwrap();
                    } else {
                        tx.commit().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(thing::count_things(world).await, 26);
        world.spine.sequence().await.unwrap();
        let filter = EventFilter { limit: 200, ..EventFilter::default() };
        assert_eq!(world.spine.events(&filter).await.unwrap().len(), 26);
    }

    async fn a_client_that_hangs_up_does_not_stop_a_commit(world: &testkit::World) {
        let owner = world.person().await;
        let mut tx = world.spine.begin(&thing::ctx_of(world, owner)).await.unwrap();
        thing::make_in(&mut tx, owner, "hung up").await;
        let (done, told) = tokio::sync::oneshot::channel();
        tx.after_commit(move || assert_eq!(done.send(()), Ok(())));
        let mut commit = Box::pin(tx.commit());
        // polled once, as by a server whose client then goes away
        let polled = futures_poll_once(&mut commit).await;
        drop(commit);
        if polled.is_none() {
            told.await.unwrap();
        }
        assert_eq!(thing::count_things(world).await, 1);
    }

    async fn upkeep_is_added_up(world: &testkit::World) {
        for _ in 0..3 {
            let mut upkeep = world.spine.upkeep().await.unwrap();
            upkeep.run(&USE, args!["pencil", 2]).await.unwrap();
            upkeep.commit().await.unwrap();
        }
        let rows = world.spine.read().await.unwrap().rows(&USES, args!["pencil"]).await.unwrap();
        assert_eq!(rows[0].int("uses").unwrap(), 6);
        assert_eq!(world.ctx(Actor::Nobody).now, world.now());
    }
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
