//! What one text may say on both databases (lib.rs): each line of that list, and what is refused.

use store::{Backend, Db, ReadOnly, Sql, Value, args};

use crate::{both, id};

const PUT: &str = "INSERT INTO item (id, number, small, name, ratio, bytes) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE \
     SET number = item.number + excluded.number WHERE item.number < 100 RETURNING id, number";

async fn put(db: &Db, number: i64, name: Option<&str>) -> Option<i64> {
    let mut tx = db.begin().await.unwrap();
    let row = args![id(number), number, true, name, 0.5, vec![0_u8, 255]];
    let rows = tx.rows(PUT, row).await.unwrap();
    tx.commit().await.unwrap();
    rows.first().map(|row| row.int("number").unwrap())
}

async fn ints(db: &Db, text: &'static str, args: Vec<Value>) -> Vec<i64> {
    let rows = db.read().await.unwrap().rows(text, args).await.unwrap();
    rows.iter().map(|row| row.int("n").unwrap()).collect()
}

both! {
    async fn writes_that_answer(db: &Db) {
        assert_eq!(put(db, 60, Some("sixty")).await, Some(60));
        assert_eq!(put(db, 60, None).await, Some(120), "the conflict adds up");
        assert_eq!(put(db, 60, None).await, None, "its guard refuses");
        let mut tx = db.begin().await.unwrap();
        let twice = "UPDATE item SET number = $2 WHERE id = $1 AND $2 > 0 RETURNING number";
        assert_eq!(tx.rows(twice, args![id(60), 7_i64]).await.unwrap().len(), 1);
        let with = "WITH old AS (SELECT number, small FROM item WHERE id = $1) \
                    INSERT INTO item (id, number, small) \
                    SELECT CAST($2 AS BYTEA), number + 1, small FROM old RETURNING number";
        // SQLite knows no BYTEA to cast to, so a bound value stands there as it is
        let with = if db.backend() == Backend::Sqlite {
            "WITH old AS (SELECT number, small FROM item WHERE id = $1) \
             INSERT INTO item (id, number, small) \
             SELECT $2, number + 1, small FROM old RETURNING number"
        } else {
            with
        };
        let rows = tx.rows(with, args![id(60), id(61)]).await.unwrap();
        assert_eq!(rows[0].int("number").unwrap(), 8);
        let ignore = "INSERT INTO item (id, number, small) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
        assert_eq!(tx.run(ignore, args![id(61)]).await.unwrap(), 0);
        tx.commit().await.unwrap();
    }

    // S4
    async fn who_reads_cannot_write(db: &Db) {
        put(db, 1, None).await;
        for text in [
            "INSERT INTO item (id, number, small) VALUES ($1, 9, 0)",
            "UPDATE item SET number = 9 WHERE id = $1",
            "DELETE FROM item WHERE id = $1 RETURNING id",
        ] {
            let mut read = db.read().await.unwrap();
            assert!(read.rows(text, args![id(1)]).await.is_err(), "{text}");
        }
        assert_eq!(crate::numbers(db).await, [1]);
        assert_eq!(put(db, 2, None).await, Some(2), "writers still write");
    }

    async fn values_come_back_as_they_went(db: &Db) {
        put(db, i64::MAX, Some("ünï")).await;
        let text = "SELECT id, number, small, name, ratio, bytes FROM item";
        let rows = db.read().await.unwrap().rows(text, args![]).await.unwrap();
        let row = &rows[0];
        assert_eq!(row.id16("id").unwrap(), id(i64::MAX));
        assert_eq!(row.int("number").unwrap(), i64::MAX);
        assert!(row.flag("small").unwrap());
        assert_eq!(row.text("name").unwrap(), "ünï");
        assert!((row.real("ratio").unwrap() - 0.5).abs() < f64::EPSILON);
        assert_eq!(row.bytes("bytes").unwrap(), [0, 255]);
        assert!(row.fixed::<3>("bytes").is_err(), "of another length");
        assert!(row.text("nothing").is_err(), "of no such name");
        let mut tx = db.begin().await.unwrap();
        let blank = "UPDATE item SET name = $1, ratio = NULL, bytes = $2";
        tx.run(blank, args![None::<&str>, None::<&[u8]>]).await.unwrap();
        let rows = tx.rows(text, args![]).await.unwrap();
        for column in ["name", "ratio", "bytes"] {
            assert_eq!(rows[0].value(column).unwrap(), Value::NoBytes, "{column}");
        }
        assert_eq!(rows[0].opt_text("name").unwrap(), None);
        tx.commit().await.unwrap();
    }

    async fn reads_in_pages_with_filters(db: &Db) {
        for number in 1..=5 {
            put(db, number, None).await;
        }
        let page = "SELECT number AS n FROM item WHERE (small, number) > (1, $1) \
                    ORDER BY small, number LIMIT $2";
        assert_eq!(ints(db, page, args![2_i64, 2_i64]).await, [3, 4]);
        let filter = "SELECT number AS n FROM item \
                      WHERE (CAST($1 AS BIGINT) IS NULL OR number = $1) ORDER BY number";
        assert_eq!(ints(db, filter, args![None::<i64>]).await.len(), 5);
        assert_eq!(ints(db, filter, args![4_i64]).await, [4]);
        let count = "SELECT COUNT(*) FILTER (WHERE number > 3) AS n FROM item";
        assert_eq!(ints(db, count, args![]).await, [2]);
        let sum = "SELECT CAST(COALESCE(SUM(number), 0) AS BIGINT) AS n FROM item";
        assert_eq!(ints(db, sum, args![]).await, [15]);
        let window = "SELECT ROW_NUMBER() OVER (ORDER BY number DESC) AS n FROM item ORDER BY number";
        assert_eq!(ints(db, window, args![]).await, [5, 4, 3, 2, 1]);
    }

    async fn what_does_not_fit_is_found_without_running(db: &Db) {
        let fits = Sql::<ReadOnly>::new("SELECT number FROM item WHERE id = $1", "");
        let wrong = Sql::<ReadOnly>::new("SELECT colour FROM item", "");
        let found = db.misfits(&[fits.statement("FITS"), wrong.statement("WRONG")]).await.unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["WRONG"]);
        let columns = db.columns().await.unwrap();
        assert!(columns.contains(&("item".to_owned(), "ratio".to_owned())));
    }
}
