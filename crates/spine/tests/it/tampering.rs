//! P4, P5: what someone with the database's password does to the log and to fact rows is found.

use kernel::Entropy as _;
use spine::{Error, Value, args};
use testkit::World;

use crate::thing::{self, ROOMS};

async fn fill(world: &World) -> Vec<[u8; 16]> {
    let owner = world.person().await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let (id, _) = thing::make(world, owner, &format!("thing {number}")).await;
        if number % 2 == 0 {
            thing::count_up(world, owner, id).await;
        }
        ids.push(id);
    }
    world.spine.sequence().await.unwrap();
    ids
}

async fn run(world: &World, text: &'static str, args: Vec<Value>) -> u64 {
    let db = world.attacker().await;
    let mut tx = db.begin().await.unwrap();
    let changed = tx.run(text, args).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    changed
}

async fn faults(world: &World) -> Vec<String> {
    let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
    found.faults.into_iter().map(|fault| format!("{}: {}", fault.place, fault.what)).collect()
}

testkit::on_both! { ROOMS;
    async fn each_way_to_change_a_fact_row_is_found(world: &testkit::World) {
        let ids = fill(world).await;
        assert_eq!(faults(world).await, Vec::<String>::new());
        let changed = "UPDATE demo_thing SET count = 99 WHERE id = $1";
        assert_eq!(run(world, changed, args![ids[0]]).await, 1);
        assert!(faults(world).await.iter().any(|fault| fault.contains("not as it was told")));
        // putting the old value back is no fault any more, raising the version is
        run(world, "UPDATE demo_thing SET count = 1 WHERE id = $1", args![ids[0]]).await;
        assert_eq!(faults(world).await, Vec::<String>::new());
        run(world, "UPDATE demo_thing SET version = version + 1 WHERE id = $1", args![ids[1]]).await;
        assert_eq!(faults(world).await.len(), 1);
        run(world, "UPDATE demo_thing SET version = version - 1 WHERE id = $1", args![ids[1]]).await;
        // deleted, made up, swapped
        run(world, "DELETE FROM demo_thing WHERE id = $1", args![ids[2]]).await;
        assert!(faults(world).await.iter().any(|fault| fault.contains("deleted")));
        let forged = "INSERT INTO demo_thing (id, version, owner_id, note, count) \
                      SELECT $1, version, owner_id, note, count FROM demo_thing WHERE id = $2";
        run(world, forged, args![[5_u8; 16], ids[3]]).await;
        assert!(faults(world).await.iter().any(|fault| fault.contains("nothing tells of it")));
        run(world, "UPDATE demo_thing SET note = 'swapped' WHERE id = $1", args![ids[4]]).await;
        assert_eq!(faults(world).await.len(), 3);
    }

    async fn each_way_to_change_the_log_is_found(world: &testkit::World) {
        let drills: [&'static str; 11] = [
            "UPDATE spine_leaf SET kind = 'demo.other' WHERE idx = 3",
            "UPDATE spine_leaf SET at = at + 1 WHERE idx = 4",
            "UPDATE spine_leaf SET actor_kind = 'system' WHERE idx = 5",
            "UPDATE spine_leaf SET version = version + 1 WHERE idx = 6",
            "UPDATE spine_leaf SET body = (SELECT body FROM spine_leaf WHERE idx = 1) WHERE idx = 7",
            "UPDATE spine_leaf SET entry = (SELECT entry FROM spine_leaf WHERE idx = 1) WHERE idx = 8",
            "UPDATE spine_leaf SET leaf = (SELECT leaf FROM spine_leaf WHERE idx = 1) WHERE idx = 9",
            "UPDATE spine_leaf SET mac = (SELECT mac FROM spine_leaf WHERE idx = 1) WHERE idx = 10",
            "DELETE FROM spine_leaf WHERE idx = 11",
            "UPDATE spine_tile SET bytes = (SELECT frontier FROM spine_head) WHERE level = 0",
            "UPDATE spine_head SET note = 'nothing'",
        ];
        fill(world).await;
        for drill in drills {
            let copy = world.copy_database().await;
            run(world, drill, args![]).await;
            assert!(!faults(world).await.is_empty(), "not found: {drill}");
            world.put_back(copy).await;
            assert_eq!(faults(world).await, Vec::<String>::new(), "after {drill}");
        }
    }

    async fn a_cut_tail_and_an_old_backup_are_found(world: &testkit::World) {
        let owner = world.person().await;
        fill(world).await;
        let old = world.copy_database().await;
        thing::make(world, owner, "after the backup").await;
        world.spine.sequence().await.unwrap();
        world.put_back(old).await;
        assert!(faults(world).await.iter().any(|fault| fault.contains("had")));
        // and nothing is signed over it
        thing::make(world, owner, "on the old backup").await;
        let error = world.another_spine().await.sequence().await.unwrap_err();
        assert!(matches!(error, Error::Fork(_)), "{error}");
        // an honest restore is told, and goes on under a new name
        let spine = world.another_spine().await;
        let origin = spine.reopen("restored from the backup of the night".to_owned()).await.unwrap();
        assert_eq!(origin, "test.stagedoor.example/log/2");
        let found = spine.verify(&[], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
    }

    async fn random_flips_are_found(world: &testkit::World) {
        fill(world).await;
        let copy = world.copy_database().await;
        for _ in 0..40 {
            let mut random = [0_u8; 4];
            world.entropy.fill(&mut random);
            let index = i64::from(random[0]) % 30;
            let offset = i64::from(u16::from_be_bytes([random[1], random[2]]));
            assert!(world.flip("spine_leaf", "entry", index, offset, random[3] | 1).await);
            assert!(!faults(world).await.is_empty());
            world.put_back(copy.clone()).await;
        }
    }

    async fn the_tamper_drill_in_short(world: &testkit::World) {
        let mut drill = crate::drill::Drill::prepare(world, 5, 36).await;
        let mut missed = Vec::new();
        let tally = drill.run(200, &mut |what| missed.push(what.to_owned())).await;
        assert!(missed.is_empty(), "{missed:#?}");
        assert_eq!(tally.values().map(|(_, found)| *found).sum::<u32>(), 200);
        drill.close().await;
    }
}
