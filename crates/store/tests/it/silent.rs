//! S6: a server that dies, or goes silent without a word, and comes back: waits end in time, and
//! what is left of the old connections is not in the way of the new ones.

use std::time::{Duration, Instant};

use store::{Db, Error, Options, args};
use testkit::Proxy;

use crate::{SCHEMA, add, numbers, runtime};

/// Longer than any wait that the test sets, with room for a busy machine.
const BOUND: Duration = Duration::from_secs(5);

fn behind_a_proxy(test: impl AsyncFnOnce(&Db, &Proxy)) {
    testkit::with_postgres(|url| {
        let place = url.split(['@', '/']).nth(3).unwrap();
        let proxy = Proxy::before(place);
        let options = Options {
            connections: 2,
            acquire_timeout: Duration::from_secs(2),
            answer_timeout: Duration::from_millis(300),
            ..Options::new(proxy.instead_of(url))
        };
        runtime().block_on(async {
            let db = Db::open(&options).await.unwrap();
            store::migrate(&db, SCHEMA, kernel::Timestamp::default()).await.unwrap();
            add(&db, 1).await.unwrap();
            test(&db, &proxy).await;
            db.close().await;
        });
    });
}

async fn refused_in_time<T>(work: impl Future<Output = Result<T, Error>>) {
    let start = Instant::now();
    let refused = tokio::time::timeout(BOUND * 4, work).await.unwrap();
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{:?}", refused.err());
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
}

#[test]
fn a_server_that_is_silent_keeps_nobody_waiting() {
    behind_a_proxy(async |db, proxy| {
        // both connections are at work when the silence begins
        let mut reader = db.read().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        proxy.hush();
        refused_in_time(reader.rows("SELECT number FROM item", args![])).await;
        refused_in_time(tx.rows("SELECT number FROM item", args![])).await;
        refused_in_time(tx.commit()).await;
        drop(reader);
        refused_in_time(add(db, 2)).await;
        refused_in_time(db.read()).await;
        proxy.mend();
        add(db, 3).await.unwrap();
        add(db, 4).await.unwrap();
        assert_eq!(numbers(db).await, [1, 3, 4]);
    });
}

#[test]
fn a_commit_that_is_not_answered_is_not_told_as_done() {
    behind_a_proxy(async |db, proxy| {
        let mut tx = db.begin().await.unwrap();
        tx.run(crate::ADD, args![crate::id(2), 2_i64]).await.unwrap();
        proxy.hush();
        refused_in_time(tx.commit()).await;
        proxy.mend();
        add(db, 3).await.unwrap();
        assert_eq!(numbers(db).await, [1, 3]);
    });
}

#[test]
fn a_caller_that_goes_away_in_the_silence_leaves_no_connection_behind() {
    behind_a_proxy(async |db, proxy| {
        for _ in 0..2 {
            let mut reader = db.read().await.unwrap();
            proxy.hush();
            let asked = reader.rows("SELECT number FROM item", args![]);
            assert!(crate::cutting::cut(asked, 1).await.is_none());
            drop(reader);
            proxy.mend();
        }
        let start = Instant::now();
        add(db, 2).await.unwrap();
        assert_eq!(numbers(db).await, [1, 2]);
        assert!(start.elapsed() < BOUND);
    });
}

#[test]
fn a_server_that_is_gone_is_found_again() {
    behind_a_proxy(async |db, proxy| {
        for round in 0..3 {
            let mut tx = db.begin().await.unwrap();
            proxy.lose();
            refused_in_time(tx.rows("SELECT number FROM item", args![])).await;
            drop(tx);
            refused_in_time(add(db, 50)).await;
            proxy.mend();
            add(db, 2 + round).await.unwrap();
        }
        assert_eq!(numbers(db).await, [1, 2, 3, 4]);
    });
}

#[test]
fn a_statement_that_nobody_waits_for_ends_at_the_server() {
    testkit::with_postgres(|url| {
        let options = Options { answer_timeout: Duration::from_millis(300), ..Options::new(url) };
        runtime().block_on(async {
            let db = Db::open(&options).await.unwrap();
            let watcher = Db::open(&Options::new(url)).await.unwrap();
            const SLEEP: &str = "SELECT CAST(pg_sleep(20) AS TEXT) AS slept";
            const ASLEEP: &str = "SELECT COUNT(*) AS count FROM pg_stat_activity \
                 WHERE state = 'active' AND query LIKE 'SELECT CAST(pg_sleep%' \
                 AND datname = current_database()";
            refused_in_time(db.read().await.unwrap().rows(SLEEP, args![])).await;
            let mut tx = db.begin().await.unwrap();
            refused_in_time(tx.rows(SLEEP, args![])).await;
            drop(tx);
            let start = Instant::now();
            loop {
                let mut reader = watcher.read().await.unwrap();
                let rows = reader.rows(ASLEEP, args![]).await.unwrap();
                if rows[0].int("count").unwrap() == 0 {
                    break;
                }
                assert!(start.elapsed() < BOUND, "the server sleeps on");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // A migration takes as long as it takes.
            let slow: &[store::Migration] = &[store::Migration {
                version: 1,
                name: "test/0001_slow",
                text: "CREATE TABLE slow (id BIGINT); SELECT pg_sleep(1)",
            }];
            store::migrate(&db, slow, kernel::Timestamp::default()).await.unwrap();
            db.close().await;
            watcher.close().await;
        });
    });
}
