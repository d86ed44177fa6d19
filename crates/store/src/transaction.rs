//! A write transaction (S2) on either database, as a guard: commit it, or it never happened.
//!
//! A statement that failed, or was cut off, ends its transaction: `PostgreSQL` would answer a later
//! commit with a silent rollback, `SQLite` on a full disk may have rolled back by itself.

use sqlx::AnyConnection;

use crate::db::{fetch, run};
use crate::lent::{Answers, Lent};
use crate::writer::Member;
use crate::{Error, FromRow, Row, Value};

/// A write transaction. Dropped without [`Transaction::commit`], nothing of it remains.
#[derive(Debug)]
pub struct Transaction {
    inner: Inner,
    /// A statement did not come to its end: only undoing is left.
    cut: bool,
}

#[derive(Debug)]
enum Inner {
    Sqlite(Member),
    Postgres(Lent),
}

impl Transaction {
    pub(crate) const fn sqlite(member: Member) -> Self {
        Self { inner: Inner::Sqlite(member), cut: false }
    }

    pub(crate) const fn postgres(begun: Lent) -> Self {
        Self { inner: Inner::Postgres(begun), cut: false }
    }

    /// The connection for one statement; [`Transaction::ran`] must follow where it succeeds.
    pub(crate) fn connection(&mut self) -> Result<&mut AnyConnection, Error> {
        if self.cut {
            return Err(cut_short());
        }
        self.cut = true;
        match &mut self.inner {
            Inner::Sqlite(member) => member.connection(),
            Inner::Postgres(lent) => lent.connection(),
        }
    }

    pub(crate) const fn answers(&self) -> Answers {
        match &self.inner {
            Inner::Sqlite(_) => Answers::UNBOUNDED,
            Inner::Postgres(lent) => lent.answers(),
        }
    }

    pub(crate) fn ran<T>(&mut self, outcome: T) -> T {
        self.cut = false;
        outcome
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn rows(&mut self, text: &'static str, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let answers = self.answers();
        let rows = answers.within(fetch(self.connection()?, text, args)).await?;
        Ok(self.ran(rows))
    }

    /// Runs a statement and returns how many rows it touched.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn run(&mut self, text: &'static str, args: Vec<Value>) -> Result<u64, Error> {
        let answers = self.answers();
        let touched = answers.within(run(self.connection()?, text, args)).await?;
        Ok(self.ran(touched))
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
        if matches!(self.inner, Inner::Postgres(_)) {
            // It may take as long as it takes.
            self.connection()?.execute(crate::db::UNBOUNDED_HERE).await?;
            self.ran(());
        }
        self.connection()?.execute(sqlx::raw_sql(text)).await?;
        self.ran(());
        Ok(())
    }

    /// Runs statements that were built at run time: GRANTs only, whose names are checked.
    pub(crate) async fn administer(&mut self, text: String) -> Result<(), Error> {
        use sqlx::Executor as _;
        self.connection()?.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(text))).await?;
        self.ran(());
        Ok(())
    }

    /// Makes it so.
    ///
    /// # Errors
    /// [`Error`]; nothing of the transaction remains then, unless `PostgreSQL` went away during the
    /// very commit: then nobody can tell. [`Error::Broken`] where a statement failed before.
    pub async fn commit(self) -> Result<(), Error> {
        if self.cut {
            self.rollback().await?;
            return Err(cut_short());
        }
        match self.inner {
            Inner::Sqlite(member) => member.commit().await,
            Inner::Postgres(lent) => lent.commit().await,
        }
    }

    /// Undoes it now, rather than when dropped.
    ///
    /// # Errors
    /// [`Error`] where the database does not answer; nothing remains then either.
    pub async fn rollback(self) -> Result<(), Error> {
        match self.inner {
            Inner::Sqlite(member) => member.rollback().await,
            Inner::Postgres(lent) => lent.rollback().await,
        }
    }
}

fn cut_short() -> Error {
    let why = "a statement of this transaction did not end well: it can only be undone";
    Error::Broken(sqlx::Error::Protocol(why.to_owned()))
}
