//! The supervisor: opens the listeners, reads the doors' secrets, starts the processes, starts them
//! again, and ends them in order. It parses nothing that a stranger wrote.
//!
//! It keeps the listeners, so that connections wait while the edge is started again; and the ends
//! of the line between edge and core that nobody holds yet, so that calls wait for a new core.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::settings::{CoreSettings, EdgeSettings, KeyholderSettings, Ready, Told, closed_ports};
use super::users::{self, User};
use super::{Kind, handover, keyholder, log};
use crate::certificates::Shown;
use crate::command::serve::{announce, certificates, renew_at_hangup, told_to_stop};
use crate::config::{Config, Loaded};
use crate::door::DoorSettings;
use crate::gauges::TraceSettings;
use crate::out;

/// How long a process may take to hear what it is told.
const HEAR: Duration = Duration::from_secs(5);
/// How long core may take to end, and the edge beyond its `drain_ms`.
const END: Duration = Duration::from_secs(15);
/// Before a process that ended is started again: doubled each time, up to the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LONGEST: Duration = Duration::from_secs(5);
/// How often an address is asked for that is in use.
const LISTEN_LOOKS: u32 = 20;
/// One that ran for so long has not failed to start.
const RAN: Duration = Duration::from_secs(60);
/// How often the certificate files are looked at, besides SIGHUP.
const LOOK: Duration = Duration::from_secs(60);

/// What these processes do not promise (docs/modes.md), apart from what the kernel lacks.
pub(crate) fn promises_off(config: &Config) -> Vec<String> {
    let mut off = Vec::new();
    if config.keyholder.socket.is_none() {
        off.push("the root key lives in core's process: who takes over core has it".to_owned());
    }
    let started = Kind::started(&config.processes);
    let users: Vec<&str> = started.map(|kind| kind.user(&config.processes)).collect();
    let is_twice = |user: &str| users.iter().filter(|other| **other == user).count() > 1;
    if !users::is_root() {
        off.push(
            "all processes run as one user: start `serve` as root, and it gives its rights away"
                .to_owned(),
        );
    } else if users.iter().any(|user| user.is_empty()) {
        off.push(
            "a process runs as root: name `edge_user` and `core_user` in [processes]".to_owned(),
        );
    } else if users.iter().any(|user| is_twice(user)) {
        off.push("two processes run as one user: name another in [processes]".to_owned());
    }
    off
}

/// Whether the processes can run as the users that they are to run as.
pub(crate) fn check(loaded: &Loaded) -> anyhow::Result<()> {
    for kind in Kind::started(&loaded.config.processes) {
        let Some(user) = users::of(kind.user(&loaded.config.processes))? else { continue };
        match kind {
            Kind::Edge => {}
            Kind::Core => users::check_owner(loaded, &user)?,
            Kind::Keyholder => users::owns(&loaded.keyholder_dir(), &user, kind.name())?,
        }
    }
    Ok(())
}

/// Serves until SIGTERM or Ctrl-C.
pub(crate) async fn supervise(loaded: Loaded, migrate: bool) -> anyhow::Result<()> {
    let more = crate::command::serve::promises_off(&loaded.config);
    for promise in promises_off(&loaded.config).into_iter().chain(more.into_iter().map(Into::into))
    {
        tracing::warn!("promise off: {promise}");
    }
    let mut supervisor = Supervisor::new(loaded, migrate).await?;
    let stop = told_to_stop()?;
    tokio::pin!(stop);
    let opened = tokio::select! {
        opened = supervisor.open() => opened,
        () = &mut stop => Ok(()),
    };
    if opened.is_ok() {
        let renewal = Notify::new();
        tokio::select! {
            () = &mut stop => {}
            () = renew_at_hangup(&renewal) => {}
            () = supervisor.keep(&renewal) => {}
        }
        out::progress("closing: requests under way are finished first");
        out::progress_done();
    }
    supervisor.close().await;
    opened
}

struct Supervisor {
    loaded: Loaded,
    migrate: bool,
    shop: TcpListener,
    console: TcpListener,
    observe: Option<TcpListener>,
    shown: Shown,
    /// As their files were when this program started: another configuration applies at restart.
    door: DoorSettings,
    edge: Post,
    core: Post,
    /// Where this program starts one.
    keyholder: Option<Post>,
    /// The ends of the line that wait for their process.
    edge_end: Option<OwnedFd>,
    core_end: Option<OwnedFd>,
}

