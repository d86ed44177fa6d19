//! Where the keys are: what the vault and the keyholder are opened with, and what the log is told of
//! the keyholder's counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kernel::{Clock, Secret};
use spine::Event as _;
use vault::{Caller, Door, Home, Minute, Opens, Purpose, Root, Where};

use crate::config::{self, Loaded, RootKind};
use crate::events::KeysOpened;
use crate::house::{House, Nature};
use crate::processes::users;

/// Minutes that are told in one round.
const MINUTES_MAX: usize = 200;

impl Loaded {
    /// What the vault is opened with: a keyholder behind its socket, or the root key itself.
    pub(crate) fn vault_config(&self, nature: &Nature) -> anyhow::Result<vault::Config> {
        let keyholder = match &self.config.keyholder.socket {
            Some(socket) => Where::Socket {
                path: self.base.join(socket),
                wait: Duration::from_millis(self.config.keyholder.wait_ms),
            },
            None => Where::Here(self.keyholder_home()?),
        };
        let url = self.keys_database_url();
        let Nature { clock, entropy } = nature.clone();
        Ok(vault::Config::new(keyholder, url, clock, entropy))
    }

    /// Root key and epoch keys.
    pub(crate) fn keyholder_home(&self) -> anyhow::Result<Home> {
        let dir = self.keyholder_dir();
        let root = match self.config.root.kind {
            RootKind::KeyFile => Root::KeyFile { file: dir.join("root.key") },
            RootKind::Passphrase => {
                Root::Passphrase { file: dir.join("root.sealed"), passphrase: self.passphrase()? }
            }
        };
        Ok(Home { folder: dir.join("keyholder"), root })
    }

    /// The folder of root key and epoch keys.
    pub(crate) fn keyholder_dir(&self) -> PathBuf {
        let dir = self.config.keyholder.dir.as_ref();
        dir.map_or_else(|| self.places().keys, |dir| self.base.join(dir))
    }

    fn passphrase(&self) -> anyhow::Result<Secret<String>> {
        let root = &self.config.root;
        if let Some(name) = &root.passphrase_credential {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
            let folder = folder.context("no $CREDENTIALS_DIRECTORY: is this a systemd service?")?;
            return config::read_secret(&PathBuf::from(folder).join(name));
        }
        let file = root.passphrase_file.as_ref().context("root.passphrase_file is missing")?;
        config::read_secret(&self.base.join(file))
    }

    /// Where the keyholder is asked, by whom, and how often.
    pub(crate) fn keyholder_door(&self, clock: Arc<dyn Clock>) -> anyhow::Result<Door> {
        use std::os::unix::fs::MetadataExt as _;
        let settings = &self.config.keyholder;
        let socket = settings.socket.as_ref();
        let socket = socket.context("keyholder.socket is missing: the path of its socket")?;
        let dir = self.keyholder_dir();
        let named = [&settings.core_user, &self.config.processes.core_user];
        let uid = match named.into_iter().find(|name| !name.is_empty()) {
            Some(name) => users::find(name)?.uid,
            None => {
                let facts = std::fs::metadata(&dir);
                facts.with_context(|| format!("{} cannot be looked at", dir.display()))?.uid()
            }
        };
        Ok(Door {
            socket: self.base.join(socket),
            callers: vec![Caller { uid, purposes: Purpose::ALL.to_vec() }],
            opens: Opens { per_s: settings.opens_per_s, burst: settings.opens_burst },
            counts: dir.join("opens.log"),
            clock,
        })
    }
}

