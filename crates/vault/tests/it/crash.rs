//! V9: the work stops after each step, the vault is opened again, and the work goes on.

use vault::{Error, Home, Purpose, Root, Step, Subject, Vault, Where};

use crate::epoch::{all_open, peopled};
use crate::world::{NOON, PLACE, World, account, both, open, seal};

fn stopped<T: std::fmt::Debug>(result: Result<T, Error>, step: Step) {
    assert!(matches!(result, Err(Error::Stopped(at)) if at == step), "{step:?}: {result:?}");
}

/// `init` again, or `open` where it says that there is a vault already.
async fn go_on(world: &World) -> Vault {
    match Vault::init(world.config()).await {
        Err(Error::Exists) => world.open().await,
        other => other.expect("init goes on"),
    }
}

fn init_stops_after(step: Step, nth: usize) {
    both(async |world| {
        // A keyholder of its own has made these by itself.
        if world.is_remote() && matches!(step, Step::RootWritten | Step::NameWritten) {
            return;
        }
        stopped(Vault::init(world.stopping(step, nth)).await, step);
        let vault = go_on(world).await;
        assert_eq!(vault.list().unwrap().len(), Purpose::ALL.len());
        assert_eq!(world.epoch_files(), ["epoch-00000001.key"]);
        vault.create(account(1)).await.unwrap();
        let sealed = seal(&vault, account(1), b"value");
        vault.close().await;
        assert_eq!(open(&world.open().await, account(1), &sealed).await.unwrap(), b"value");
        let again = Vault::init(world.config()).await;
        assert!(matches!(again, Err(Error::Exists)), "{again:?}");
    });
}

// V9
#[test]
fn init_goes_on_after_each_step() {
    for step in [Step::RootWritten, Step::NameWritten, Step::EpochWritten, Step::VaultRecorded] {
        init_stops_after(step, 1);
    }
    for nth in 1..=Purpose::ALL.len() {
        init_stops_after(Step::PurposeRecorded, nth);
    }
}

// V9
#[test]
fn a_folder_of_another_vault_is_not_taken_over() {
    both(async |world| {
        let vault = world.init().await;
        vault.rotate_epoch(&|_| ()).await.unwrap();
        vault.close().await;
        let mut config = world.config();
        let other = world.path("other.db");
        config.database_url = format!("sqlite://{}", other.display());
        let taken = Vault::init(config.clone()).await;
        assert!(matches!(taken, Err(Error::Mismatch)), "{taken:?}");
        let opened = Vault::open(config.clone()).await;
        assert!(matches!(opened, Err(Error::Missing { .. })), "{opened:?}");
        // A whole other vault: its database does not open with this folder.
        let root = Root::KeyFile { file: world.path("elsewhere.key") };
        config.keyholder = Where::Here(Home { folder: world.path("elsewhere"), root });
        Vault::init(config.clone()).await.unwrap().close().await;
        config.keyholder = world.config().keyholder;
        let mixed = Vault::open(config).await;
        assert!(matches!(mixed, Err(Error::Mismatch)), "{mixed:?}");
    });
}

fn epoch_rotation_stops_after(step: Step, nth: usize) {
    both(async |world| {
        let (vault, mut sealed) = peopled(world).await;
        vault.close().await;
        let vault = Vault::open(world.stopping(step, nth)).await.unwrap();
        stopped(vault.rotate_epoch(&|_| ()).await, step);
        // The vault that was stopped is of use yet, and so is the next one.
        all_open(&vault, &sealed).await;
        vault.close().await;
        let vault = world.open().await;
        all_open(&vault, &sealed).await;
        let (erased, value) = sealed.remove(1);
        vault.shred(erased).await.unwrap();
        vault.create(account(200)).await.unwrap();
        sealed.push((account(200), seal(&vault, account(200), b"value")));

        let before_record = step == Step::EpochWritten;
        assert_eq!(vault.is_rotation_unfinished().await.unwrap(), !before_record);
        let rotated = vault.rotate_epoch(&|_| ()).await.unwrap();
        assert_eq!((rotated.epoch, rotated.resumed), (2, !before_record), "{step:?}");
        assert_eq!(rotated.destroyed, [1]);
        assert!(!vault.is_rotation_unfinished().await.unwrap());
        assert_eq!(world.epoch_files(), ["epoch-00000002.key"]);
        all_open(&vault, &sealed).await;
        assert!(matches!(open(&vault, erased, &value).await, Err(Error::Erased)));
        vault.close().await;
        all_open(&world.open().await, &sealed).await;
    });
}

