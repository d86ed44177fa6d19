//! A vault to test on: a temporary folder, a clock that the test moves, a recording source of
//! randomness, a scratch database; its keyholder in this process, or behind a socket.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel::{AccountId, Clock, Entropy, SystemEntropy, Timestamp};
use store::{Db, Options, Row, Value};
use tempfile::TempDir;
use tokio::task::JoinSet;
use vault::{
    Caller, Config, Door, Drill, Home, Keyholder, Opens, Place, Purpose, Root, Step, Subject,
    Vault, Where,
};

const POSTGRES: &str = "postgres://root@127.0.0.1:5432";

/// 2026-11-24, noon.
pub(crate) const NOON: Timestamp = Timestamp::from_seconds(1_795_521_600);

/// A clock that stands until it is moved.
#[derive(Debug)]
pub(crate) struct StandingClock(AtomicI64);

impl StandingClock {
    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The system's randomness, which keeps what could be a key: every fill of 32 bytes.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<[u8; 32]>>);

impl Recorder {
    pub(crate) fn keys(&self) -> Vec<[u8; 32]> {
        self.0.lock().unwrap().clone()
    }
}

impl Entropy for Recorder {
    fn fill(&self, buffer: &mut [u8]) {
        SystemEntropy.fill(buffer);
        if let Ok(key) = <[u8; 32]>::try_from(&*buffer) {
            self.0.lock().unwrap().push(key);
        }
    }
}

/// Stops after the `n`th time that a step is reached.
#[derive(Debug)]
pub(crate) struct StopAfter(Step, AtomicUsize);

impl Drill for StopAfter {
    fn stops_after(&self, step: Step) -> bool {
        step == self.0 && self.1.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) recorder: Arc<Recorder>,
    /// The keyholder behind its socket, where it is not in the vault's process.
    served: JoinSet<()>,
}

impl World {
    fn new(url: Option<String>) -> Self {
        let dir = TempDir::new().expect("a folder");
        let url = url.unwrap_or_else(|| format!("sqlite://{}/keys.db", dir.path().display()));
        let clock = Arc::new(StandingClock(AtomicI64::new(NOON.micros())));
        Self { dir, url, clock, recorder: Arc::default(), served: JoinSet::new() }
    }

    /// The same, with the keyholder behind a socket.
    async fn behind_a_socket(url: Option<String>) -> Self {
        let mut world = Self::new(url);
        let entropy = Arc::clone(&world.recorder) as Arc<dyn Entropy>;
        let keyholder = Keyholder::make(&world.home(), entropy).await.expect("a keyholder");
        world.serve(keyholder, world.door(Opens { per_s: 1, burst: 1_000_000 })).await;
        world
    }

    /// Lets a keyholder answer until the world is gone.
    pub(crate) async fn serve(&mut self, keyholder: Keyholder, door: Door) {
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        self.served.spawn(async move {
            let ready = || ready.send(()).expect("the world waits");
            let served = vault::serve(keyholder, door, ready, std::future::pending()).await;
            panic!("the keyholder ended: {served:?}");
        });
        is_ready.await.expect("it listens");
    }

    /// kill -9 of the keyholder.
    pub(crate) async fn kill_keyholder(&mut self) {
        self.served.shutdown().await;
    }

    pub(crate) fn door(&self, opens: Opens) -> Door {
        Door {
            socket: self.path("run/socket"),
            callers: vec![Caller { uid: self.uid(), purposes: Purpose::ALL.to_vec() }],
            opens,
            counts: self.path("opens.log"),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        }
    }

    /// The user that the tests run as.
    pub(crate) fn uid(&self) -> u32 {
        std::fs::metadata(self.dir.path()).expect("our folder").uid()
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.path("run/socket").exists()
    }

    pub(crate) fn home(&self) -> Home {
        Home {
            folder: self.path("keyholder/epochs"),
            root: Root::KeyFile { file: self.path("keyholder/root.key") },
        }
    }