impl Supervisor {
    async fn new(mut loaded: Loaded, migrate: bool) -> anyhow::Result<Self> {
        loaded.base = std::path::absolute(&loaded.base)?;
        let (config, base) = (&loaded.config, loaded.base.as_path());
        check(&loaded)?;
        let post = |kind: Kind| {
            Ok::<_, anyhow::Error>(Post::new(kind, users::of(kind.user(&config.processes))?))
        };
        let (edge, core) = (post(Kind::Edge)?, post(Kind::Core)?);
        let is_ours = Kind::started(&config.processes).any(|kind| kind == Kind::Keyholder);
        let mut keyholder = is_ours.then(|| post(Kind::Keyholder)).transpose()?;
        if let (Some(Post { user: Some(user), .. }), Some(core)) = (&mut keyholder, &core.user) {
            // Its socket is for core's group.
            user.gid = core.gid;
        }
        let (door, shown) = (DoorSettings::read(config, base)?, certificates(config, base)?);
        let (shop, console) =
            (listen(config.listen.public).await?, listen(config.listen.console).await?);
        let observe = match config.observe.listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Self {
            migrate,
            shop,
            console,
            observe,
            shown,
            door,
            edge,
            core,
            keyholder,
            edge_end: None,
            core_end: None,
            loaded,
        })
    }

    /// Starts all, and says where the doors are. One that ends before it is open ends all.
    async fn open(&mut self) -> anyhow::Result<()> {
        self.join()?;
        self.start_keyholder().await?;
        self.start_core().await?;
        self.start_edge().await?;
        for post in self.keyholder.iter_mut().chain([&mut self.core, &mut self.edge]) {
            let kind = post.kind.name();
            for promise in post.opened().await.with_context(|| format!("{kind} did not open"))? {
                tracing::warn!("promise off: {kind}: {promise}");
            }
        }
        // A start that follows must not bring a newer program's schema.
        self.migrate = false;
        let observe = self.observe.as_ref().map(TcpListener::local_addr).transpose()?;
        let (shop, console) = (self.shop.local_addr()?, self.console.local_addr()?);
        announce(&self.loaded.config, shop, console, observe);
        Ok(())
    }

    /// Keeps all running; for ever.
    async fn keep(&mut self, renewal: &Notify) {
        loop {
            let kept = tokio::select! {
                came = self.edge.next() => self.edge_came(came).await,
                came = self.core.next() => self.core_came(came).await,
                came = next(self.keyholder.as_mut()) => self.keyholder_came(came).await,
                () = renewal.notified() => self.renew().await,
                () = sleep(LOOK) => self.renew().await,
            };
            if let Err(error) = kept {
                tracing::error!(error = %format!("{error:#}"), "a process was not started or told");
                for post in self.keyholder.iter_mut().chain([&mut self.core, &mut self.edge]) {
                    post.try_again();
                }
            }
        }
    }

    async fn edge_came(&mut self, came: Came) -> anyhow::Result<()> {
        match came {
            Came::Ended(status) => self.edge.ended(status),
            Came::Due => {
                self.join()?;
                if let Some(end) = self.core_end.take_if(|_| self.core.running.is_some()) {
                    self.core.tell(Told::Line, vec![end]).await?;
                }
                self.start_edge().await?;
            }
        }
        Ok(())
    }

    async fn core_came(&mut self, came: Came) -> anyhow::Result<()> {
        if let Came::Ended(status) = came {
            self.core.ended(status);
        }
        if self.core_end.is_none() {
            // The edge's calls wait at the new line until core is there.
            self.join()?;
            if let Some(end) = self.edge_end.take_if(|_| self.edge.running.is_some()) {
                self.edge.tell(Told::Line, vec![end]).await?;
            }
        }
        match came {
            Came::Ended(_) => Ok(()),
            Came::Due => self.start_core().await,
        }
    }

    async fn keyholder_came(&mut self, came: Came) -> anyhow::Result<()> {
        match (came, &mut self.keyholder) {
            (Came::Ended(status), Some(keyholder)) => keyholder.ended(status),
            (Came::Due, _) => self.start_keyholder().await?,
            (Came::Ended(_), None) => {}
        }
        Ok(())
    }

    /// A new line, whose ends wait for their processes.
    fn join(&mut self) -> anyhow::Result<()> {
        let (edge, core) = UnixStream::pair()?;
        (self.edge_end, self.core_end) = (Some(edge.into()), Some(core.into()));
        Ok(())
    }

    async fn start_edge(&mut self) -> anyhow::Result<()> {
        let config = &self.loaded.config;
        let settings = EdgeSettings {
            log: config.log.clone(),
            door: self.door.clone(),
            certificates: self.shown.texts().to_vec(),
            closed_ports: closed_ports(&self.loaded),
            drain_ms: config.listen.drain_ms,
            traces: TraceSettings::read(&self.loaded)?,
        };
        let line = self.edge_end.take().context("the edge's end of the line is held already")?;
        let along = vec![self.shop.try_clone()?.into(), self.console.try_clone()?.into(), line];
        self.edge.start(Told::Edge(Box::new(settings)), along, &self.loaded).await
    }

    async fn start_core(&mut self) -> anyhow::Result<()> {
        let mut config = self.loaded.config.clone();
        config.listen.console = self.console.local_addr()?;
        let settings = CoreSettings {
            config,
            base: self.loaded.base.clone(),
            migrate: self.migrate,
            traces: TraceSettings::read(&self.loaded)?,
        };
        let line = self.core_end.take().context("core's end of the line is held already")?;
        let observe = self.observe.as_ref().map(TcpListener::try_clone).transpose()?;
        let along = std::iter::once(line).chain(observe.map(Into::into)).collect();
        self.core.start(Told::Core(Box::new(settings)), along, &self.loaded).await
    }

    async fn start_keyholder(&mut self) -> anyhow::Result<()> {
        let Some(keyholder) = &mut self.keyholder else { return Ok(()) };
        let own = rustix::process::geteuid().as_raw();
        let core = self.core.user.as_ref().map_or(own, |user| user.uid);
        keyholder.start_keyholder(&self.loaded, core, Vec::new()).await
    }

    async fn renew(&mut self) -> anyhow::Result<()> {
        match self.shown.renew() {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.edge.tell(Told::Certificates(self.shown.texts().to_vec()), vec![]).await
            }
            Err(error) => {
                tracing::warn!(
                    error = %format!("{error:#}"),
                    "the certificate files changed and cannot be used: the old ones stay"
                );
                Ok(())
            }
        }
    }

    /// Ends all, who asks before who answers.
    async fn close(&mut self) {
        let drain = Duration::from_millis(self.loaded.config.listen.drain_ms);
        if let Err(error) = self.core.tell(Told::Drain, vec![]).await {
            tracing::debug!(error = %format!("{error:#}"), "core was not told of the end");
        }
        sleep(Duration::from_millis(self.loaded.config.observe.drain_notice_ms)).await;
        self.edge.close(drain.saturating_add(END)).await;
        self.core.close(END).await;
        if let Some(keyholder) = &mut self.keyholder {
            keyholder.close(END).await;
        }
    }
}

