//! Sinks: each follows the log by a cursor of its own and hears of every event at least once, in the
//! order of the leaves (O1). One that is dead waits alone (O2).
//!
//! A batch goes out before its cursor moves: what broke in between goes out again. Only the node that
//! sequences feeds the sinks, so that each event goes out once where nothing breaks.

mod file;
mod http;
mod syslog;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::Timestamp;
use spine::Spine;
use tokio_util::sync::CancellationToken;

use crate::config::{SiemConfig, SiemTo};
use crate::error::Error;
use crate::ocsf::{Mapper, Told};

/// How often the log is looked at without a hint.
const POLL: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How long one batch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is told of a sink.
#[derive(Clone, Debug, Default)]
pub struct SinkState {
    /// Its name.
    pub name: String,
    /// `file`, `syslog` or `http`.
    pub to: &'static str,
    /// Events that this node sent.
    pub sent: u64,
    /// Batches that failed.
    pub failures: u64,
    /// Events that no sink of its sort can take, such as one that fits no datagram.
    pub left_out: u64,
    /// When a batch was taken last.
    pub taken_at: Option<Timestamp>,
    /// Why the last batch failed; none where it did not.
    pub trouble: Option<String>,
}

/// The state of a sink, shared by what feeds it and what shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown(Arc<Mutex<SinkState>>);

impl Shown {
    pub(crate) fn of(config: &SiemConfig) -> Self {
        let to = match config.to {
            SiemTo::File => "file",
            SiemTo::Syslog => "syslog",
            SiemTo::Http => "http",
        };
        let state = SinkState { name: config.name.clone(), to, ..SinkState::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn state(&self) -> SinkState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut SinkState)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a sink is made of, beside its configuration: files that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct SinkFiles {
    /// The certificates to believe.
    pub(crate) authority: Option<Vec<u8>>,
    /// The value of the header that proves who we are.
    pub(crate) token: Option<kernel::Secret<String>>,
}

/// The way out.
enum Road {
    File(file::File),
    Syslog(Box<syslog::Syslog>),
    Http(http::Http),
}

impl Road {
    /// Sends a batch; how many events of it cannot be sent at all.
    async fn send(&mut self, batch: &[Told]) -> Result<u64, Error> {
        match self {
            Self::File(file) => file.send(batch).await,
            Self::Syslog(syslog) => syslog.send(batch).await,
            Self::Http(http) => http.send(batch).await,
        }
    }
}

/// A sink that is fed.
pub(crate) struct Sink {
    config: SiemConfig,
    mapper: Mapper,
    road: Road,
    shown: Shown,
}

/// The name of a sink's cursor.
pub(crate) fn cursor_of(name: &str) -> String {
    format!("siem.{name}")
}

impl Sink {
    pub(crate) fn new(
        config: SiemConfig,
        mapper: Mapper,
        files: &SinkFiles,
        (base, host): (&std::path::Path, &str),
        shown: Shown,
    ) -> Result<Self, Error> {
        let road = match config.to {
            SiemTo::File => Road::File(file::File::new(&config, base)),
            SiemTo::Syslog => Road::Syslog(Box::new(syslog::Syslog::new(&config, files, host)?)),
            SiemTo::Http => Road::Http(http::Http::new(&config, files)?),
        };
        let mapper = Mapper { include_personal: config.include_personal, ..mapper };
        Ok(Self { config, mapper, road, shown })
    }

    /// Feeds the sink until `stop`.
    pub(crate) async fn run(mut self, spine: Spine, stop: CancellationToken) {
        let mut grown = spine.grown();
        let mut retry = FIRST_RETRY;
        loop {
            let wait = match self.feed(&spine, &stop).await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    POLL
                }
                Err(error) => {
                    let why = chain(&error);
                    tracing::warn!(sink = %self.config.name, why, "a sink takes nothing: it waits");
                    self.shown.change(|state| {
                        state.failures += 1;
                        state.trouble = Some(why);
                    });
                    retry = (retry * 2).min(LONGEST_RETRY);
                    retry
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = grown.changed(), if wait == POLL => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sends all that waits.
    async fn feed(&mut self, spine: &Spine, stop: &CancellationToken) -> Result<(), Error> {
        let name = cursor_of(&self.config.name);
        let most = i64::from(self.config.batch_max);
        while !stop.is_cancelled() {
            if spine.standing().await?.holder != spine.node() {
                return Ok(());
            }
            let at = spine.cursor(&name).await?;
            let events = spine.events_from(at, most, |kind| self.wants(kind)).await?;
            let Some(last) = events.last() else { return Ok(()) };
            let (next, full) = (last.index + 1, i64::try_from(events.len()) == Ok(most));
            let wanted = events.iter().filter(|event| self.wants(&event.kind));
            let batch: Vec<Told> = wanted.map(|event| self.mapper.tell(event)).collect();
            if !batch.is_empty() {
                self.send(&batch, spine.clock().now()).await?;
            }
            // An operator who put it elsewhere meanwhile is obeyed in the next round.
            spine.move_cursor(&name, at, next).await?;
            if !full {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn send(&mut self, batch: &[Told], now: Timestamp) -> Result<(), Error> {
        let sent = tokio::time::timeout(PATIENCE, self.road.send(batch)).await;
        let left_out = sent.map_err(|_| Error::away("it does not take a batch in time"))??;
        let many = u64::try_from(batch.len()).unwrap_or(0).saturating_sub(left_out);
        self.shown.change(|state| {
            state.sent += many;
            state.left_out += left_out;
            state.taken_at = Some(now);
            state.trouble = None;
        });
        Ok(())
    }

    fn wants(&self, kind: &str) -> bool {
        let kinds = &self.config.kinds;
        kinds.is_empty() || kinds.iter().any(|wanted| kind.starts_with(wanted.as_str()))
    }
}

/// An error with what led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
