//! P2, P4: a sequencer that dies between any two steps leaves a log that goes on, and is whole.

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use kernel::Entropy as _;
use spine::EventFilter;

use crate::thing::{self, ROOMS};

/// Polls `inner` at most `polls` times, then drops it where it waits.
struct Cut<F> {
    inner: F,
    polls: u32,
    used: u32,
}

impl<F: Future + Unpin> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.used += 1;
        let polled = Pin::new(&mut self.inner).poll(context);
        if polled.is_pending() && self.polls == 0 {
            context.waker().wake_by_ref();
        }
        polled.map(Some)
    }
}

async fn all_events(world: &testkit::World) -> Vec<(i64, kernel::EventId)> {
    let mut events = Vec::new();
    let mut before = None;
    loop {
        let filter = EventFilter { before, limit: 200, ..EventFilter::default() };
        let page = world.spine.events(&filter).await.unwrap();
        let Some(last) = page.last() else { return events };
        before = Some(last.index);
        events.extend(page.iter().map(|event| (event.index, event.id)));
    }
}

testkit::on_both! { ROOMS;
    async fn three_hundred_deaths_of_a_sequencer(world: &testkit::World) {
        let owner = world.person().await;
        let mut told = BTreeSet::new();
        let mut died = 0;
        // How many polls a whole run took last: a fast machine needs fewer.
        let mut length = 40;
        for round in 0..300_u32 {
            for _ in 0..=round % 3 {
                told.insert(thing::make(world, owner, "through deaths").await.1);
            }
            let mut random = [0_u8; 1];
            world.entropy.fill(&mut random);
            let polls = u32::from(random[0]) % (length + length / 4);
            let mut cut = Cut { inner: pin!(world.spine.sequence()), polls, used: 0 };
            match (&mut cut).await {
                Some(lived) => {
                    lived.unwrap();
                    length = cut.used.max(4);
                }
                None => died += 1,
            }
            if round % 30 == 29 {
                let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
                assert!(found.holds(), "in round {round}: {:?}", found.faults);
            }
        }
        assert!(died > 100, "only {died} deaths");
        // after a restart, with nothing new to bring it on
        world.another_spine().await.sequence().await.unwrap();
        let events = all_events(world).await;
        let indexes: BTreeSet<i64> = events.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, (0..i64::try_from(told.len()).unwrap()).collect());
        assert_eq!(events.into_iter().map(|(_, id)| id).collect::<BTreeSet<_>>(), told);
        let signed = world.spine.checkpoint().await.unwrap().unwrap().claimed().clone();
        assert_eq!(signed.size(), told.len() as u64);
        let found = world.spine.verify(&[signed], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
        assert_eq!(found.pending, 0);
    }

    /// The batch is in the log, and the leader died before it signed: another one, that led before
    /// and has nothing to do, signs.
    async fn a_head_that_was_not_signed_is_signed_by_who_comes(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "grown").await;
        world.spine.sequence().await.unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let standby = tokio::spawn(spine::run_sequencer(world.spine.clone(), stop.clone()));
        let db = world.attacker().await;
        let mut tx = db.begin().await.unwrap();
        let unsign = "UPDATE spine_head SET note_size = 0, note = ''";
        tx.run(unsign, spine::args![]).await.unwrap();
        tx.commit().await.unwrap();
        db.close().await;
        let mut signed = false;
        for _ in 0..2_000 {
            signed = world.spine.checkpoint().await.unwrap().is_some();
            if signed {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stop.cancel();
        standby.await.unwrap().unwrap();
        assert!(signed, "nobody signed it");
    }
}
