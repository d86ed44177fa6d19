//! Erasure and retention, as the tables declare them (P8): what is declared `erase = delete` or
//! `delete_after` is deleted here, so that no room writes that code, or forgets it.
//!
//! `identity` erases the account, tells it, and destroys the key; this consumer reads that and
//! deletes the person's rows in every room's tables, a bounded number in each transaction. Done
//! twice after a crash it finds nothing the second time. A table that a consumer writes is declared
//! `delete_in` that consumer instead, because two consumers have no order between them, and the
//! late one would write the person back.

use std::time::Duration;

use kernel::AccountId;

use crate::events::{RowsErased, RowsRetired};
use crate::{
    About, BoxFuture, Consumer, Erase, Error, Event, Opened, Recorded, Spine, Sql, Subject,
    TableKind, Tx, Value,
};

/// The event that a person was erased.
pub const ACCOUNT_ERASED: &str = "identity.account_erased";

/// Rows that one transaction deletes: below what it may tell the digests of.
const ROWS_PER_TX: usize = 256;
const LIMIT: i64 = ROWS_PER_TX as i64;
/// Transactions of one table in one call of retention.
const PASSES: usize = 40;

impl Recorded {
    /// Who was erased, where this event tells of that. The link to the person may be cut by now, so
    /// that [`Recorded::account`] is none; the thing that the event is about is the account itself.
    #[must_use]
    pub fn erased_account(&self) -> Option<AccountId> {
        // Nothing of a forged event is believed, least of all whose rows shall go.
        let is_told = self.kind == ACCOUNT_ERASED && self.sealed != Opened::Forged;
        is_told.then(|| AccountId::from_bytes(self.aggregate_id))
    }
}

/// Follows erasures through every table that is declared `erase = delete`.
#[derive(Clone, Copy, Debug)]
pub struct Erasure;

impl Erasure {
    /// The name of its cursor.
    pub const NAME: &'static str = "spine.erasure";
}

/// Deletes some rows of a table of facts, and tells how many, where there were any.
async fn delete_some<E: Event>(
    spine: &Spine,
    (why, delete): (&'static str, &Sql<store::Fact>),
    key: Value,
    told: impl Fn(u64) -> E,
) -> Result<usize, Error> {
    let ctx = spine.system_ctx(why);
    crate::transact!(spine, &ctx, tx => {
        let rows = tx.change(delete, vec![key.clone(), LIMIT.into()]).await?.len();
        if rows > 0 {
            // The house tells it and names nobody: an erased person's key is gone.
            tx.emit(About::house(why, [0; 16], 0), told(rows as u64))?;
        }
        Ok::<_, Error>(rows)
    })
}

async fn delete_upkeep(spine: &Spine, delete: Sql<store::Upkeep>, key: Value) -> Result<(), Error> {
    let mut upkeep = spine.upkeep().await?;
    upkeep.run(&delete, vec![key]).await?;
    upkeep.commit().await
}

impl Spine {
    /// Deletes a person's rows in every table that is declared `erase = delete`, until none is left.
    /// Done again it finds nothing; or what a node wrote that had not heard of the erasure yet.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`].
    pub async fn delete_rows_of(&self, person: AccountId) -> Result<(), Error> {
        self.sealer().resolve(&[Subject::House]).await?;
        for table in self.tables().filter(|table| table.erase == Erase::Delete) {
            match table.kind {
                TableKind::Fact => {
                    let delete = Sql::new(table.erase_sql, table.name);
                    let told = |rows| RowsErased { table: table.name.to_owned(), rows };
                    let key: Value = person.as_bytes().into();
                    // Until none is left, not until fewer than asked for: a second node that deletes
                    // the same rows at the same time may have died before its commit.
                    while delete_some(self, ("erasure", &delete), key.clone(), told).await? > 0 {}
                }
                TableKind::Upkeep => {
                    let delete = Sql::new(table.erase_sql, table.name);
                    delete_upkeep(self, delete, person.as_bytes().into()).await?;
                }
                TableKind::Log => {}
            }
        }
        Ok(())
    }

    /// Deletes the rows whose time is over, as each table's `delete_after` says, and tells how many.
    /// To be called now and then; what is too much for one call is left to the next.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`].
    pub async fn retire_rows(&self) -> Result<(), Error> {
        self.sealer().resolve(&[Subject::House]).await?;
        let now = self.clock().now();
        for table in self.tables() {
            let Some((_, days)) = table.delete_after else { continue };
            let before = now.minus(Duration::from_secs(u64::from(days) * 86_400));
            match table.kind {
                TableKind::Fact => {
                    let delete = Sql::new(table.retire_sql, table.name);
                    let told = |rows| RowsRetired { table: table.name.to_owned(), rows };
                    for _ in 0..PASSES {
                        let key = before.into();
                        if delete_some(self, ("retention", &delete), key, told).await? < ROWS_PER_TX
                        {
                            break;
                        }
                    }
                }
                TableKind::Upkeep => {
                    let delete = Sql::new(table.retire_sql, table.name);
                    delete_upkeep(self, delete, before.into()).await?;
                }
                TableKind::Log => {}
            }
        }
        Ok(())
    }
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
            for person in events.iter().filter_map(Recorded::erased_account) {
                spine.delete_rows_of(person).await?;
            }
            Ok(())
        })
    }

    fn handle<'a>(&'a self, _: &'a mut Tx, _: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
