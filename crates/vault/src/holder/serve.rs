//! The keyholder's door: a unix socket, and who may ask for what and how often.
//!
//! Who asks is what the system says of the other end (`SO_PEERCRED`). A slow or silent client holds
//! a connection of its own, and nothing else.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::Clock;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::error::Error;
use crate::files::failed;
use crate::folder::blocking;
use crate::holder::Holder as _;
use crate::holder::ask::{Answer, Ask, Named, Said};
use crate::holder::budget::{Bucket, Opens};
use crate::holder::here::{Keyholder, denied};
use crate::holder::tally::{Refused, Tally};
use crate::holder::wire::{self, Broken};
use crate::purpose::Purpose;

/// The most connections at once.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may rest between two questions.
const REST: Duration = Duration::from_secs(300);
/// How long a question may take on its way, once it has begun, and an answer.
const FRAME: Duration = Duration::from_secs(5);
/// How often it is looked whether a minute is over.
const TICK: Duration = Duration::from_secs(1);
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user id of the process.
    pub uid: u32,
    /// Keys of which purposes it may have.
    pub purposes: Vec<Purpose>,
}

/// Where a keyholder is asked, by whom, and how often.
#[derive(Clone)]
pub struct Door {
    /// The socket's path. Its folder is made where it is not there, and closed to strangers.
    pub socket: PathBuf,
    /// Who may ask.
    pub callers: Vec<Caller>,
    /// How many persons' keys all callers together may open.
    pub opens: Opens,
    /// The file of counts.
    pub counts: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("socket", &self.socket).finish_non_exhaustive()
    }
}

struct Shared {
    keyholder: Keyholder,
    door: Door,
    bucket: Mutex<Bucket>,
    tally: Mutex<Tally>,
}

/// Answers at the socket until `stop`. `ready` is called once it listens.
///
/// # Errors
/// [`Error::Exposed`] where the socket's folder is open to strangers, [`Error::File`] where the
/// socket or the file of counts cannot be opened, or another keyholder answers there.
pub async fn serve(
    keyholder: Keyholder,
    door: Door,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let now = door.clock.now();
    let tally = Tally::open(&door.counts, now)?;
    let listener = listen(&door.socket).await?;
    let bucket = Mutex::new(Bucket::new(door.opens, now));
    let shared = Arc::new(Shared { keyholder, door, bucket, tally: Mutex::new(tally) });
    ready();
    let mut connections = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = tick.tick() => shared.turn().await,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(Arc::clone(&shared).attend(stream));
                }
                Ok(_) => shared.tally(|tally| tally.refused(None, Refused::Request)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
    let written = shared.clone();
    blocking(move || written.tally(|tally| tally.finish(written.door.clock.now()))).await?;
    fs::remove_file(&shared.door.socket).map_err(failed("remove", &shared.door.socket))
}

/// Listens at the path. A socket that nobody answers at is what a crash left.
async fn listen(socket: &Path) -> Result<UnixListener, Error> {
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.exists() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(folder);
        made.map_err(failed("make", folder))?;
    }
    let facts = fs::metadata(folder).map_err(failed("look at", folder))?;
    if facts.permissions().mode() & 0o027 != 0 {
        return Err(Error::Exposed { path: folder.to_owned() });
    }
    if let Ok(standing) = fs::symlink_metadata(socket) {
        let is_socket = standing.file_type().is_socket();
        if !is_socket || UnixStream::connect(socket).await.is_ok() {
            return Err(failed("listen at", socket)(io::ErrorKind::AddrInUse.into()));
        }
        fs::remove_file(socket).map_err(failed("remove", socket))?;
    }
    let listener = UnixListener::bind(socket).map_err(failed("listen at", socket))?;
    let for_group = fs::Permissions::from_mode(0o660);
    fs::set_permissions(socket, for_group).map_err(failed("open", socket))?;
    Ok(listener)
}

impl Shared {
    fn tally<T>(&self, work: impl FnOnce(&mut Tally) -> T) -> T {
        work(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes the minute that is over.
    async fn turn(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let turned = blocking(move || {
            let now = shared.door.clock.now();
            shared.tally(|tally| tally.turn(now))
        });
        if let Err(error) = turned.await {
            tracing::error!(%error, "the counts were not written; they are kept for the next minute");
        }
    }

    /// Serves one connection to its end.
    async fn attend(self: Arc<Self>, mut stream: UnixStream) {
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        let caller = self.door.callers.iter().find(|caller| Some(caller.uid) == uid);
        loop {
            let first = tokio::time::timeout(REST, wire::first(&mut stream)).await;
            let Ok(Ok(Some(version))) = first else { return };
            let question = wire::read_question(&mut stream, version);
            let (answer, goes_on) = match (tokio::time::timeout(FRAME, question).await, caller) {
                (_, None) => {
                    self.tally(|tally| tally.refused(uid, Refused::Caller));
                    (Err(denied("this user is not served")), false)
                }
                (Ok(Ok(ask)), Some(caller)) => (self.answer(caller, ask).await, true),
                (Ok(Err(Broken::Frame(what))), Some(_)) => {
                    self.tally(|tally| tally.refused(uid, Refused::Request));
                    (Err(denied(what)), false)
                }
                // Cut off, or too slow.
                (Ok(Err(Broken::Io(_))) | Err(_), Some(_)) => {
                    return self.tally(|tally| tally.refused(uid, Refused::Request));
                }
            };
            let answer = answer.unwrap_or_else(|error| Said::Refused((&error).into()).into());
            let sent = tokio::time::timeout(FRAME, wire::write_answer(&mut stream, &answer)).await;
            if !goes_on || !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }

    async fn answer(&self, caller: &Caller, ask: Ask) -> Result<Answer, Error> {
        let answer = self.answer_allowed(caller, &ask).await;
        self.tally(|tally| match &answer {
            Ok(_) => tally.done(caller.uid, &ask),
            Err(error) => tally.refused(Some(caller.uid), Refused::of(error)),
        });
        answer
    }

    async fn answer_allowed(&self, caller: &Caller, ask: &Ask) -> Result<Answer, Error> {
        ask.check()?;
        if !matches!(ask, Ask::Rewrap { .. }) && !ask.names().all(|name| caller.may(&name.what)) {
            return Err(denied("this user may not have keys of this purpose"));
        }
        if matches!(ask, Ask::Files) && self.keyholder.is_bare() {
            return Err(denied(
                "its root key is a bare file, which leaves its folder by nobody's hand but its \
                 user's: set root.kind = \"passphrase\", or copy the folder as its user",
            ));
        }
        if let Ask::Minutes { after } = ask {
            return Ok(Said::Minutes(self.tally(|tally| tally.after(*after))).into());
        }
        // Before they are opened: what is refused costs as much as what is not.
        let (subjects, now) = (ask.subjects_opened(), self.door.clock.now());
        let taken = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(subjects, now);
        taken.map_err(|retry_after_s| Error::OpensLimited { retry_after_s })?;
        self.keyholder.answer(ask.clone()).await
    }
}

impl Caller {
    fn may(&self, what: &Named) -> bool {
        match what {
            Named::Subject(_) => true,
            Named::Purpose { purpose, .. } => {
                Purpose::named(purpose).is_some_and(|purpose| self.purposes.contains(&purpose))
            }
        }
    }
}
