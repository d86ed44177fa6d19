//! The world itself: clock, randomness, vault, spine, and the folders they live in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kernel::{AccountId, Actor, Clock, Ctx, Entropy, Origin, Timestamp};
use spine::{Parts, Room, Rooms, Spine, Table};
use store::{Db, Options};
use tempfile::TempDir;
use vault::{Config, Home, Root, Vault, Where};

use crate::database::Scratch;
use crate::{SeededEntropy, TestClock};

/// A world on one database.
pub struct World {
    /// The clock.
    pub clock: Arc<TestClock>,
    /// The randomness.
    pub entropy: Arc<SeededEntropy>,
    /// The vault.
    pub vault: Vault,
    /// The spine.
    pub spine: Spine,
    /// The data database's URL, to open it past the spine as an attacker would.
    pub database_url: String,
    pub(crate) tables: Vec<Table>,
    dir: TempDir,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("dir", &self.dir.path()).finish_non_exhaustive()
    }
}

impl World {
    /// Runs a test on SQLite.
    ///
    /// # Panics
    /// Where the test does, or the schema is not the declared one.
    pub fn run_sqlite(rooms: &[Room], test: impl AsyncFnOnce(&Self)) {
        runtime().block_on(async {
            let dir = TempDir::new().expect("a folder");
            let url = format!("sqlite://{}", dir.path().join("data.db").display());
            let world = Self::build(rooms, dir, url).await;
            test(&world).await;
            world.spine.close().await;
        });
    }

    /// Runs a test on PostgreSQL. With `STAGEDOOR_TEST_POSTGRES=none` it says that it was left out,
    /// and passes, unless in CI.
    ///
    /// # Panics
    /// Where the test does, where the schema is not the declared one, or no server answers.
    pub fn run_postgres(rooms: &[Room], test: impl AsyncFnOnce(&Self)) {
        runtime().block_on(async {
            let Some(mut scratch) = Scratch::open().await else { return };
            let url = scratch.make().await;
            let dir = TempDir::new().expect("a folder");
            let world = Self::build(rooms, dir, url).await;
            test(&world).await;
            world.spine.close().await;
            scratch.drop_all().await;
        });
    }

    async fn build(rooms: &[Room], dir: TempDir, database_url: String) -> Self {
        let clock = Arc::new(TestClock::default());
        let entropy = Arc::new(SeededEntropy::new(7));
        let config = Config::new(
            Where::Here(Home {
                folder: dir.path().join("keyholder"),
                root: Root::KeyFile { file: dir.path().join("root.key") },
            }),
            format!("sqlite://{}", dir.path().join("keys.db").display()),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&entropy) as Arc<dyn Entropy>,
        );
        let vault = Vault::init(config).await.expect("a new vault");
        let rooms = Rooms::new(rooms).expect("rooms that fit together");
        let tables = rooms.tables();
        let db = Db::open(&Options::new(database_url.clone())).await.expect("a database");
        store::migrate(&db, &rooms.migrations(), clock.now()).await.expect("its schema");
        let checked = spine::check_schema(&db, &tables, &rooms.statements()).await;
        checked.expect("the declared schema");
        let place = (dir.path().to_owned(), "node-1");
        let spine = spine_on(db, &vault, (&clock, &entropy), &tables, place);
        spine.sequence().await.expect("an empty log");
        Self { clock, entropy, vault, spine, database_url, tables, dir }
    }

    /// Another spine on the same database and folder, as after a restart.
    ///
    /// # Panics
    /// Where the database does not open.
    pub async fn another_spine(&self) -> Spine {
        let db = Db::open(&Options::new(self.database_url.clone())).await.expect("a database");
        self.spine_on(db, self.dir.path().to_owned(), "node-1")
    }

    /// A spine of another node on the same database, with a folder of its own.
    ///
    /// # Panics
    /// Where the database does not open, or the folder cannot be made.
    pub async fn another_node(&self, name: &str) -> Spine {
        self.another_node_in(name, name).await
    }

    /// The same, with its folder under another name than its own.
    ///
    /// # Panics
    /// Where the database does not open, or the folder cannot be made.
    pub async fn another_node_in(&self, folder: &str, name: &str) -> Spine {
        let db = Db::open(&Options::new(self.database_url.clone())).await.expect("a database");
        let folder = self.dir.path().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        self.spine_on(db, folder, name)
    }

    fn spine_on(&self, db: Db, folder: PathBuf, node: &str) -> Spine {
        spine_on(db, &self.vault, (&self.clock, &self.entropy), &self.tables, (folder, node))
    }

    /// A connection past the spine, as an attacker with the database's password has.
    ///
    /// # Panics
    /// Where the database does not open.
    pub async fn attacker(&self) -> Db {
        let options = Options { connections: 1, ..Options::new(self.database_url.clone()) };
        Db::open(&options).await.expect("a database")
    }

    /// Ends the leader's lease, as its silence would: the database's own clock cannot be moved.
    ///
    /// # Panics
    /// Where the database does not open.
    pub async fn end_lease(&self) {
        let db = self.attacker().await;
        let mut tx = db.begin().await.expect("a transaction");
        let ended = tx.run("UPDATE spine_head SET lease_until = 0", Vec::new()).await;
        ended.expect("the head's row");
        tx.commit().await.expect("an end");
        db.close().await;
    }

    /// The folder of this world.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock on.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// Circumstances of an act by `actor`, now, from 203.0.113.7.
    #[must_use]
    pub fn ctx(&self, actor: Actor) -> Ctx {
        let origin = Origin {
            address: Some(std::net::IpAddr::from([203, 0, 113, 7])),
            agent: Some("testkit".to_owned()),
            fingerprint: None,
        };
        Ctx::new(actor, self.now(), Arc::clone(&self.entropy) as Arc<dyn Entropy>)
            .from_origin(origin)
    }

    /// A new account's id with its key.
    ///
    /// # Panics
    /// Where the vault does not answer.
    pub async fn person(&self) -> AccountId {
        let id = AccountId::generate(self.now(), self.entropy.as_ref());
        self.vault.create(spine::Subject::Account(id)).await.expect("a key");
        id
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn spine_on(
    db: Db,
    vault: &Vault,
    (clock, entropy): (&Arc<TestClock>, &Arc<SeededEntropy>),
    tables: &[Table],
    (node_dir, node): (PathBuf, &str),
) -> Spine {
    Spine::new(Parts {
        db,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        entropy: Arc::clone(entropy) as Arc<dyn Entropy>,
        sealer: Arc::new(vault.clone()),
        signer: Arc::new(vault.notary("test.stagedoor.example/log").expect("a signer")),
        tables: tables.to_vec(),
        node_dir,
        node: node.to_owned(),
    })
}