impl House {
    /// Tells the log what the keyholder opened and refused, each minute once. What was told stands in
    /// the log itself, so that a restart tells nothing twice.
    pub(crate) async fn tell_opens(&self) -> anyhow::Result<()> {
        if self.config.keyholder.socket.is_none() {
            return Ok(());
        }
        let node = &self.config.data.node;
        let kind = Some(KeysOpened::SPEC.kind.to_owned());
        let filter = spine::EventFilter { kind, limit: 200, ..spine::EventFilter::default() };
        let told = self.spine.events(&filter).await?;
        let told = told.iter().filter_map(|event| event.parse::<KeysOpened>());
        let last = told.filter(|told| told.node == *node).map(|told| told.minute).max();
        let minutes = self.vault.minutes(last.unwrap_or(0)).await?;
        if minutes.is_empty() {
            return Ok(());
        }
        let ctx = self.spine.system_ctx("keys");
        self.vault.resolve(&[spine::Subject::House]).await?;
        let mut tx = self.spine.begin(&ctx).await?;
        for minute in minutes.into_iter().take(MINUTES_MAX) {
            let Minute { minute, opened, refused, kinds, line } = minute;
            let node = node.clone();
            let told = KeysOpened { minute, opened, refused, kinds, line, node };
            tx.emit(spine::About::house("keyholder", [0; 16], 0), told)?;
        }
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kernel::{AccountId, Entropy};
    use spine::Subject;
    use testkit::{SeededEntropy, TestClock};
    use tokio::task::JoinSet;
    use vault::Keyholder;

    use super::*;
    use crate::demo::{demo_config, make_house};

    /// A house whose keyholder is behind a socket, with a clock that the test moves.
    async fn house(
        dir: &tempfile::TempDir,
        clock: &Arc<TestClock>,
        served: &mut JoinSet<()>,
    ) -> House {
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 8443));
        let mut config = demo_config(nowhere, nowhere, "http://127.0.0.1:3000", None);
        config.header_key.clear();
        config.upstream.iter_mut().for_each(|upstream| upstream.header_key = None);
        config.keyholder.socket = Some(PathBuf::from("run/socket"));
        config.keyholder.dir = Some(PathBuf::from("kh"));
        let loaded = Loaded { config: config.clone(), base: dir.path().to_owned() };
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
        let home = loaded.keyholder_home().unwrap();
        let keyholder = Keyholder::make(&home, Arc::clone(&entropy)).await.unwrap();
        let door = loaded.keyholder_door(Arc::clone(clock) as Arc<dyn Clock>).unwrap();
        served.spawn(async move {
            vault::serve(keyholder, door, || (), std::future::pending()).await.unwrap();
        });
        let nature = Nature { clock: Arc::clone(clock) as Arc<dyn Clock>, entropy };
        make_house(config, dir.path().to_owned(), nature).await.unwrap()
    }

    async fn told(house: &House) -> Vec<KeysOpened> {
        house.spine.sequence().await.unwrap();
        let kind = Some(KeysOpened::SPEC.kind.to_owned());
        let filter = spine::EventFilter { kind, limit: 200, ..spine::EventFilter::default() };
        let told = house.spine.events(&filter).await.unwrap();
        told.iter().map(|event| event.parse().unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_is_told_of_each_minute_once() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(TestClock::default()));
        let mut served = JoinSet::new();
        let house = house(&dir, &clock, &mut served).await;
        let person = Subject::Account(AccountId::from_bytes([7; 16]));
        house.vault.create(person).await.unwrap();
        house.vault.forget(person);
        house.vault.resolve(&[person]).await.unwrap();
        clock.advance(Duration::from_secs(61));
        while house.vault.minutes(0).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        house.tell_opens().await.unwrap();
        let first = told(&house).await;
        let [first] = first.as_slice() else { panic!("{first:?}") };
        assert_eq!((first.opened, first.refused, first.node.as_str()), (1, 0, "node-1"));
        assert!(first.kinds["made"] > 0 && first.kinds["purposes"] >= 7, "{first:?}");
        let counts = std::fs::read_to_string(dir.path().join("kh/opens.log")).unwrap();
        assert_eq!(counts.lines().count(), 1);
        assert_eq!(first.line.len(), 64);
        // again, and after a restart of core: once is enough
        house.tell_opens().await.unwrap();
        assert_eq!(told(&house).await.len(), 1);
        house.close().await.unwrap();
    }
}
