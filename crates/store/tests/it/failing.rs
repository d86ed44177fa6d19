//! S5: what failed, told apart; and S2: what a failed statement leaves of its transaction.

use std::time::Duration;

use store::{Db, Error, args};

use crate::{ADD, add, both, id, numbers, open};

both! {
    async fn a_second_row_of_a_key_is_unique(db: &Db) {
        add(db, 1).await.unwrap();
        assert!(matches!(add(db, 1).await, Err(Error::Unique)));
        add(db, 2).await.unwrap();
    }

    async fn our_own_faults_are_broken(db: &Db) {
        let mut tx = db.begin().await.unwrap();
        assert!(matches!(tx.run("SELEKT 1", args![]).await, Err(Error::Broken(_))));
        drop(tx);
        let mut tx = db.begin().await.unwrap();
        let short = tx.run(ADD, args![[1_u8; 3], 1_i64]).await;
        assert!(matches!(short, Err(Error::Broken(_))), "{short:?}");
    }

    /// PostgreSQL answers COMMIT with a silent ROLLBACK there; SQLite would keep the half.
    async fn a_failed_statement_that_is_overlooked_is_no_commit(db: &Db) {
        add(db, 1).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        tx.run(ADD, args![id(2), 2_i64]).await.unwrap();
        assert!(tx.run(ADD, args![id(1), 1_i64]).await.is_err());
        assert!(matches!(tx.run(ADD, args![id(3), 3_i64]).await, Err(Error::Broken(_))));
        assert!(matches!(tx.commit().await, Err(Error::Broken(_))));
        assert_eq!(numbers(db).await, [1]);
        add(db, 4).await.unwrap();
    }

    /// A statement that a caller's timeout cuts off may have run or not: nothing of it stands.
    async fn a_statement_that_is_cut_off_is_no_commit(db: &Db) {
        let mut tx = db.begin().await.unwrap();
        tx.run(ADD, args![id(1), 1_i64]).await.unwrap();
        let slow = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) \
                    INSERT INTO item (id, number, small) SELECT $1, MAX(i), 0 FROM n";
        let cut = crate::cutting::cut(tx.run(slow, args![id(2)]), 1).await;
        assert!(cut.is_none(), "it was to be cut off");
        assert!(tx.commit().await.is_err());
        assert_eq!(numbers(db).await, Vec::<i64>::new());
        add(db, 3).await.unwrap();
    }

    async fn a_commit_that_fails_leaves_nothing(db: &Db) {
        let mut tx = db.begin().await.unwrap();
        tx.run(ADD, args![id(1), 1_i64]).await.unwrap();
        tx.run("INSERT INTO child (id, parent) VALUES (1, 77)", args![]).await.unwrap();
        assert!(tx.commit().await.is_err());
        assert_eq!(numbers(db).await, Vec::<i64>::new());
        add(db, 2).await.unwrap();
    }

    async fn a_closed_database_says_so(db: &Db) {
        db.close().await;
        assert!(matches!(db.begin().await, Err(Error::Unavailable { .. })));
        assert!(matches!(db.read().await, Err(Error::Unavailable { .. })));
    }
}

#[test]
fn readers_refuse_to_write() {
    crate::on_sqlite(async |db, _| {
        let mut read = db.read().await.unwrap();
        assert!(read.rows(ADD, args![id(1), 1_i64]).await.is_err()); // S4
        assert_eq!(numbers(db).await, Vec::<i64>::new());
    });
}

#[test]
fn a_writer_of_another_process_makes_it_busy() {
    crate::on_sqlite(async |db, url| {
        let other = open(url, Duration::from_secs(5)).await;
        let mut tx = other.begin().await.unwrap();
        tx.run("PRAGMA busy_timeout = 20", args![]).await.unwrap();
        tx.commit().await.unwrap();
        let held = db.begin().await.unwrap();
        let error = other.begin().await.unwrap_err();
        assert!(error.is_busy(), "{error:?}");
        held.rollback().await.unwrap();
        add(&other, 1).await.unwrap();
        other.close().await;
    });
}

#[test]
fn beginning_within_a_transaction_ends_in_time() {
    crate::on_sqlite(async |db, url| {
        let short = open(url, Duration::from_millis(100)).await;
        let held = short.begin().await.unwrap();
        assert!(matches!(short.begin().await, Err(Error::Unavailable { .. })));
        held.commit().await.unwrap();
        add(&short, 1).await.unwrap();
        short.close().await;
        assert_eq!(numbers(db).await, [1]);
    });
}

#[test]
fn a_broken_deadlock_is_busy() {
    crate::on_postgres(async |db, _| {
        add(db, 1).await.unwrap();
        add(db, 2).await.unwrap();
        let raise = "UPDATE item SET number = number + 10 WHERE id = $1";
        let meet = tokio::sync::Barrier::new(2);
        let cross = async |first: i64, second: i64| {
            let mut tx = db.begin().await?;
            tx.run(raise, args![id(first)]).await?;
            meet.wait().await;
            tx.run(raise, args![id(second)]).await?;
            tx.commit().await
        };
        let (one, two) = tokio::join!(cross(1, 2), cross(2, 1));
        assert_eq!([&one, &two].iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(one.err().or(two.err()).unwrap().is_busy());
    });
}

#[test]
fn a_full_disk_is_told_and_takes_nobody_in() {
    crate::on_sqlite(async |db, _| {
        let mut tx = db.begin().await.unwrap();
        tx.run("PRAGMA max_page_count = 60", args![]).await.unwrap();
        tx.commit().await.unwrap();
        let writers: Vec<_> = (0..100)
            .map(|number| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut tx = db.begin().await?;
                    tx.run(ADD, args![id(number), number]).await?;
                    let fill = "UPDATE item SET bytes = $2 WHERE id = $1";
                    tx.run(fill, args![id(number), vec![7_u8; 5_000]]).await?;
                    tx.commit().await.map(|()| number)
                })
            })
            .collect();
        let (mut written, mut full) = (Vec::new(), 0);
        for writer in writers {
            match writer.await.unwrap() {
                Ok(number) => written.push(number),
                Err(Error::Unavailable { why, .. }) => {
                    assert_eq!(why, "the disk is full");
                    full += 1;
                }
                Err(Error::CommitFailed) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        written.sort_unstable();
        assert!(full > 0 && !written.is_empty(), "{full} full, {} written", written.len());
        assert_eq!(numbers(db).await, written, "exactly those that were told so");
        let mut tx = db.begin().await.unwrap();
        tx.run("PRAGMA max_page_count = 10000", args![]).await.unwrap();
        tx.run(ADD, args![id(1_000), 1_000_i64]).await.unwrap();
        tx.commit().await.unwrap();
    });
}
