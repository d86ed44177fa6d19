//! Rows into an empty database, in one transaction with its schema: whatever cuts it short, the
//! database is as empty afterwards as it was before.

use std::sync::Arc;

use kernel::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Counted, Nowhere, Shape, Sink, Tally, Watch, compare};
use crate::db::bind_all;
use crate::migrate::{self, Migration};
use crate::{Db, Error, Transaction, Value};

/// Values that one statement binds: SQLite finds the name of each by walking all before it.
const VALUES_PER_STATEMENT: usize = 256;
/// Rows that one statement writes.
const ROWS_PER_STATEMENT: usize = 32;

/// A database that is being filled.
#[derive(Debug)]
pub struct Filling {
    db: Db,
    tx: Transaction,
    inserts: Vec<Insert>,
    now: Timestamp,
}

/// How rows of one table are written.
#[derive(Debug)]
struct Insert {
    one: Arc<str>,
    many: Arc<str>,
    rows: usize,
    /// What stands for an absent value of each column.
    absent: Vec<Value>,
}

impl Filling {
    /// Begins to fill an empty database whose schema these steps make.
    ///
    /// # Errors
    /// [`Error::Copy`] where it is not empty, or lacks a table or column; as the database says.
    pub async fn begin(
        db: &Db,
        steps: &[Migration],
        shapes: &[Shape],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut tx = db.begin().await?;
        let columns = db.columns_text();
        if let Some(table) = tx.rows(columns, Vec::new()).await?.first() {
            let table = table.text("tab")?;
            return Err(Error::Copy(format!("the database is not empty: it has {table}")));
        }
        migrate::apply(db, &mut tx, steps, now).await?;
        let mut live = Vec::new();
        for row in tx.rows(columns, Vec::new()).await? {
            live.push((row.text("tab")?, row.text("col")?, row.text("kind")?));
        }
        let inserts = shapes.iter().map(|shape| Insert::of(shape, &live)).collect::<Result<_, _>>();
        Ok(Self { db: db.clone(), tx, inserts: inserts?, now })
    }

    /// Reads everything back and holds it against what went in.
    ///
    /// # Errors
    /// [`Error::Copy`] where a table differs; as the database says.
    pub async fn check(
        &mut self,
        shapes: &[Shape],
        wanted: &[Tally],
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let mut nowhere = Nowhere;
        let mut found = Counted::new(&mut nowhere, shapes.len(), watch);
        self.tx.pour(shapes, &mut found).await?;
        compare(shapes, wanted, &found.tallies())
    }

    /// Makes it so: applies the steps that the rows are older than, and holds the database where
    /// there is something left to do before it may be served.
    ///
    /// # Errors
    /// As the database says; it is empty then.
    pub async fn finish(mut self, steps: &[Migration], hold: Option<&str>) -> Result<(), Error> {
        migrate::apply(&self.db, &mut self.tx, steps, self.now).await?;
        if let Some(why) = hold {
            migrate::put_hold(&mut self.tx, why, self.now).await?;
        }
        self.tx.commit().await
    }
}

impl Sink for Filling {
    async fn put(&mut self, table: usize, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        let no_table = || Error::Copy("rows of no known table".to_owned());
        let insert = self.inserts.get(table).ok_or_else(no_table)?;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let many = rows.len() >= insert.rows;
            let taken = if many { insert.rows } else { 1 };
            let mut args = Vec::with_capacity(taken * insert.absent.len());
            for row in rows.by_ref().take(taken) {
                insert.typed(row, &mut args)?;
            }
            let text = if many { &insert.many } else { &insert.one };
            self.tx.run_made(Arc::clone(text), args).await?;
        }
        Ok(())
    }
}

impl Insert {
    fn of(shape: &Shape, live: &[(String, String, String)]) -> Result<Self, Error> {
        let absent = shape.columns().iter().map(|column| {
            let found = live.iter().find(|(tab, col, _)| tab == shape.table() && col == column);
            let (_, _, kind) = found.ok_or_else(|| {
                let place = format!("{}.{column}", shape.table());
                Error::Copy(format!("there is no {place}: the schema is another"))
            })?;
            Ok(match kind.to_ascii_lowercase().as_str() {
                "bytea" => Value::NoBytes,
                "text" => Value::NoText,
                _ => Value::NoInt,
            })
        });
        let absent: Vec<Value> = absent.collect::<Result<_, Error>>()?;
        let most = VALUES_PER_STATEMENT / absent.len().max(1);
        let rows = most.clamp(1, ROWS_PER_STATEMENT);
        Ok(Self { one: text(shape, 1).into(), many: text(shape, rows).into(), rows, absent })
    }

    /// Appends a row's values, each absent one as absent of its column's kind.
    fn typed(&self, row: Vec<Value>, args: &mut Vec<Value>) -> Result<(), Error> {
        if row.len() != self.absent.len() {
            return Err(Error::Copy("a row has another number of columns".to_owned()));
        }
        for (value, absent) in row.into_iter().zip(&self.absent) {
            let is_absent = matches!(value, Value::NoInt | Value::NoText | Value::NoBytes);
            args.push(if is_absent { absent.clone() } else { value });
        }
        Ok(())
    }
}

fn text(shape: &Shape, rows: usize) -> String {
    let mut text = format!("INSERT INTO \"{}\" ({}) VALUES ", shape.table(), shape.columns_text());
    let columns = shape.columns().len();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        let places = (1..=columns).map(|column| format!("${}", row * columns + column));
        text.push_str(&places.collect::<Vec<_>>().join(", "));
        text.push(')');
    }
    text
}

impl Transaction {
    /// Runs a statement that was put together here, of names that were checked.
    async fn run_made(&mut self, text: Arc<str>, args: Vec<Value>) -> Result<u64, Error> {
        let answers = self.answers();
        #[expect(clippy::disallowed_methods, reason = "made of names that were checked")]
        let query = bind_all(sqlx::query(AssertSqlSafe(text)), args);
        let ran = async { Ok(query.execute(self.connection()?).await?.rows_affected()) };
        let touched = answers.within(ran).await?;
        Ok(self.ran(touched))
    }
}
