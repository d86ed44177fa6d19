//! S2: callers that go away at any moment, two hundred at a time.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use kernel::Entropy as _;
use store::{Db, args};

use crate::{ADD, add, both, id, numbers};

/// Polls `inner` at most `polls` times, then gives it up.
struct Cut<F> {
    inner: F,
    polls: u32,
}

impl<F: Future + Unpin> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        let polled = Pin::new(&mut self.inner).poll(context);
        if polled.is_pending() && self.polls == 0 {
            // the very next moment, while what was asked for is on its way
            context.waker().wake_by_ref();
        }
        polled.map(Some)
    }
}

pub(crate) async fn cut<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    Cut { inner: pin!(future), polls }.await
}

#[derive(Default)]
struct Seen {
    begun_commit: BTreeSet<i64>,
    committed: BTreeSet<i64>,
}

async fn write(db: &Db, number: i64, seen: &Mutex<Seen>) {
    let mut tx = db.begin().await.unwrap();
    tx.run(ADD, args![id(number), number]).await.unwrap();
    seen.lock().unwrap().begun_commit.insert(number);
    tx.commit().await.unwrap();
    seen.lock().unwrap().committed.insert(number);
}

both! {
    async fn two_hundred_callers_that_go_away(db: &Db) {
        let entropy = testkit::SeededEntropy::new(2);
        for round in 0..5 {
            let seen = Arc::new(Mutex::new(Seen::default()));
            let before = numbers(db).await.len();
            let writers: Vec<_> = (0..200)
                .map(|number| {
                    let mut random = [0_u8; 1];
                    entropy.fill(&mut random);
                    let (db, seen) = (db.clone(), Arc::clone(&seen));
                    tokio::spawn(async move {
                        let number = round * 1_000 + number;
                        cut(write(&db, number, &seen), u32::from(random[0] % 24)).await;
                    })
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
            // queues behind all that the writers left
            add(db, round * 1_000 + 999).await.unwrap();
            let there: BTreeSet<i64> = numbers(db).await.into_iter().collect();
            let seen = std::mem::take(&mut *seen.lock().unwrap());
            assert!(seen.committed.is_subset(&there), "told and lost");
            let new = there.iter().filter(|number| **number >= round * 1_000);
            let odd: Vec<&i64> = new
                .filter(|number| **number % 1_000 != 999 && !seen.begun_commit.contains(number))
                .collect();
            assert!(odd.is_empty(), "never committed, and there: {odd:?}");
            assert!(there.len() > before);
        }
    }

    async fn a_beginning_that_is_cut_off_blocks_nobody(db: &Db) {
        for polls in 0..6 {
            drop(cut(db.begin(), polls).await);
            add(db, i64::from(polls)).await.unwrap();
        }
        assert_eq!(numbers(db).await.len(), 6);
    }
}
