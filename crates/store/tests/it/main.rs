//! The store's promises (S1–S5) on SQLite and PostgreSQL: what one text can say on both, and what
//! remains of a transaction that failed, was dropped, or met a full disk.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop where it stands, and ends what it spawned"
)]

mod copying;
mod cutting;
mod dialect;
mod failing;
mod grouping;
mod silent;
mod upgrading;

use std::time::Duration;

use store::{Db, Migration, Options, args};

/// What the tests write into.
pub(crate) const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "test/0001_schema",
    text: "CREATE TABLE item (id BYTEA PRIMARY KEY CHECK (length(id) = 16), \
           number BIGINT NOT NULL, small SMALLINT NOT NULL, name TEXT, ratio DOUBLE PRECISION, \
           bytes BYTEA); \
           CREATE UNIQUE INDEX item_name ON item (name) WHERE small = 1; \
           CREATE TABLE parent (id BIGINT PRIMARY KEY); \
           CREATE TABLE child (id BIGINT PRIMARY KEY, \
           parent BIGINT REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);",
}];

pub(crate) const ADD: &str = "INSERT INTO item (id, number, small) VALUES ($1, $2, 0)";

pub(crate) fn id(number: i64) -> [u8; 16] {
    i128::from(number).to_be_bytes()
}

/// The numbers of all items, in order.
pub(crate) async fn numbers(db: &Db) -> Vec<i64> {
    let mut read = db.read().await.unwrap();
    let rows = read.rows("SELECT number FROM item ORDER BY number", args![]).await.unwrap();
    rows.iter().map(|row| row.int("number").unwrap()).collect()
}

/// Writes one item in a transaction of its own.
pub(crate) async fn add(db: &Db, number: i64) -> Result<(), store::Error> {
    let mut tx = db.begin().await?;
    tx.run(ADD, args![id(number), number]).await?;
    tx.commit().await
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

pub(crate) async fn open(url: &str, patience: Duration) -> Db {
    let options = Options { acquire_timeout: patience, ..Options::new(url) };
    Db::open(&options).await.unwrap()
}

async fn prepared(url: &str) -> Db {
    let db = open(url, Duration::from_secs(20)).await;
    store::migrate(&db, SCHEMA, kernel::Timestamp::default()).await.unwrap();
    db
}

/// Runs a test on SQLite; it is also told the URL.
pub(crate) fn on_sqlite(test: impl AsyncFnOnce(&Db, &str)) {
    let dir = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", dir.path().join("test.db").display());
    runtime().block_on(async {
        let db = prepared(&url).await;
        test(&db, &url).await;
        db.close().await;
    });
}

/// Runs a test on PostgreSQL.
pub(crate) fn on_postgres(test: impl AsyncFnOnce(&Db, &str)) {
    testkit::with_postgres(|url| {
        runtime().block_on(async {
            let db = prepared(url).await;
            test(&db, url).await;
            db.close().await;
        });
    });
}

/// Makes of each test one for each database.
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: &Db) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn body($db: &Db) $body

            #[test]
            fn sqlite() {
                crate::on_sqlite(async |db, _| body(db).await);
            }

            #[test]
            fn postgres() {
                crate::on_postgres(async |db, _| body(db).await);
            }
        }
    )+};
}
pub(crate) use both;
