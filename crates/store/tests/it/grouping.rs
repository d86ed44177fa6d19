//! S3: writers that wait share one commit, and none is told more or less than what happened.

use store::{Error, args};

use crate::{ADD, add, both, id, numbers};
use store::Db;

both! {
    async fn every_writer_is_told_the_truth(db: &Db) {
        let writers: Vec<_> = (0..120)
            .map(|number| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut tx = db.begin().await.unwrap();
                    tx.run(ADD, args![id(number), number]).await.unwrap();
                    match number % 4 {
                        0 => tx.rollback().await.unwrap(),
                        1 => drop(tx),
                        _ => {
                            tx.commit().await.unwrap();
                            assert!(numbers(&db).await.contains(&number), "told, so to be read");
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let expected: Vec<i64> = (0..120).filter(|number| number % 4 > 1).collect();
        assert_eq!(numbers(db).await, expected);
    }

    /// One whose commit the database refuses may take its group down; nobody is told "done" then.
    async fn a_group_that_fails_is_told(db: &Db) {
        let writers: Vec<_> = (0..120_i64)
            .map(|number| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut tx = db.begin().await?;
                    tx.run(ADD, args![id(number), number]).await?;
                    if number % 10 == 0 {
                        let orphan = "INSERT INTO child (id, parent) VALUES ($1, 77)";
                        tx.run(orphan, args![number]).await?;
                    }
                    tx.commit().await.map(|()| number)
                })
            })
            .collect();
        let mut written = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(number) => written.push(number),
                Err(Error::CommitFailed | Error::Broken(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(numbers(db).await, written);
        assert!(written.iter().all(|number| number % 10 != 0));
        add(db, 1_000).await.unwrap();
    }
}
