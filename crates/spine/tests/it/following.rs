//! P4: every node remembers the log outside the database, also one that never led; what a node
//! signed counts by its own key; the log's key may change, and is followed.

use std::time::Duration;

use merkle::key_change;
use spine::{CheckpointSigner, Error, EventFilter, Spine, args};
use vault::Purpose;

use crate::thing::{self, ROOMS};

async fn run(world: &testkit::World, text: &'static str) {
    let db = world.attacker().await;
    let mut tx = db.begin().await.unwrap();
    tx.run(text, args![]).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
}

async fn faults(spine: &Spine) -> Vec<String> {
    let found = spine.verify(&[], &mut |_| {}).await.unwrap();
    found.faults.into_iter().map(|fault| format!("{}: {}", fault.place, fault.what)).collect()
}

async fn tell_keys(world: &testkit::World, spine: &Spine) {
    let notaries = world.vault.notaries("test.stagedoor.example/log").unwrap();
    let signers: Vec<&dyn CheckpointSigner> = notaries.iter().map(|it| it as _).collect();
    spine.tell_key_changes(&signers).await.unwrap();
}

testkit::on_both! { ROOMS;
    async fn a_node_that_never_led_knows_a_rolled_back_log(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "first").await;
        world.spine.sequence().await.unwrap();
        let old = world.copy_database().await;
        thing::make(world, owner, "second").await;
        world.spine.sequence().await.unwrap();
        // it waits, because node-1 leads; it looks all the same
        let standby = world.another_node("node-2").await;
        standby.sequence().await.unwrap();
        let seen = std::fs::read_to_string(world.dir().join("node-2/last-tree")).unwrap();
        assert!(seen.starts_with("2\n"), "{seen}");
        // node-1 dies with its disk, and an old backup is put back, signatures of nodes and all
        world.put_back(old).await;
        world.end_lease().await;
        thing::make(world, owner, "instead of the second").await;
        let error = standby.sequence().await.unwrap_err();
        assert!(matches!(error, Error::Fork(_)), "{error}");
        standby.close().await;
    }

    async fn a_former_leader_waits_for_the_signature_under_its_last_tree(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "first").await;
        world.spine.sequence().await.unwrap();
        thing::make(world, owner, "second").await;
        world.spine.sequence().await.unwrap();
        // As where it grew the tree, could not write its signature, and another took the lead.
        run(world, "UPDATE spine_head SET holder = 'node-2', epoch = epoch + 1, \
             note = (SELECT note FROM spine_checkpoint), \
             note_size = (SELECT size FROM spine_checkpoint)").await;
        world.spine.sequence().await.unwrap();
        let signed = world.spine.standing().await.unwrap();
        assert!(signed.note_size < signed.size);
        world.end_lease().await;
        world.spine.sequence().await.unwrap();
        let signed = world.spine.standing().await.unwrap();
        assert_eq!((signed.note_size, signed.holder.as_str()), (signed.size, "node-1"));
        assert_eq!(faults(&world.spine).await, Vec::<String>::new());
    }

    async fn a_new_leader_asks_for_what_others_signed(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "first").await;
        world.spine.sequence().await.unwrap();
        let good = world.copy_database().await;
        thing::make(world, owner, "second").await;
        world.spine.sequence().await.unwrap();
        // a checkpoint that the log signed and the node did not: who has the database can do that
        for forged in [
            "UPDATE spine_cosignature SET note = (SELECT note FROM spine_head)",
            "UPDATE spine_cosignature SET note = replace(note, 'test.', 'best.')",
        ] {
            world.put_back(good.clone()).await;
            world.end_lease().await;
            run(world, forged).await;
            let next = world.another_node("node-3").await;
            let error = next.sequence().await.unwrap_err();
            assert!(matches!(error, Error::Fork(_)), "{forged}: {error}");
            next.close().await;
        }
        // a key that the program did not mark as the node's speaks for nobody
        world.put_back(good).await;
        world.end_lease().await;
        run(world, "UPDATE spine_cosignature SET note = 'x', mac = key").await;
        let next = world.another_node("node-4").await;
        next.sequence().await.unwrap();
        next.close().await;
    }

    async fn a_changed_key_is_followed_where_the_log_tells_of_it(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "under the old key").await;
        world.spine.sequence().await.unwrap();
        let before = world.spine.verifier_key().await.unwrap();
        let kept = world.spine.checkpoint().await.unwrap().unwrap();
        world.vault.rotate(Purpose::Checkpoint).await.unwrap();
        world.advance(Duration::from_secs(600));
        let spine = world.another_spine().await;
        assert_ne!(spine.verifier_key().await.unwrap(), before);
        // nothing tells of the new key: what the old one signed is a fault, and nothing is signed
        assert!(faults(&spine).await.iter().any(|fault| fault.contains("does not hold")));
        thing::make(world, owner, "under the new key").await;
        assert!(matches!(spine.sequence().await.unwrap_err(), Error::Fork(_)));
        tell_keys(world, &spine).await;
        spine.sequence().await.unwrap();
        assert_eq!(faults(&spine).await, Vec::<String>::new());
        // once: telling again adds nothing
        let size = spine.checkpoint().await.unwrap().unwrap().claimed().size();
        tell_keys(world, &spine).await;
        spine.sequence().await.unwrap();
        let signed = spine.checkpoint().await.unwrap().unwrap();
        assert_eq!(signed.claimed().size(), size);
        // whoever trusts the old key alone follows to the new one
        let changes = spine.key_changes().await.unwrap();
        let policy = merkle::Policy::new(key_change::follow(vec![before.clone()], &changes));
        assert!(policy.unwrap().verify(&signed).is_ok());
        assert!(merkle::Policy::new(vec![before]).unwrap().verify(&signed).is_err());
        let all = merkle::Policy::new(spine.verifier_keys().await.unwrap()).unwrap();
        assert!(all.verify(&kept).is_ok());
        // and once more
        world.vault.rotate(Purpose::Checkpoint).await.unwrap();
        world.advance(Duration::from_secs(600));
        let third = world.another_spine().await;
        tell_keys(world, &third).await;
        third.sequence().await.unwrap();
        assert_eq!(faults(&third).await, Vec::<String>::new());
        assert_eq!(third.verifier_keys().await.unwrap().len(), 3);
        spine.close().await;
        third.close().await;
    }

    async fn a_reopened_log_begins_with_its_reason(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "a leaf").await;
        world.spine.sequence().await.unwrap();
        // committed, and without a leaf yet when the backup is made
        thing::make(world, owner, "waits").await;
        thing::make(world, owner, "waits too").await;
        let backup = world.copy_database().await;
        world.spine.sequence().await.unwrap();
        thing::make(world, owner, "lost").await;
        world.spine.sequence().await.unwrap();
        world.put_back(backup).await;
        let spine = world.another_spine().await;
        spine.reopen("restored".to_owned()).await.unwrap();
        let filter = EventFilter { limit: 9, ..EventFilter::default() };
        let mut events = spine.events(&filter).await.unwrap();
        events.sort_by_key(|event| event.index);
        let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        let made = "demo.thing_made";
        assert_eq!(kinds, [made, "spine.log_reopened", made, made]);
        assert_eq!(faults(&spine).await, Vec::<String>::new());
        spine.close().await;
    }

    async fn strangers_are_shown_what_was_published(world: &testkit::World) {
        let owner = world.person().await;
        let (_, first) = thing::make(world, owner, "first").await;
        world.spine.sequence().await.unwrap();
        let spine = &world.spine;
        assert_eq!(spine.published().await.unwrap(), None);
        let early = spine.checkpoint().await.unwrap().unwrap();
        spine.publish(&early).await.unwrap();
        let (_, second) = thing::make(world, owner, "second").await;
        spine.sequence().await.unwrap();
        assert_eq!(spine.published().await.unwrap().unwrap(), early);
        // without a witness's signature what is newest is handed out
        assert_eq!(spine.prove(first).await.unwrap().proof.checkpoint.claimed().size(), 2);
        let mut late = spine.checkpoint().await.unwrap().unwrap();
        let kind = merkle::key::KeyKind::Cosigner;
        let witness = merkle::key::SeedSigner::new("w.example", kind, &[9; 32]).unwrap();
        late.cosign(&witness, 1_000).unwrap();
        spine.publish(&late).await.unwrap();
        spine.publish(&early).await.unwrap();
        assert_eq!(spine.published().await.unwrap().unwrap(), late, "it never goes back");
        let (_, third) = thing::make(world, owner, "third").await;
        spine.sequence().await.unwrap();
        for (event, size) in [(first, 2), (second, 2), (third, 3)] {
            let proof = spine.prove(event).await.unwrap().proof;
            assert_eq!(proof.checkpoint.claimed().size(), size);
        }
        assert_eq!(spine.export(&world.dir().join("out"), &mut |_| {}).await.unwrap(), 2);
        assert_eq!(faults(spine).await, Vec::<String>::new());
        // under another name nothing is shown until it is published there
        spine.reopen("a drill".to_owned()).await.unwrap();
        assert_eq!(spine.published().await.unwrap(), None);
        spine.publish(&late).await.unwrap();
        assert_eq!(spine.published().await.unwrap(), None, "it is of the old name");
        let renamed = spine.checkpoint().await.unwrap().unwrap();
        spine.publish(&renamed).await.unwrap();
        assert_eq!(spine.published().await.unwrap(), Some(renamed));
        // a published checkpoint that is not of this log is found
        run(world, "UPDATE spine_published SET note = replace(note, 'test.', 'best.')").await;
        assert!(!faults(spine).await.is_empty());
    }
}
