//! Rows out of a database: streamed table by table, so that a table of any size passes through
//! bounded memory.

use futures_util::StreamExt as _;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::{BATCH_BYTES, BATCH_ROWS, Shape, Sink};
use crate::lent::{Answers, Lent};
use crate::row::value_of;
use crate::{Db, Error, Row, Transaction, Value};

/// One moment of a database: what others write meanwhile is not in it, and none of them waits.
#[derive(Debug)]
pub struct Snapshot(Lent);

impl Snapshot {
    /// The database as it is now.
    ///
    /// # Errors
    /// [`Error`] where no connection is to be had in time.
    pub async fn of(db: &Db) -> Result<Self, Error> {
        Ok(Self(db.snapshot().await?))
    }

    /// Reads rows of this moment.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn rows(&mut self, text: &'static str, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let answers = self.0.answers();
        answers.within(crate::db::fetch(self.0.connection()?, text, args)).await
    }

    /// How many rows each of these tables has.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn count(&mut self, shapes: &[Shape]) -> Result<Vec<u64>, Error> {
        let mut counts = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let text = format!("SELECT COUNT(*) AS rows_found FROM \"{}\"", shape.table());
            let answers = self.0.answers().of_whole_tables();
            #[expect(clippy::disallowed_methods, reason = "made of a name that was checked")]
            let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
            let connection = self.0.connection()?;
            let counted = async { Ok(query.fetch_one(connection).await?) };
            let row = Row(answers.within(counted).await?);
            counts.push(u64::try_from(row.int("rows_found")?).unwrap_or(0));
        }
        Ok(counts)
    }

    /// Pours every row of these tables into a sink.
    ///
    /// # Errors
    /// [`Error`], as the database or the sink says.
    pub async fn pour(&mut self, shapes: &[Shape], sink: &mut impl Sink) -> Result<(), Error> {
        let answers = self.0.answers();
        pour(self.0.connection()?, answers, shapes, sink).await
    }
}

impl Transaction {
    /// Pours every row of these tables, as this transaction sees them, into a sink.
    pub(super) async fn pour(
        &mut self,
        shapes: &[Shape],
        sink: &mut impl Sink,
    ) -> Result<(), Error> {
        let answers = self.answers();
        pour(self.connection()?, answers, shapes, sink).await?;
        self.ran(());
        Ok(())
    }
}

async fn pour(
    connection: &mut AnyConnection,
    answers: Answers,
    shapes: &[Shape],
    sink: &mut impl Sink,
) -> Result<(), Error> {
    for (number, shape) in shapes.iter().enumerate() {
        let text = format!("SELECT {} FROM \"{}\"", shape.columns_text(), shape.table());
        #[expect(clippy::disallowed_methods, reason = "made of names that were checked")]
        let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        let mut rows = query.fetch(&mut *connection);
        let mut batch = Batch::default();
        loop {
            let next = async { Ok(rows.next().await.transpose()?) };
            let Some(row) = answers.within(next).await? else { break };
            batch.push(values(&row)?);
            if batch.is_full() {
                sink.put(number, batch.take()).await?;
            }
        }
        if !batch.rows.is_empty() {
            sink.put(number, batch.take()).await?;
        }
    }
    Ok(())
}

fn values(row: &AnyRow) -> Result<Vec<Value>, Error> {
    (0..row.len()).map(|at| value_of(row, at, "of a table that is copied")).collect()
}

/// Rows that travel together.
#[derive(Default)]
struct Batch {
    rows: Vec<Vec<Value>>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, row: Vec<Value>) {
        let bytes = row.iter().map(|value| match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Int(_) | Value::Real(_) | Value::NoInt | Value::NoText | Value::NoBytes => 8,
        });
        self.bytes += bytes.sum::<usize>();
        self.rows.push(row);
    }

    const fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self) -> Vec<Vec<Value>> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}
