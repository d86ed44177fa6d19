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
use crate::house::{House, Nature, sqlite_url};

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
        let url = self.config.data.keys_database_url.clone();
        let url = url.unwrap_or_else(|| sqlite_url(&self.places().keys.join("keys.db")));
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
        let own = || std::fs::metadata(&dir).map(|facts| facts.uid());
        let uid = settings.core_uid.map_or_else(own, Ok);
        let uid = uid.with_context(|| format!("{} cannot be looked at", dir.display()))?;
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
