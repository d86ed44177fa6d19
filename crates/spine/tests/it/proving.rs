//! Proofs for strangers, and P6: erasure leaves every proof standing.

use merkle::Policy;
use merkle::export::{ExportDir, ExportRules, verify_export};
use spine::{EventFilter, Opened, Subject};

use crate::thing::{self, ROOMS, ThingMade};

struct Folder(std::path::PathBuf);

impl ExportDir for Folder {
    fn read(&self, path: &str, _max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        match std::fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

testkit::on_both! { ROOMS;
    async fn a_stranger_checks_one_event(world: &testkit::World) {
        let owner = world.person().await;
        for _ in 0..300 {
            thing::make(world, owner, "before").await;
        }
        let (_, event) = thing::make(world, owner, "proved").await;
        world.spine.sequence().await.unwrap();
        let proof = world.spine.prove(event).await.unwrap();
        let policy = Policy::new(vec![world.spine.verifier_key().await.unwrap()]).unwrap();
        proof.proof.verify(&proof.entry, &policy).unwrap();
        let mut other = proof.entry.clone();
        other[20] ^= 1;
        assert!(proof.proof.verify(&other, &policy).is_err());
        // ids stand in the entry as pseudonyms only
        let shows = |bytes: &[u8]| proof.entry.windows(16).any(|window| window == bytes);
        assert!(!shows(owner.as_bytes()));
    }

    async fn a_stranger_checks_the_whole_export(world: &testkit::World) {
        let owner = world.person().await;
        for _ in 0..260 {
            thing::make(world, owner, "exported").await;
        }
        world.spine.sequence().await.unwrap();
        let dir = world.dir().join("export");
        assert_eq!(world.spine.export(&dir, &mut |_| {}).await.unwrap(), 260);
        let policy = Policy::new(vec![world.spine.verifier_key().await.unwrap()]).unwrap();
        let rules = ExportRules::default();
        let report = verify_export(&Folder(dir), &policy, &rules, &mut |_| {}).unwrap();
        assert_eq!(report.entries, 260);
    }

    async fn an_erased_person_cannot_be_read_and_all_proofs_hold(world: &testkit::World) {
        let (gone, stays) = (world.person().await, world.person().await);
        let (_, event) = thing::make(world, gone, "a secret wish").await;
        thing::make(world, stays, "a public wish").await;
        world.spine.sequence().await.unwrap();
        let before = world.spine.checkpoint().await.unwrap().unwrap();
        world.vault.shred(Subject::Account(gone)).await.unwrap();
        let recorded = world.spine.event(event).await.unwrap();
        assert_eq!(recorded.sealed, Opened::Erased);
        assert!(recorded.parse::<ThingMade>().is_none());
        assert_eq!(world.spine.cut_subject(gone).await.unwrap(), 1);
        let known = [before.claimed().clone()];
        let found = world.spine.verify(&known, &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
        assert_eq!((found.covered, found.erased), (2, 1));
        let policy = Policy::new(vec![world.spine.verifier_key().await.unwrap()]).unwrap();
        let proof = world.spine.prove(event).await.unwrap();
        proof.proof.verify(&proof.entry, &policy).unwrap();
    }

    async fn retention_deletes_bodies_and_keeps_the_log(world: &testkit::World) {
        let owner = world.person().await;
        thing::make(world, owner, "old").await;
        world.spine.sequence().await.unwrap();
        world.advance(std::time::Duration::from_secs(31 * 86_400));
        let kinds = thing::EVENTS.iter().map(|spec| (spec.kind.to_owned(), spec.retain_days));
        let deleted = world.spine.retire_bodies(kinds, world.now()).await.unwrap();
        assert_eq!(deleted, 1);
        let found = world.spine.verify(&[], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
        assert_eq!(found.deleted, 1);
    }

    async fn events_are_filtered_and_paged(world: &testkit::World) {
        let (ada, bob) = (world.person().await, world.person().await);
        for _ in 0..3 {
            let (id, _) = thing::make(world, ada, "ada's").await;
            thing::count_up(world, ada, id).await;
            thing::make(world, bob, "bob's").await;
        }
        world.spine.sequence().await.unwrap();
        let of = |account, kind: Option<&str>, before, limit| EventFilter {
            kind: kind.map(str::to_owned), actor_kind: None, account, before, limit,
        };
        let count = async |filter| world.spine.events(&filter).await.unwrap().len();
        assert_eq!(count(of(Some(ada), None, None, 100)).await, 6);
        assert_eq!(count(of(None, Some("demo.thing_counted"), None, 100)).await, 3);
        assert_eq!(count(of(None, Some("demo."), None, 100)).await, 9);
        assert_eq!(count(of(None, Some("demo.thing"), None, 100)).await, 0);
        let page = world.spine.events(&of(None, None, None, 4)).await.unwrap();
        assert_eq!(page[0].index, 8);
        let next = world.spine.events(&of(None, None, Some(page[3].index), 100)).await.unwrap();
        assert_eq!(next.len(), 5);
    }
}