    /// A configuration with the keyholder in this process, and this root.
    pub(crate) fn with_root(&self, root: Root) -> Config {
        let mut config = self.config();
        config.keyholder = Where::Here(Home { root, ..self.home() });
        config
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn config(&self) -> Config {
        let keyholder = if self.is_remote() {
            Where::Socket { path: self.path("run/socket"), wait: Duration::from_secs(5) }
        } else {
            Where::Here(self.home())
        };
        let mut config = Config::new(
            keyholder,
            self.url.clone(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::clone(&self.recorder) as Arc<dyn Entropy>,
        );
        // 150 subjects in two batches: one full statement and some rows, then some rows.
        config.tuning.rewrap_keys = 80;
        config
    }

    /// A configuration whose work stops after the `nth` time that `step` is reached.
    pub(crate) fn stopping(&self, step: Step, nth: usize) -> Config {
        let mut config = self.config();
        config.tuning.drill = Arc::new(StopAfter(step, AtomicUsize::new(nth)));
        config
    }

    pub(crate) async fn init(&self) -> Vault {
        Vault::init(self.config()).await.expect("a vault")
    }

    pub(crate) async fn open(&self) -> Vault {
        Vault::open(self.config()).await.expect("the vault opens")
    }

    pub(crate) async fn db(&self) -> Db {
        Db::open(&Options { connections: 1, ..Options::new(self.url.clone()) }).await.expect("a db")
    }

    /// Reads or writes behind the vault's back.
    pub(crate) async fn sql(&self, text: &'static str, args: Vec<Value>) -> Vec<Row> {
        let db = self.db().await;
        let mut tx = db.begin().await.expect("a transaction");
        let rows = tx.rows(text, args).await.expect("the statement fits");
        tx.commit().await.expect("commits");
        db.close().await;
        rows
    }

    /// The epoch files that stand.
    pub(crate) fn epoch_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("keyholder/epochs")).expect("the folder");
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("epoch-")).collect();
        names.sort();
        names
    }
}

pub(crate) fn account(number: u8) -> Subject {
    Subject::Account(AccountId::from_bytes([number; 16]))
}

pub(crate) const PLACE: Place<'static> =
    Place { table: "identity_account", column: "email_sealed", row: [7; 16] };

pub(crate) fn seal(vault: &Vault, subject: Subject, plain: &[u8]) -> Vec<u8> {
    vault.seal(subject, PLACE, plain, &SystemEntropy).expect("seals")
}

/// Resolves, then opens.
pub(crate) async fn open(
    vault: &Vault,
    subject: Subject,
    sealed: &[u8],
) -> Result<Vec<u8>, vault::Error> {
    vault.resolve(&[subject]).await?;
    vault.open_sealed(subject, PLACE, sealed).map(|plain| plain.expose().clone())
}

/// Runs a test on SQLite, then on PostgreSQL; each with the keyholder in this process, and with one
/// behind a socket.
pub(crate) fn both(test: impl AsyncFn(&mut World)) {
    run(test, &[false, true]);
}

/// The same, where the keyholder is in this process.
pub(crate) fn both_here(test: impl AsyncFn(&mut World)) {
    run(test, &[false]);
}

/// The same, where the keyholder is behind a socket.
pub(crate) fn both_remote(test: impl AsyncFn(&mut World)) {
    run(test, &[true]);
}

fn run(test: impl AsyncFn(&mut World), remote: &[bool]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for remote in remote {
            let world = async |url| match remote {
                true => World::behind_a_socket(url).await,
                false => World::new(url),
            };
            test(&mut world(None).await).await;
            let Some((admin, name)) = scratch().await else { continue };
            test(&mut world(Some(format!("{POSTGRES}/{name}"))).await).await;
            order(&admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    });
}

/// A database on PostgreSQL of this test's own, and a connection to drop it with.
async fn scratch() -> Option<(Db, String)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let name = format!("stagedoor_vault_{}_{count}", std::process::id());
    let options = Options { connections: 1, ..Options::new(format!("{POSTGRES}/postgres")) };
    let admin = match Db::open(&options).await {
        Ok(admin) => admin,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no PostgreSQL at {POSTGRES}: {error}");
            eprintln!("LEFT OUT: no PostgreSQL answers at {POSTGRES}: {error}");
            return None;
        }
    };
    order(&admin, format!("CREATE DATABASE {name}")).await;
    Some((admin, name))
}

/// Orders the server outside of a transaction, by a connection that is told that it may write.
async fn order(admin: &Db, text: String) {
    let mut reader = admin.read().await.expect("reads");
    for text in ["SET default_transaction_read_only = off", text.leak()] {
        reader.rows(text, Vec::new()).await.expect("the server obeys");
    }
}
