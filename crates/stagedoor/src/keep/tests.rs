//! Random houses move and go on: a seed decides what people did there before and after. Everything is
//! there, the log verifies, and nothing that follows the log does anything twice.

use tokio_util::task::TaskTracker;

use super::{backup, moving, restore};
use crate::config::Loaded;
use crate::simulation::World;
use kernel::Secret;

const STEPS: usize = 36;

fn passphrase() -> Secret<String> {
    Secret::new("a lamp behind the curtain".to_owned())
}

/// Runs a test on a thread pool of its own, as the program does.
fn on_runtime(test: impl Future<Output = ()> + Send + 'static) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let lived = runtime.block_on(async { TaskTracker::new().spawn(test).await });
    lived.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
}

async fn live(world: &mut World) {
    for number in 0..STEPS {
        world.step().await;
        if number % 12 == 11 {
            world.check().await;
        }
    }
}

/// Moves the house of a seed; what it was before it is after.
async fn moved(seed: u64, from: Option<String>, to: String) {
    let dir = tempfile::TempDir::new().unwrap();
    let mut world = World::make(seed, dir.path().to_owned(), from).await;
    live(&mut world).await;
    let rows = world.house.spine.verify(&[], &mut |_| {}).await.unwrap().rows;
    world.house.close().await.unwrap();
    let loaded = Loaded { config: world.config.clone(), base: world.dir.clone() };
    drop(world.open_again().await);
    world.house.spine.close().await;
    drop(world.open_again().await);
    moving::run(loaded, &moving::Wanted { to: to.clone(), keys_to: None, dry_run: false })
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    world.config.data.database_url = Some(to);
    drop(world.open_again().await);
    let before = world.house.spine.verify(&[], &mut |_| {}).await.unwrap();
    assert!(before.holds(), "seed {seed}: {:?}", before.faults);
    assert_eq!(before.rows, rows, "seed {seed}");
    world.house.spine.sequence().await.unwrap();
    let size = world.house.spine.verify(&[], &mut |_| {}).await.unwrap().size;
    for consumer in world.house.consumers() {
        world.house.spine.consume(&*consumer).await.unwrap();
    }
    world.house.spine.sequence().await.unwrap();
    let after = world.house.spine.verify(&[], &mut |_| {}).await.unwrap();
    assert_eq!(after.size, size, "seed {seed}: a consumer did something twice");
    live(&mut world).await;
    world.house.spine.close().await;
}

#[test]
fn random_houses_move_to_postgresql() {
    for seed in 200..204 {
        testkit::with_postgres(|url| on_runtime(moved(seed, None, url.to_owned())));
    }
}

#[test]
fn random_houses_move_to_sqlite() {
    for seed in 300..304 {
        testkit::with_postgres(|url| {
            let dir = tempfile::TempDir::new().unwrap();
            let to = format!("sqlite://{}", dir.path().join("moved.db").display());
            on_runtime(moved(seed, Some(url.to_owned()), to));
        });
    }
}

/// Backs the house of a seed up, lives on, and restores it elsewhere.
async fn restored(seed: u64) {
    let dir = tempfile::TempDir::new().unwrap();
    let mut world = World::make(seed, dir.path().to_owned(), None).await;
    live(&mut world).await;
    let (data, keys) = (dir.path().join("data.backup"), dir.path().join("safe/keys.backup"));
    std::fs::create_dir(dir.path().join("safe")).unwrap();
    let wanted = backup::Wanted {
        data: data.clone(),
        keys: Some(keys.clone()),
        passphrase: Some(passphrase()),
    };
    let loaded = Loaded { config: world.config.clone(), base: world.dir.clone() };
    backup::run(loaded, wanted).await.unwrap();
    live(&mut world).await;
    let list = super::ledger::file_in(&world.config, &world.dir);
    let erased: Vec<_> = all_erased(&world.house).await;
    let place = tempfile::TempDir::new().unwrap();
    let loaded = Loaded { config: world.config.clone(), base: place.path().to_owned() };
    let wanted = restore::Wanted {
        data,
        keys: Some(keys),
        erased: list.exists().then_some(list).into_iter().collect(),
        none_erased: true,
        dry_run: false,
        passphrase: passphrase(),
    };
    let (house, outcome) = restore::restore(loaded, &wanted)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    assert!(outcome.rows > 0);
    let there = all_erased(&house).await;
    let known = all(&house).await;
    for id in erased.iter().filter(|id| known.contains(id)) {
        assert!(there.contains(id), "seed {seed}: {id} came back");
    }
    house.close().await.unwrap();
    world.house.spine.close().await;
}

async fn all(house: &crate::house::House) -> Vec<kernel::AccountId> {
    let page = house.identity.standings(None).await.unwrap();
    page.into_iter().map(|account| account.id).collect()
}

async fn all_erased(house: &crate::house::House) -> Vec<kernel::AccountId> {
    let page = house.identity.standings(None).await.unwrap();
    page.into_iter().filter(|account| account.is_erased).map(|account| account.id).collect()
}

#[test]
fn whoever_was_erased_after_the_backup_stays_erased() {
    for seed in 400..406 {
        on_runtime(restored(seed));
    }
}
