//! Every fact row must be the one that was attested last. A living system is checked as it moves:
//! a row that does not fit is read again, and may be any state that is attested by then.

use std::collections::BTreeMap;

use store::args;

use super::marks::Key;
use super::{PAGE, Walk};
use crate::tx::digest_row;
use crate::{Error, Table, TableKind};

/// How often to look again at rows that did not fit. Once is enough where no row is missed between
/// two reads; the other times cost nothing where nothing is wrong.
const ROUNDS: usize = 3;
/// Above every id: page by page we come down from here.
const ABOVE: [u8; 32] = [0xff; 32];

/// Rows that did not fit, with the id where one stands.
type Odd = BTreeMap<Key, Option<[u8; 16]>>;

impl Walk<'_> {
    pub(super) async fn check_facts(&mut self) -> Result<(), Error> {
        // In this order: what leaves the outbox meanwhile is found in the log.
        self.attest_pending().await?;
        self.read_leaves(&mut |_| {}).await?;
        let tables: Vec<Table> =
            self.spine.tables().filter(|t| t.kind == TableKind::Fact).copied().collect();
        let mut odd = Odd::new();
        for table in &tables {
            self.read_facts(table, &mut odd).await?;
        }
        odd.extend(self.marks.unmet().into_iter().map(|key| (key, None)));
        for _ in 0..ROUNDS {
            if odd.is_empty() {
                return Ok(());
            }
            odd = self.look_again(&tables, odd).await?;
        }
        for (key, id) in odd {
            let what = match (id.is_some(), self.marks.is_attested(&key)) {
                (false, _) => "it was deleted, and nothing tells of it",
                (true, false) => "nothing tells of it",
                (true, true) => "it is not as it was told",
            };
            let place = format!("a row of {}", self.marks.name(key.0));
            self.out.fault_each(place, what);
        }
        Ok(())
    }

    async fn read_facts(&mut self, table: &Table, odd: &mut Odd) -> Result<(), Error> {
        let number = self.marks.table(table.name);
        let mut read = self.spine.0.db.read().await?;
        let nameless = read.rows(table.nameless_sql, args![]).await?;
        if nameless.first().map(|row| row.int("rows_found")).transpose()? != Some(0) {
            self.out.fault(format!("a row of {}", table.name), "it has no id");
        }
        let mut below = ABOVE.to_vec();
        loop {
            let rows = read.rows(table.page_sql, args![&below, PAGE]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let (Ok(id), Ok((version, digest))) = (row.id16("id"), digest_row(table, row))
                else {
                    // Below it only its like can stand.
                    self.out.fault(format!("a row of {}", table.name), "it cannot be read");
                    return Ok(());
                };
                below = id.to_vec();
                self.out.rows += 1;
                let key = (number, self.spine.0.sealer.pseudonym(&id));
                if !self.marks.meet(key, version, digest) {
                    odd.insert(key, Some(id));
                }
            }
        }
    }

    /// Reads odd rows again, then what was attested since, and returns those that are odd still.
    async fn look_again(&mut self, tables: &[Table], mut odd: Odd) -> Result<Odd, Error> {
        self.marks.watch(odd.keys());
        let mut found = BTreeMap::new();
        let mut read = self.spine.0.db.read().await?;
        for (key, id) in &odd {
            let table = tables.iter().find(|table| table.name == self.marks.name(key.0));
            let (Some(table), Some(id)) = (table, id) else { continue };
            if let Some(row) = read.rows(table.digest_sql, args![*id]).await?.first()
                && let Ok(state) = digest_row(table, row)
            {
                found.insert(*key, state);
            }
        }
        drop(read);
        self.attest_pending().await?;
        self.read_leaves(&mut |_| {}).await?;
        odd.retain(|key, _| {
            let watch = self.marks.watched(key);
            !watch.is_some_and(|watch| watch.allows(found.get(key).copied()))
        });
        Ok(odd)
    }
}