/// A keyholder that answers for as long as a command of root's takes.
pub(crate) struct TempKeyholder(Post);

impl TempKeyholder {
    /// Starts it as its user, and waits until it answers core's. It puts these files of a backup in
    /// their places itself: root does not write where another user can.
    pub(crate) async fn start(
        loaded: &Loaded,
        core: &User,
        keys: &User,
        files: Vec<(String, Vec<u8>)>,
    ) -> anyhow::Result<Self> {
        let mut post = Post::new(Kind::Keyholder, Some(keys.clone()));
        post.start_keyholder(loaded, core.uid, files).await?;
        let off = post.opened().await.context("the keyholder does not open")?;
        for promise in off {
            tracing::warn!("promise off: {promise}");
        }
        Ok(Self(post))
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) {
        self.0.close(END).await;
    }
}

/// What happens next to a process that there may be.
async fn next(post: Option<&mut Post>) -> Came {
    match post {
        Some(post) => post.next().await,
        None => std::future::pending().await,
    }
}

/// Waits a moment for an address that the edge of a supervisor that was killed still holds.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut looks = LISTEN_LOOKS;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && looks > 0 => {
                looks -= 1;
                sleep(AGAIN_FIRST).await;
            }
            bound => return bound.with_context(|| format!("{address} cannot be listened on")),
        }
    }
}

/// The place of one process, whether it runs or not.
struct Post {
    kind: Kind,
    user: Option<User>,
    running: Option<Running>,
    /// When it is to be started again.
    again: Option<Instant>,
    wait: Duration,
}

struct Running {
    child: Child,
    control: Arc<UnixStream>,
    ready: Option<oneshot::Receiver<Ready>>,
    since: Instant,
}

/// What happened to a process.
#[derive(Clone, Copy)]
enum Came {
    Ended(ExitStatus),
    Due,
}

impl Post {
    const fn new(kind: Kind, user: Option<User>) -> Self {
        Self { kind, user, running: None, again: None, wait: AGAIN_FIRST }
    }

