//! Erasure, as the tables declare it (P8): what is declared `erase = delete` is deleted here, so that
//! no room writes that code, or forgets it.
//!
//! `identity` erases the account, tells it, and destroys the key; this consumer reads that and
//! deletes the person's rows in every room's tables, a bounded number in each transaction. Done
//! twice after a crash it finds nothing the second time. A table that a consumer writes is declared
//! `delete_in` that consumer instead, because two consumers have no order between them, and the
//! late one would write the person back.

use kernel::AccountId;
use store::args;

use crate::events::RowsErased;
use crate::{
    About, BoxFuture, Consumer, Erase, Error, Recorded, Spine, Sql, Subject, Table, TableKind, Tx,
};

/// The event that a person was erased.
pub const ACCOUNT_ERASED: &str = "identity.account_erased";

/// Rows that one transaction deletes: below what it may tell the digests of.
const ROWS_PER_TX: usize = 256;

impl Recorded {
    /// Who was erased, where this event tells of that. The link to the person may be cut by now, so
    /// that [`Recorded::account`] is none; the thing that the event is about is the account itself.
    #[must_use]
    pub fn erased_account(&self) -> Option<AccountId> {
        (self.kind == ACCOUNT_ERASED).then(|| AccountId::from_bytes(self.aggregate_id))
    }
}

/// Follows erasures through every table that is declared `erase = delete`.
#[derive(Clone, Copy, Debug)]
pub struct Erasure;

impl Erasure {
    /// The name of its cursor.
    pub const NAME: &'static str = "spine.erasure";
}

async fn forget(spine: &Spine, person: AccountId) -> Result<(), Error> {
    for table in spine.tables().filter(|table| table.erase == Erase::Delete) {
        match table.kind {
            TableKind::Fact => while delete_some(spine, table, person).await? == ROWS_PER_TX {},
            TableKind::Upkeep => delete_upkeep(spine, table, person).await?,
            TableKind::Log => {}
        }
    }
    Ok(())
}

async fn delete_some(spine: &Spine, table: &Table, person: AccountId) -> Result<usize, Error> {
    let ctx = spine.system_ctx(Erasure::NAME);
    let delete = Sql::new(table.erase_sql, table.name);
    let limit = i64::try_from(ROWS_PER_TX).unwrap_or(i64::MAX);
    crate::transact!(spine, &ctx, tx => {
        let rows = tx.change(&delete, args![person.as_bytes(), limit]).await?.len();
        if rows > 0 {
            // The person's key is gone: the house tells it, and names nobody.
            let told = RowsErased { table: table.name.to_owned(), rows: rows as u64 };
            tx.emit(About::house("erasure", [0; 16], 0), told)?;
        }
        Ok::<_, Error>(rows)
    })
}

async fn delete_upkeep(spine: &Spine, table: &Table, person: AccountId) -> Result<(), Error> {
    let mut upkeep = spine.upkeep().await?;
    upkeep.run(&Sql::new(table.erase_sql, table.name), args![person.as_bytes()]).await?;
    upkeep.commit().await
}

impl Consumer for Erasure {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[ACCOUNT_ERASED]
    }

    /// Does it all here, in transactions of its own, because a person may have more rows than one
    /// holds. The cursor moves after it.
    fn prepare<'a>(
        &'a self,
        spine: &'a Spine,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            spine.sealer().resolve(&[Subject::House]).await?;
            for person in events.iter().filter_map(Recorded::erased_account) {
                forget(spine, person).await?;
            }
            Ok(())
        })
    }

    fn handle<'a>(&'a self, _: &'a mut Tx, _: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
