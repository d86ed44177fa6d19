//! A table that got a column: rows that were told of before it came are what was told, and so are
//! those that an older program changes while nodes are updated one after another.

use kernel::Actor;
use spine::{
    About, Db, Erase, Newer, Parts, Spine, Subject, Table, args, check_schema, check_schema_under,
};
use store::Options;
use testkit::{World, on_both};

use crate::thing::{self, ROOMS, ThingCounted, count_up, make};

spine::tables! {
    /// A thing, as the next program knows it.
    demo_thing: fact {
        subject = "owner_id", purpose = "tests", retain = "until erased", erase = delete,
        columns { id: Id, version: Version, owner_id: Plain, note: Plain, count: Plain }
        added { colour: Plain }
    }
}

spine::sql! {
    fact PAINT in demo_thing =
        "UPDATE demo_thing SET colour = $2, version = version + 1 WHERE id = $1 \
         RETURNING id, version";
}

/// What a migration of the next program does, and the next program itself.
async fn next_program(world: &World) -> Spine {
    let db = Db::open(&Options::new(world.database_url.clone())).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.run("ALTER TABLE demo_thing ADD COLUMN colour TEXT", args![]).await.unwrap();
    tx.commit().await.unwrap();
    let others = thing::TABLES.iter().filter(|table| table.name != "demo_thing");
    let spines = spine::ROOM.tables.iter().chain(others);
    let tables: Vec<Table> = spines.chain(TABLES).copied().collect();
    check_schema(&db, &tables, &[]).await.unwrap();
    Spine::new(Parts {
        db,
        clock: world.clock.clone(),
        entropy: world.entropy.clone(),
        sealer: std::sync::Arc::new(world.vault.clone()),
        signer: std::sync::Arc::new(world.vault.notary("test.stagedoor.example/log").unwrap()),
        tables,
        node_dir: world.dir().to_owned(),
        node: "node-1".to_owned(),
    })
}

on_both! { ROOMS;
    async fn a_column_that_came_later_breaks_no_promise(world: &World) {
        let ada = world.person().await;
        let (before, _) = make(world, ada, "from before").await;
        let next = next_program(world).await;
        // the older program starts on the newer schema where it is told that it may
        let old: Vec<Table> = spine::ROOM.tables.iter().chain(thing::TABLES).copied().collect();
        assert!(check_schema(world.spine.db(), &old, &[]).await.is_err());
        check_schema_under(world.spine.db(), &old, &[], Newer::Tolerated).await.unwrap();
        // both write, and both find that the log holds
        let (meanwhile, _) = make(world, ada, "by the older program").await;
        count_up(world, ada, before).await;
        world.check_log().await;
        let verified = next.verify(&[], &mut |_| {}).await.unwrap();
        assert!(verified.holds(), "{:?}", verified.faults);
        // the next program uses the column, and who alters it is found out
        let ctx = world.ctx(Actor::Account { id: ada, session: None });
        world.vault.resolve(&[Subject::Account(ada)]).await.unwrap();
        let mut tx = next.begin(&ctx).await.unwrap();
        let row = tx.change_one(&PAINT, args![meanwhile, "blue"]).await.unwrap().unwrap();
        let version = row.int("version").unwrap();
        let about = About::thing_of(ada, "thing", meanwhile, version);
        tx.emit(about, ThingCounted { count: 0 }).unwrap();
        tx.commit().await.unwrap();
        next.sequence().await.unwrap();
        let verified = next.verify(&[], &mut |_| {}).await.unwrap();
        assert!(verified.holds(), "{:?}", verified.faults);
        for colour in [Some("red"), None] {
            let attacker = world.attacker().await;
            let mut tx = attacker.begin().await.unwrap();
            let text = "UPDATE demo_thing SET colour = $1 WHERE colour IS NOT NULL";
            tx.run(text, args![colour]).await.unwrap();
            tx.commit().await.unwrap();
            attacker.close().await;
            let verified = next.verify(&[], &mut |_| {}).await.unwrap();
            assert!(!verified.holds(), "{colour:?} passed");
        }
        next.close().await;
        assert_eq!(TABLES[0].erase, Erase::Delete);
    }
}