    /// Starts the keyholder, for a core of this user id.
    async fn start_keyholder(
        &mut self,
        loaded: &Loaded,
        core: u32,
        files: Vec<(String, Vec<u8>)>,
    ) -> anyhow::Result<()> {
        let settings = KeyholderSettings::of(loaded, core, files);
        let socket = keyholder::socket(loaded);
        let folder = socket.as_deref().and_then(Path::parent).filter(|folder| !folder.exists());
        if let Some(folder) = folder {
            std::fs::DirBuilder::new().mode(0o750).create(folder)?;
            if let Some(user) = &self.user {
                users::give_alone(folder, user)?;
            }
        }
        self.start(Told::Keyholder(Box::new(settings)), vec![], loaded).await
    }

    /// Starts the process and tells it what it is.
    async fn start(
        &mut self,
        told: Told,
        along: Vec<OwnedFd>,
        loaded: &Loaded,
    ) -> anyhow::Result<()> {
        let (control, theirs) = UnixStream::pair()?;
        control.set_write_timeout(Some(HEAR))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("stagedoor").args(["process", self.kind.name()]).env_clear().current_dir("/");
        // SQLite's own temporary files have no other place.
        command.env("SQLITE_TMPDIR", loaded.places().data);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        // What a terminal sends to its foreground is for the supervisor.
        command.process_group(0).kill_on_drop(true);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut child =
            command.spawn().with_context(|| format!("{} cannot start", self.kind.name()))?;
        let format = loaded.config.log.format;
        if let Some(written) = child.stderr.take() {
            #[expect(clippy::disallowed_methods, reason = "ends with its process")]
            tokio::spawn(log::pass(self.kind, written, format));
        }
        let control = Arc::new(control);
        let (say, ready) = oneshot::channel();
        let hear = Arc::clone(&control);
        std::thread::Builder::new().name(self.kind.name().to_owned()).spawn(move || {
            if let Ok(Some((ready, _))) = handover::receive::<Ready>(&hear) {
                let _ = say.send(ready);
            }
        })?;
        let since = Instant::now();
        self.running = Some(Running { child, control, ready: Some(ready), since });
        let told = self.tell(told, along).await;
        if let (Err(_), Some(running)) = (&told, &mut self.running) {
            // One that does not know what it is would wait for ever.
            running.child.start_kill()?;
        }
        told
    }

    /// Tells the running process something.
    async fn tell(&self, told: Told, along: Vec<OwnedFd>) -> anyhow::Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let control = Arc::clone(&running.control);
        let sent = tokio::task::spawn_blocking(move || {
            let along: Vec<BorrowedFd<'_>> = along.iter().map(|along| along.as_fd()).collect();
            handover::send(&control, &told, &along)
        });
        sent.await?.with_context(|| format!("{} does not hear", self.kind.name()))
    }

    /// Waits until the process is open; what it cannot promise.
    async fn opened(&mut self) -> anyhow::Result<Vec<String>> {
        let running = self.running.as_mut().context("it does not run")?;
        let ready = running.ready.take().context("it was waited for before")?;
        tokio::select! {
            biased;
            Ok(ready) = ready => Ok(ready.off),
            status = running.child.wait() => anyhow::bail!("it ended: {}", status?),
        }
    }

    /// What happens to it next. Safe to cancel.
    async fn next(&mut self) -> Came {
        match (&mut self.running, self.again) {
            (Some(running), _) => match running.child.wait().await {
                Ok(status) => Came::Ended(status),
                Err(error) => {
                    tracing::error!(%error, "a process cannot be waited for");
                    std::future::pending().await
                }
            },
            (None, Some(again)) => {
                sleep_until(again).await;
                self.again = None;
                Came::Due
            }
            (None, None) => std::future::pending().await,
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        let ran = self.running.take().map_or(Duration::ZERO, |running| running.since.elapsed());
        if ran >= RAN {
            self.wait = AGAIN_FIRST;
        }
        let process = self.kind.name();
        let wait_ms = self.wait.as_millis();
        tracing::error!(process, %status, wait_ms, "a process ended; it is started again");
        self.again = Some(Instant::now() + self.wait);
        self.wait = self.wait.saturating_mul(2).min(AGAIN_LONGEST);
    }

    /// Where it neither runs nor is due, something went wrong on the way there.
    fn try_again(&mut self) {
        if self.running.is_none() && self.again.is_none() {
            self.again = Some(Instant::now() + self.wait);
        }
    }

    /// Ends it in bounded time.
    async fn close(&mut self, patience: Duration) {
        let told = self.tell(Told::Stop, Vec::new()).await;
        let Some(mut running) = self.running.take() else { return };
        if told.is_ok() && timeout(patience, running.child.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(process = self.kind.name(), "a process did not end in time: it is killed");
        let _ = running.child.kill().await;
    }
}
