//! Races: the same verb by several at once, as they come at a busy moment.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Runs `count` acts at once, each on a task of its own, all let go at one moment; what each gave, in
/// no order. A guard that counts other rows is proved by some rounds of it: one race may be decided
/// by chance.
///
/// # Panics
/// Where an act does.
pub async fn race<T, F>(count: usize, act: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let mut acts = JoinSet::new();
    for number in 0..count {
        let (barrier, act) = (Arc::clone(&barrier), act(number));
        acts.spawn(async move {
            barrier.wait().await;
            act.await
        });
    }
    acts.join_all().await
}
