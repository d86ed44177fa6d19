//! What the log says, and whether it holds: a use case ends in what was told of it.

use kernel::{Actor, Limits};
use spine::{EventFilter, Recorded, ResponseRequested, Subject};

use crate::World;

impl World {
    /// The newest events of this kind (`room.what_happened`), at most [`Limits::PAGE_ROWS`], oldest
    /// first, after everything that waits got its leaf. What was told at one moment of the test's
    /// clock has no order: [`World::advance`] between two acts gives them one.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn told(&self, kind: &str) -> Vec<Recorded> {
        self.spine.sequence().await.expect("leaves");
        let filter = EventFilter {
            kind: Some(kind.to_owned()),
            limit: Limits::PAGE_ROWS,
            ..EventFilter::default()
        };
        let mut events = self.spine.events(&filter).await.expect("events");
        events.reverse();
        events
    }

    /// Asks for an answer as a rule does, and gives it its leaf; what obeys it is run by the test.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn ask(&self, request: ResponseRequested) {
        let ctx = self.ctx(Actor::System("watch"));
        let mut whom = vec![Subject::Day(ctx.now.day())];
        whom.extend(request.account.map(Subject::Account));
        self.vault.resolve(&whom).await.expect("keys");
        let mut tx = self.spine.begin(&ctx).await.expect("a transaction");
        request.request(&mut tx).expect("asked");
        tx.commit().await.expect("committed");
        self.spine.sequence().await.expect("a leaf");
    }

    /// Checks the whole log, and each fact row against what was told of it.
    ///
    /// # Panics
    /// Where it does not hold; the message names each fault.
    pub async fn check_log(&self) {
        self.spine.sequence().await.expect("leaves");
        let verified = self.spine.verify(&[], &mut |_| {}).await.expect("a log that can be read");
        assert!(verified.holds(), "{:?}", verified.faults);
    }
}
