//! W4: of an erased person this room keeps no row. `identity` erases the account and tells it; each
//! room that keeps something under `erase = delete` or `blank` follows that event.

use kernel::AccountId;
use spine::{About, BoxFuture, Consumer, Error, Recorded, Subject, Tx, args, transact};

use crate::events::Erased;
use crate::room::Wishes;
use crate::wish::ERASE;

/// The event that is followed. A room cannot import another: the name is all it knows.
pub(crate) const ACCOUNT_ERASED: &str = "identity.account_erased";

/// Rows that one transaction deletes: below the 512 whose digests it may tell.
const ROWS_PER_TX: usize = 500;

/// Who was erased, where the event tells of that. The link to the account may be cut by now
/// (`event.account()` is none): the thing that the event is about is the account itself.
pub(crate) fn erased(event: &Recorded) -> Option<AccountId> {
    (event.kind == ACCOUNT_ERASED).then(|| AccountId::from_bytes(event.aggregate_id))
}

/// Follows erasures. Run by the binary with `spine::run_consumer`.
#[derive(Debug)]
pub struct Erasure {
    room: Wishes,
}

impl Erasure {
    /// The consumer of this room.
    #[must_use]
    pub const fn new(room: Wishes) -> Self {
        Self { room }
    }

    /// Deletes a person's wishes, as many transactions as it takes.
    async fn forget(&self, person: AccountId) -> Result<(), Error> {
        loop {
            let deleted = self.forget_some(person).await?;
            if deleted < ROWS_PER_TX {
                return Ok(());
            }
        }
    }

    async fn forget_some(&self, person: AccountId) -> Result<usize, Error> {
        let spine = &self.room.spine;
        let ctx = spine.system_ctx(self.name());
        let limit = i64::try_from(ROWS_PER_TX).unwrap_or(i64::MAX);
        transact!(spine, &ctx, tx => {
            let rows = tx.change(&ERASE, args![person.as_bytes(), limit]).await?;
            if !rows.is_empty() {
                let wishes = i64::try_from(rows.len()).unwrap_or(i64::MAX);
                // the person's key is gone: the house tells it, and names nobody
                tx.emit(About::house("wish", [0; 16], 0), Erased { wishes })?;
            }
            Ok::<_, Error>(rows.len())
        })
    }
}

impl Consumer for Erasure {
    fn name(&self) -> &'static str {
        "wish.erasure"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[ACCOUNT_ERASED]
    }

    /// Does it all here, in transactions of its own, because a person may have more rows than one
    /// holds. Done twice after a crash, it finds nothing the second time; the cursor moves after it.
    fn prepare<'a>(&'a self, events: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.room.spine.sealer().resolve(&[Subject::House]).await?;
            for person in events.iter().filter_map(erased) {
                self.forget(person).await?;
            }
            Ok(())
        })
    }

    fn handle<'a>(&'a self, _: &'a mut Tx, _: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