// V9
#[test]
fn an_epoch_rotation_goes_on_from_before_its_record() {
    epoch_rotation_stops_after(Step::EpochWritten, 1);
}

// V9
#[test]
fn an_epoch_rotation_goes_on_from_its_record_and_each_batch() {
    epoch_rotation_stops_after(Step::EpochRecorded, 1);
    for nth in 1..=2 {
        epoch_rotation_stops_after(Step::BatchRewrapped, nth);
    }
}

// V9
#[test]
fn an_epoch_rotation_goes_on_from_its_end() {
    epoch_rotation_stops_after(Step::EpochClosed, 1);
    epoch_rotation_stops_after(Step::EpochOverwritten, 1);
}

// V9
#[test]
fn a_shredding_that_is_cut_short_is_done() {
    both(async |world| {
        let (vault, sealed) = peopled(world).await;
        vault.close().await;
        let vault = Vault::open(world.stopping(Step::SubjectErased, 1)).await.unwrap();
        let (erased, value) = &sealed[1];
        open(&vault, *erased, value).await.unwrap();
        stopped(vault.shred(*erased).await, Step::SubjectErased);
        // This process has forgotten the key although the call failed.
        assert!(vault.open_sealed(*erased, PLACE, value).is_err());
        vault.close().await;
        let vault = world.open().await;
        assert!(matches!(open(&vault, *erased, value).await, Err(Error::Erased)));
        assert!(!vault.shred(*erased).await.unwrap().now);
        vault.close().await;
    });
}

// V9
#[test]
fn a_creation_that_is_cut_short_is_found_again() {
    both(async |world| {
        world.init().await.close().await;
        let vault = Vault::open(world.stopping(Step::SubjectRecorded, 1)).await.unwrap();
        stopped(vault.create(account(1)).await, Step::SubjectRecorded);
        vault.close().await;
        let vault = world.open().await;
        vault.create(account(1)).await.unwrap();
        let sealed = seal(&vault, account(1), b"value");
        assert_eq!(open(&vault, account(1), &sealed).await.unwrap(), b"value");
        vault.close().await;
    });
}

// V9
#[test]
fn days_that_were_cut_short_are_retired() {
    both(async |world| {
        world.init().await.close().await;
        let vault = Vault::open(world.stopping(Step::DaysErased, 1)).await.unwrap();
        let day = Subject::Day(NOON.day() - 9);
        vault.resolve(&[day]).await.unwrap();
        let sealed = seal(&vault, day, b"value");
        stopped(vault.retire_days(NOON.day()).await, Step::DaysErased);
        assert!(vault.open_sealed(day, PLACE, &sealed).is_err());
        vault.close().await;
        let vault = world.open().await;
        assert!(matches!(open(&vault, day, &sealed).await, Err(Error::Erased)));
        assert_eq!(vault.retire_days(NOON.day()).await.unwrap(), 0);
        vault.close().await;
    });
}

// V8, V9
#[test]
fn a_rotation_that_is_cut_short_gets_its_old_end() {
    both(async |world| {
        world.init().await.close().await;
        let config = world.stopping(Step::PurposeRecorded, 1);
        let vault = Vault::open(config).await.unwrap();
        stopped(vault.rotate(Purpose::Session).await, Step::PurposeRecorded);
        vault.close().await;
        let vault = world.open().await;
        let session = |vault: &Vault| -> Vec<_> {
            let keys = vault.list().unwrap();
            keys.into_iter().filter(|key| key.purpose == Purpose::Session).collect()
        };
        assert_eq!(session(&vault)[0].retire_at, None);
        vault.tend().await.unwrap();
        let keys = session(&vault);
        assert_eq!(keys.len(), 2);
        assert!(keys[0].retire_at.unwrap() > keys[1].not_before);
        vault.close().await;
    });
}
