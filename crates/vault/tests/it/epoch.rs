//! V6: after an epoch rotation, no old copy of the key database revives who was erased.

use std::sync::Mutex;

use store::Value;
use vault::{Error, Progress, Subject, Vault};

use crate::world::{PLACE, World, account, both, open, seal};

const MANY: u8 = 150;

/// A vault with 150 subjects and a value of each; day and house keys too.
pub(crate) async fn peopled(world: &World) -> (Vault, Vec<(Subject, Vec<u8>)>) {
    let vault = world.init().await;
    let mut subjects: Vec<Subject> = (0..MANY).map(account).collect();
    subjects.push(Subject::Day(20_000));
    subjects.push(Subject::House);
    for subject in &subjects {
        vault.create(*subject).await.unwrap();
    }
    let sealed = subjects.iter().map(|subject| (*subject, seal(&vault, *subject, b"value")));
    let sealed = sealed.collect();
    (vault, sealed)
}

pub(crate) async fn all_open(vault: &Vault, sealed: &[(Subject, Vec<u8>)]) {
    for (subject, value) in sealed {
        assert_eq!(open(vault, *subject, value).await.unwrap(), b"value", "{subject:?}");
    }
}

// V8
#[test]
fn every_key_is_wrapped_anew_and_the_old_epoch_is_gone() {
    both(async |world| {
        let (vault, sealed) = peopled(world).await;
        let digest = vault.blind("identity.email", b"ada");
        let token = vault.signer("session").unwrap().jwks();
        let told = Mutex::new(Vec::new());
        let rotated =
            vault.rotate_epoch(&|progress| told.lock().unwrap().push(progress)).await.unwrap();
        assert_eq!((rotated.epoch, &rotated.destroyed[..]), (2, &[1][..]));
        assert_eq!((rotated.rewrapped, rotated.resumed), (151, false));
        let told = told.into_inner().unwrap();
        assert_eq!(told.first(), Some(&Progress { done: 0, total: 151 }));
        assert_eq!(told.last(), Some(&Progress { done: 151, total: 151 }));
        assert_eq!(world.epoch_files(), ["epoch-00000002.key"]);
        all_open(&vault, &sealed).await;
        vault.close().await;
        let vault = world.open().await;
        all_open(&vault, &sealed).await;
        assert_eq!(vault.blind("identity.email", b"ada"), digest);
        assert_eq!(vault.signer("session").unwrap().jwks(), token);
        assert!(!vault.is_rotation_unfinished().await.unwrap());
        vault.close().await;
    });
}

// V6
#[test]
fn an_old_copy_of_the_rows_cannot_revive_the_erased() {
    both(async |world| {
        let (vault, sealed) = peopled(world).await;
        let (erased, value) = sealed[1].clone();
        // What a backup of the key database from before holds.
        let subject = erased.to_bytes();
        let find = "SELECT key_id, wrapped, created_at FROM key_subject WHERE subject = $1";
        let copy = world.sql(find, vec![subject.into()]).await;
        let epochs = world.sql("SELECT tenant, wrapped FROM key_epoch", Vec::new()).await;
        let (tenant, epoch_key) =
            (epochs[0].bytes("tenant").unwrap(), epochs[0].bytes("wrapped").unwrap());
        vault.shred(erased).await.unwrap();
        vault.rotate_epoch(&|_| ()).await.unwrap();
        vault.close().await;

        // First try: the old row under the new epoch.
        let revive = "UPDATE key_subject SET state = 1, erased_at = NULL, epoch = $2, \
             wrapped = $3, key_id = $4 WHERE subject = $1";
        let row = |epoch: i64| -> Vec<Value> {
            let (key, wrapped) = (copy[0].bytes("key_id"), copy[0].bytes("wrapped"));
            vec![subject.into(), epoch.into(), wrapped.unwrap().into(), key.unwrap().into()]
        };
        world.sql(revive, row(2)).await;
        let vault = world.open().await;
        assert!(matches!(open(&vault, erased, &value).await, Err(Error::Forged)));
        vault.close().await;

        // Second try: the old epoch's row as well. Its key's file is gone.
        let add = "INSERT INTO key_epoch (tenant, epoch, wrapped, created_at) \
             VALUES ($1, 1, $2, 0)";
        world.sql(add, vec![tenant.into(), epoch_key.clone().into()]).await;
        world.sql(revive, row(1)).await;
        let opened = Vault::open(world.config()).await;
        assert!(matches!(opened, Err(Error::EpochGone { epoch: 1 })), "{opened:?}");

        // Third try: the new epoch's file under the old one's name.
        let folder = world.path("keyholder/epochs");
        std::fs::copy(folder.join("epoch-00000002.key"), folder.join("epoch-00000001.key"))
            .unwrap();
        let opened = Vault::open(world.config()).await;
        assert!(matches!(opened, Err(Error::RootRefused)), "{opened:?}");
    });
}

// V6
#[test]
fn an_old_copy_of_the_database_file_does_not_open() {
    both(async |world| {
        // On PostgreSQL the rows are copied in the test above; here it is the file.
        if !world.is_sqlite() {
            return;
        }
        let (vault, sealed) = peopled(world).await;
        let (erased, value) = sealed[1].clone();
        vault.close().await;
        std::fs::copy(world.path("keys.db"), world.path("backup.db")).unwrap();
        let vault = world.open().await;
        vault.shred(erased).await.unwrap();
        vault.close().await;

        // Before the rotation the backup revives: that is what the receipt says.
        let mut config = world.config();
        config.database_url = format!("sqlite://{}", world.path("backup.db").display());
        let revived = Vault::open(config.clone()).await.unwrap();
        assert_eq!(open(&revived, erased, &value).await.unwrap(), b"value");
        revived.close().await;

        let vault = world.open().await;
        vault.rotate_epoch(&|_| ()).await.unwrap();
        vault.close().await;
        let opened = Vault::open(config).await;
        assert!(matches!(opened, Err(Error::EpochGone { epoch: 1 })), "{opened:?}");
    });
}

// V8
#[test]
fn another_process_follows_the_rotation() {
    both(async |world| {
        let (here, sealed) = peopled(world).await;
        let there = world.open().await;
        here.rotate_epoch(&|_| ()).await.unwrap();
        all_open(&there, &sealed).await;
        // It makes new keys under the new epoch, though it was not told of it.
        let there = {
            there.close().await;
            world.open().await
        };
        here.rotate_epoch(&|_| ()).await.unwrap();
        there.create(account(200)).await.unwrap();
        let value = seal(&there, account(200), b"new");
        assert_eq!(open(&here, account(200), &value).await.unwrap(), b"new");
        assert!(here.open_sealed(account(200), PLACE, &value).is_ok());
        here.close().await;
        there.close().await;
    });
}
