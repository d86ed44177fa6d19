//! V8: a new version of a key is known before it is used, and the old one opens what it made.

use kernel::{Kind, Refusal as _};
use vault::{Error, Phase, Purpose, SealError, Sealer, Subject};

use crate::world::{PLACE, both, open, seal};

fn phases(vault: &vault::Vault, purpose: Purpose) -> Vec<Phase> {
    let keys = vault.list().unwrap().into_iter();
    keys.filter(|key| key.purpose == purpose).map(|key| key.phase).collect()
}

// V8
#[test]
fn old_values_open_after_a_field_key_rotation() {
    both(async |world| {
        let vault = world.init().await;
        let old = seal(&vault, Subject::House, b"value");
        let rotated = vault.rotate(Purpose::Field).await.unwrap();
        assert_eq!(rotated.version, 2);
        assert_eq!(phases(&vault, Purpose::Field), [Phase::Current, Phase::Next]);
        assert_eq!(old[2..6], seal(&vault, Subject::House, b"value")[2..6]);
        let again = vault.rotate(Purpose::Field).await.unwrap_err();
        assert!(matches!(again, Error::Pending(Purpose::Field)));
        assert_eq!((again.kind(), again.code()), (Kind::Conflict, "vault.rotation_pending"));
        world.clock.pass(120);
        assert_eq!(phases(&vault, Purpose::Field), [Phase::Retiring, Phase::Current]);
        let new = seal(&vault, Subject::House, b"value");
        assert_ne!(old[2..6], new[2..6]);
        for value in [&old, &new] {
            assert_eq!(open(&vault, Subject::House, value).await.unwrap(), b"value");
        }
        // The old version's number on the new value: another key.
        let mut swapped = new.clone();
        swapped[2..6].copy_from_slice(&old[2..6]);
        assert!(matches!(open(&vault, Subject::House, &swapped).await, Err(Error::Forged)));
        vault.close().await;
    });
}

// V8
#[test]
fn a_process_that_was_not_told_learns_by_resolving() {
    both(async |world| {
        let (here, there) = (world.init().await, world.open().await);
        here.rotate(Purpose::Field).await.unwrap();
        world.clock.pass(120);
        let new = seal(&here, Subject::House, b"value");
        let sealer: &dyn Sealer = &there;
        assert_eq!(sealer.open(Subject::House, PLACE, &new), Err(SealError::Forged));
        sealer.resolve(&[Subject::House]).await.unwrap();
        assert_eq!(sealer.open(Subject::House, PLACE, &new).unwrap(), b"value");
        here.close().await;
        there.close().await;
    });
}

#[test]
fn what_is_compared_for_ever_is_not_rotated() {
    both(async |world| {
        let vault = world.init().await;
        for purpose in [Purpose::Blind, Purpose::Pseudonym] {
            assert!(matches!(vault.rotate(purpose).await, Err(Error::Fixed(_))));
        }
        let mac = vault.mac("cursor", b"page 2");
        vault.rotate(Purpose::Mac).await.unwrap();
        world.clock.pass(120);
        assert_ne!(vault.mac("cursor", b"page 2"), mac);
        assert!(vault.mac_matches("cursor", b"page 2", &mac));
        vault.close().await;
    });
}

// V1
#[test]
fn uses_are_counted_over_processes_and_a_worn_key_is_rotated() {
    both(async |world| {
        let (here, there) = (world.init().await, world.open().await);
        for _ in 0..3 {
            seal(&here, Subject::House, b"value");
            seal(&there, Subject::House, b"value");
        }
        assert!(here.tend().await.unwrap().rotated.is_empty());
        there.tend().await.unwrap();
        here.tend().await.unwrap();
        let field = |vault: &vault::Vault| {
            let keys = vault.list().unwrap().into_iter();
            keys.filter(|key| key.purpose == Purpose::Field).map(|key| key.uses).sum::<u64>()
        };
        assert_eq!((field(&here), field(&there)), (6, 6));
        let wear = "UPDATE key_purpose SET uses = 2147483648 WHERE purpose = 'field'";
        world.sql(wear, Vec::new()).await;
        seal(&here, Subject::House, b"value");
        let tended = here.tend().await.unwrap();
        assert_eq!(tended.rotated.len(), 1);
        assert!(here.tend().await.unwrap().rotated.is_empty());
        let worn = "UPDATE key_purpose SET uses = 4294967296 WHERE purpose = 'field'";
        world.sql(worn, Vec::new()).await;
        there.refresh().await.unwrap();
        let sealed = there.seal(Subject::House, PLACE, b"value", &kernel::SystemEntropy);
        assert!(matches!(sealed, Err(Error::WornOut)));
        here.close().await;
        there.close().await;
    });
}

#[test]
fn the_doctor_knows() {
    both(async |world| {
        let vault = world.init().await;
        vault.create(crate::world::account(1)).await.unwrap();
        vault.create(crate::world::account(2)).await.unwrap();
        vault.shred(crate::world::account(1)).await.unwrap();
        world.clock.pass(60);
        let facts = vault.facts(&world.path("data/stagedoor.db")).await.unwrap();
        assert!(facts.same_volume);
        assert_eq!((facts.root.as_str(), facts.epoch, facts.epoch_age_s), ("key file", 1, 60));
        assert_eq!((facts.subjects, facts.erased), (1, 1));
        assert!(!facts.exposed && !facts.rotation_unfinished);
        let proc = std::path::Path::new("/proc/self");
        if proc.exists() {
            assert!(!vault::same_volume(proc, &world.path("keyholder")).unwrap());
        }
        vault.close().await;
    });
}

#[test]
fn every_statement_fits_both_databases() {
    both(async |world| {
        world.init().await.close().await;
        let db = world.db().await;
        let misfits = db.misfits(&vault::statements()).await.unwrap();
        assert!(misfits.is_empty(), "{misfits:?}");
        db.close().await;
    });
}
