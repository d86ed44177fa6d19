//! Tables on their way between databases (S7): everything arrives as it was, of one moment, or nothing
//! does.

use kernel::Timestamp;
use store::copy::{Counted, Filling, Nowhere, Shape, Sink, Snapshot, Tally, compare};
use store::{Db, Error, Value, args};

use crate::{SCHEMA, add, both, id, numbers, open};

fn shapes() -> Vec<Shape> {
    let item = ["id", "number", "small", "name", "ratio", "bytes"];
    vec![
        Shape::new("item", item).unwrap(),
        Shape::new("parent", ["id"]).unwrap(),
        Shape::new("child", ["id", "parent"]).unwrap(),
    ]
}

async fn fill_source(db: &Db) {
    const PUT: &str = "INSERT INTO item (id, number, small, name, ratio, bytes) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    let mut tx = db.begin().await.unwrap();
    let rows: Vec<Vec<Value>> = vec![
        args![id(1), i64::MIN, 0_i64, None::<String>, 0.1, None::<Vec<u8>>],
        args![id(2), i64::MAX, 1_i64, "", -1e300, Vec::<u8>::new()],
        args![id(3), 0_i64, 1_i64, "Zürich ☂ '\"\\", 0.0, vec![0_u8, 255, 0]],
        args![id(4), 7_i64, 0_i64, "x".repeat(2_000_000), 5e-324, vec![7_u8; 1_500_000]],
    ];
    for row in rows {
        tx.run(PUT, row).await.unwrap();
    }
    for number in 10..1_300 {
        let row = args![id(number), number, 0_i64, format!("item {number}"), 0.5, None::<Vec<u8>>];
        tx.run(PUT, row).await.unwrap();
    }
    tx.run("INSERT INTO parent (id) VALUES (5)", args![]).await.unwrap();
    tx.run("INSERT INTO child (id, parent) VALUES (1, 5), (2, NULL)", args![]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn tallies(db: &Db) -> Vec<Tally> {
    let (shapes, mut nowhere) = (shapes(), Nowhere);
    let mut watch = |_: usize, _: &Tally| {};
    let mut counted = Counted::new(&mut nowhere, shapes.len(), &mut watch);
    Snapshot::of(db).await.unwrap().pour(&shapes, &mut counted).await.unwrap();
    counted.tallies()
}

async fn begin(db: &Db) -> Result<Filling, Error> {
    Filling::begin(db, SCHEMA, &shapes(), Timestamp::from_micros(1)).await
}

/// Copies and checks; the caller finishes.
async fn filled(source: &Db, target: &Db) -> Filling {
    let shapes = shapes();
    let mut filling = begin(target).await.unwrap();
    let mut seen = 0;
    let mut watch = |_: usize, tally: &Tally| seen += u64::from(tally.rows > 0);
    let mut counted = Counted::new(&mut filling, shapes.len(), &mut watch);
    Snapshot::of(source).await.unwrap().pour(&shapes, &mut counted).await.unwrap();
    let wanted = counted.tallies();
    filling.check(&shapes, &wanted, &mut |_, _| {}).await.unwrap();
    assert!(seen >= 4, "it goes in batches");
    filling
}

/// Hands a test an empty database of the other sort, and one of the same.
async fn beside(db: &Db, test: impl AsyncFn(&Db)) {
    let dir = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", dir.path().join("other.db").display());
    let other = open(&url, std::time::Duration::from_secs(20)).await;
    assert!(other.columns().await.unwrap().is_empty());
    test(&other).await;
    other.close().await;
    drop(db.clone());
}

both! {
    // S7
    async fn everything_arrives_as_it_was(db: &Db) {
        fill_source(db).await;
        beside(db, async |other| {
            filled(db, other).await.finish(&[], None).await.unwrap();
            compare(&shapes(), &tallies(db).await, &tallies(other).await).unwrap();
            assert_eq!(numbers(db).await, numbers(other).await);
            let standing = store::standing(other, SCHEMA).await.unwrap();
            assert!(standing.missing.is_empty());
            let again = begin(other).await.unwrap_err().to_string();
            assert!(again.contains("not empty"), "{again}");
        })
        .await;
    }

    // S7
    async fn cut_short_it_leaves_nothing(db: &Db) {
        fill_source(db).await;
        beside(db, async |other| {
            drop(filled(db, other).await);
            assert!(other.columns().await.unwrap().is_empty());
            // a row that the schema refuses takes all of it down
            let mut filling = begin(other).await.unwrap();
            let row = args![vec![1_u8, 2, 3], 1_i64, 0_i64, "short id", 0.5, None::<Vec<u8>>];
            assert!(filling.put(0, vec![row]).await.is_err());
            assert!(filling.finish(&[], None).await.is_err());
            assert!(other.columns().await.unwrap().is_empty());
            filled(db, other).await.finish(&[], Some("not yet")).await.unwrap();
            assert_eq!(store::held(other).await.unwrap().as_deref(), Some("not yet"));
        })
        .await;
    }

    // S7
    async fn a_difference_is_found(db: &Db) {
        fill_source(db).await;
        beside(db, async |other| {
            let shapes = shapes();
            let mut wanted = tallies(db).await;
            wanted[0].digest[31] ^= 1;
            let mut filling = filled(db, other).await;
            let differs = filling.check(&shapes, &wanted, &mut |_, _| {}).await.unwrap_err();
            assert!(differs.to_string().contains("item is not the same"), "{differs}");
        })
        .await;
    }

    // S7
    async fn a_snapshot_is_of_one_moment(db: &Db) {
        add(db, 1).await.unwrap();
        let mut snapshot = Snapshot::of(db).await.unwrap();
        add(db, 2).await.unwrap();
        assert_eq!(snapshot.count(&shapes()).await.unwrap(), [1, 0, 0]);
        let (mut nowhere, mut watch) = (Nowhere, |_: usize, _: &Tally| {});
        let mut counted = Counted::new(&mut nowhere, 3, &mut watch);
        snapshot.pour(&shapes(), &mut counted).await.unwrap();
        assert_eq!(counted.tallies()[0].rows, 1);
        drop(snapshot);
        assert_eq!(numbers(db).await, [1, 2]);
    }
}

#[test]
fn a_house_moves_back_to_sqlite_from_postgresql_and_the_other_way() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    testkit::with_postgres(|url| {
        runtime.block_on(async {
            let there = open(url, std::time::Duration::from_secs(20)).await;
            let dir = tempfile::TempDir::new().unwrap();
            let file = format!("sqlite://{}", dir.path().join("here.db").display());
            let here = open(&file, std::time::Duration::from_secs(20)).await;
            store::migrate(&here, SCHEMA, Timestamp::from_micros(1)).await.unwrap();
            fill_source(&here).await;
            filled(&here, &there).await.finish(&[], None).await.unwrap();
            compare(&shapes(), &tallies(&here).await, &tallies(&there).await).unwrap();
            here.close().await;
            there.close().await;
        });
    });
}
