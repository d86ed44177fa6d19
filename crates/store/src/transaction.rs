//! A write transaction (S2) on either database, as a guard: commit it, or it never happened.

use sqlx::AnyConnection;

use crate::db::{fetch, run};
use crate::writer::Member;
use crate::{Error, FromRow, Row, Value};

/// A write transaction. Dropped without [`Transaction::commit`], nothing of it remains.
#[derive(Debug)]
pub struct Transaction(Inner);

#[derive(Debug)]
enum Inner {
    Sqlite(Member),
    Postgres(sqlx::Transaction<'static, sqlx::Any>),
}

impl Transaction {
    pub(crate) const fn sqlite(member: Member) -> Self {
        Self(Inner::Sqlite(member))
    }

    pub(crate) const fn postgres(transaction: sqlx::Transaction<'static, sqlx::Any>) -> Self {
        Self(Inner::Postgres(transaction))
    }

    fn connection(&mut self) -> Result<&mut AnyConnection, Error> {
        match &mut self.0 {
            Inner::Sqlite(member) => member.connection(),
            Inner::Postgres(transaction) => Ok(transaction),
        }
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn rows(&mut self, text: &'static str, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        fetch(self.connection()?, text, args).await
    }

    /// Runs a statement and returns how many rows it touched.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn run(&mut self, text: &'static str, args: Vec<Value>) -> Result<u64, Error> {
        run(self.connection()?, text, args).await
    }

    /// Reads rows as `T`.
    ///
    /// # Errors
    /// [`Error`], as the database says, or a column that does not fit.
    pub async fn all<T: FromRow>(
        &mut self,
        text: &'static str,
        args: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        self.rows(text, args).await?.iter().map(T::from_row).collect()
    }

    /// Runs a script of several statements without values: migrations only.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), Error> {
        use sqlx::Executor as _;
        self.connection()?.execute(sqlx::raw_sql(text)).await?;
        Ok(())
    }

    /// Makes it so.
    ///
    /// # Errors
    /// [`Error`]; nothing of the transaction remains then.
    pub async fn commit(self) -> Result<(), Error> {
        match self.0 {
            Inner::Sqlite(member) => member.commit().await,
            Inner::Postgres(transaction) => Ok(transaction.commit().await?),
        }
    }

    /// Undoes it now, rather than when dropped.
    ///
    /// # Errors
    /// [`Error`] where the database does not answer; nothing remains then either.
    pub async fn rollback(self) -> Result<(), Error> {
        match self.0 {
            Inner::Sqlite(member) => member.rollback().await,
            Inner::Postgres(transaction) => Ok(transaction.rollback().await?),
        }
    }
}
