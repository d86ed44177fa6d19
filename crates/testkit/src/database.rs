//! Databases for one test: a SQLite file in a folder of its own, or a PostgreSQL database that is
//! dropped at the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::{Db, Options};

/// What `STAGEDOOR_TEST_POSTGRES` says where a person wants no tests on PostgreSQL.
const NO_SERVER: &str = "none";

/// The server where tests make their databases: `STAGEDOOR_TEST_POSTGRES`, or the one on
/// 127.0.0.1:5432; `none` where a person wants no tests on PostgreSQL.
#[must_use]
pub fn postgres_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests are told where the server is")]
    let told = std::env::var("STAGEDOOR_TEST_POSTGRES");
    told.unwrap_or_else(|_| "postgres://root@127.0.0.1:5432/postgres".to_owned())
}

/// Whether nobody may leave a server out.
pub(crate) fn is_ci() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests are told where they run")]
    let ci = std::env::var("CI");
    ci.is_ok()
}

/// A PostgreSQL database of one test.
#[derive(Debug)]
pub(crate) struct Scratch {
    admin: Db,
    names: Vec<String>,
    server: String,
}

impl Scratch {
    /// The server, or none where a person wants none. One that does not answer fails the test: a
    /// room that holds on SQLite only must not look as if it held on both.
    pub(crate) async fn open() -> Option<Self> {
        let server = postgres_url();
        if server == NO_SERVER && !is_ci() {
            eprintln!("LEFT OUT: STAGEDOOR_TEST_POSTGRES says that there is no PostgreSQL");
            return None;
        }
        // Making and dropping databases waits for the disk.
        let answer_timeout = Duration::from_secs(60);
        let options = Options { connections: 1, answer_timeout, ..Options::new(server.clone()) };
        match Db::open(&options).await {
            Ok(admin) => Some(Self { admin, names: Vec::new(), server }),
            Err(error) => panic!(
                "no PostgreSQL at {server}: {error}. `cargo xtask test` starts one of its own; or \
                 name a server where you are superuser (STAGEDOOR_TEST_POSTGRES=postgres://…); or \
                 leave these tests out, but not in CI (STAGEDOOR_TEST_POSTGRES=none)"
            ),
        }
    }

    /// Makes a database and gives its URL.
    pub(crate) async fn make(&mut self) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let mut random = [0; 6];
        kernel::Entropy::fill(&kernel::SystemEntropy, &mut random);
        let random = u64::from_be_bytes([
            0, 0, random[0], random[1], random[2], random[3], random[4], random[5],
        ]);
        let name = format!("sdt_{}_{number}_{random:x}", std::process::id());
        self.admin(format!("CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'"))
            .await;
        let (base, _) = self.server.rsplit_once('/').unwrap_or((&self.server, ""));
        let url = format!("{base}/{name}");
        self.names.push(name);
        url
    }

    pub(crate) async fn drop_all(mut self) {
        for name in std::mem::take(&mut self.names) {
            self.admin(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
        self.admin.close().await;
    }

    async fn admin(&self, text: String) {
        // A test's few statements may leak: their text must outlive the connection's cache.
        let text: &'static str = Box::leak(text.into_boxed_str());
        let mut connection = self.admin.read().await.expect("the server answers");
        // Databases are not made within a transaction, and readers are told not to write.
        const MAY_WRITE: &str = "SET default_transaction_read_only = off";
        connection.rows(MAY_WRITE, Vec::new()).await.expect("the server obeys");
        connection.rows(text, Vec::new()).await.expect("the server obeys");
    }
}

/// Gives a test the URL of an empty PostgreSQL database that is dropped afterwards. With
/// `STAGEDOOR_TEST_POSTGRES=none` it says that it was left out, and passes, unless in CI.
///
/// # Panics
/// Where the test does, or where no server answers.
pub fn with_postgres(test: impl FnOnce(&str)) {
    let runtime = crate::world::runtime();
    let Some((scratch, url)) = runtime.block_on(async {
        let mut scratch = Scratch::open().await?;
        let url = scratch.make().await;
        Some((scratch, url))
    }) else {
        return;
    };
    test(&url);
    runtime.block_on(scratch.drop_all());
}
