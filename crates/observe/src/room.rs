//! The room's own value: what it knows of this node, and what it feeds outside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kernel::{Ctx, Timestamp};
use spine::{About, EventSpec, Spine, Subject, transact};
use tokio_util::sync::CancellationToken;

use crate::clock::{self, ClockState};
use crate::config::{ObserveConfig, SiemConfig};
use crate::disk::{self, Disk, Sample};
use crate::error::Error;
use crate::events::SinkReplayed;
use crate::ocsf::Mapper;
use crate::sink::{Shown, Sink, SinkFiles, SinkState, cursor_of};
use crate::traces::{Exporter, TraceMeters};

/// What the program hands over when it opens the room.
pub struct Parts {
    /// The log.
    pub spine: Spine,
    /// `[observe]`.
    pub config: ObserveConfig,
    /// `[[siem]]`.
    pub siem: Vec<SiemConfig>,
    /// Every room's events.
    pub catalogue: Vec<EventSpec>,
    /// The log's present name.
    pub origin: String,
    /// The program's version.
    pub version: &'static str,
    /// Paths in the configuration are relative to this folder.
    pub base: PathBuf,
    /// The folder of the data.
    pub data: PathBuf,
}

/// The room. Clones share everything.
#[derive(Clone)]
pub struct Observe {
    inner: Arc<Inner>,
}

struct Inner {
    spine: Spine,
    config: ObserveConfig,
    sinks: Vec<(SiemConfig, Shown)>,
    mapper: Mapper,
    base: PathBuf,
    data: PathBuf,
    seen: Mutex<Seen>,
    traces: OnceLock<Arc<TraceMeters>>,
}

/// What was seen of this host.
#[derive(Clone, Debug, Default)]
struct Seen {
    disk: Disk,
    clock: ClockState,
    kept_at: Option<Timestamp>,
    asked_at: Option<Timestamp>,
}

impl std::fmt::Debug for Observe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observe")
    }
}

impl Observe {
    /// Puts the parts together. Touches nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn open(parts: Parts) -> Result<Self, Error> {
        let Parts { spine, config, siem, catalogue, origin, version, base, data } = parts;
        for sink in &siem {
            sink.check(&siem)?;
        }
        let catalogue: BTreeMap<&'static str, EventSpec> =
            catalogue.into_iter().map(|spec| (spec.kind, spec)).collect();
        let mapper = Mapper {
            catalogue: Arc::new(catalogue),
            sealer: Arc::clone(spine.sealer()),
            origin,
            product_version: version,
            include_personal: false,
        };
        let sinks = siem.into_iter().map(|config| (config.clone(), Shown::of(&config))).collect();
        let (seen, traces) = (Mutex::default(), OnceLock::new());
        let inner = Inner { spine, config, sinks, mapper, base, data, seen, traces };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn seen<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `[observe]`.
    #[must_use]
    pub fn config(&self) -> &ObserveConfig {
        &self.inner.config
    }

    /// Looks at the disk and at the clocks, and keeps a sample each ten minutes.
    ///
    /// # Errors
    /// [`Error`], after everything that can be seen was seen.
    pub async fn look(&self) -> Result<(), Error> {
        let Inner { spine, config, data, .. } = self.inner.as_ref();
        let now = spine.clock().now();
        let fail = |source| Error::File { path: data.display().to_string(), source };
        let (free_bytes, total_bytes) = disk::space(data).map_err(fail)?;
        let before = self.seen(|seen| seen.disk.last());
        let known = before.map_or(0, |sample| sample.database_bytes);
        let mut sample = Sample { at: now, free_bytes, total_bytes, database_bytes: known };
        // The disk is known also where the database does not answer.
        if before.is_some() {
            self.seen(|seen| seen.disk.add(sample));
        }
        if let Some(server) = &config.ntp_server {
            self.ask(server, now).await;
        }
        let database_us = clock::database(spine).await?;
        sample.database_bytes = spine.db().bytes().await?;
        if before.is_none() {
            let kept = Disk::load(spine, spine.node(), now).await?;
            self.seen(|seen| seen.disk = kept);
        }
        let due = self.seen(|seen| {
            seen.clock.database_us = database_us;
            seen.clock.held_us = spine.clock().held_jump_us();
            seen.disk.add(sample);
            seen.kept_at.is_none_or(|at| now.since(at) >= disk::KEEP_EVERY)
        });
        if due {
            disk::keep(spine, spine.node(), &sample).await?;
            self.seen(|seen| seen.kept_at = Some(now));
        }
        Ok(())
    }

    /// Asks the server of network time, each ten minutes.
    async fn ask(&self, server: &str, now: Timestamp) {
        let due = self.seen(|seen| {
            let due = seen.asked_at.is_none_or(|at| now.since(at) >= disk::KEEP_EVERY);
            if due {
                seen.asked_at = Some(now);
            }
            due
        });
        if !due {
            return;
        }
        match clock::ntp(server, self.inner.spine.clock().as_ref()).await {
            Ok(behind) => self.seen(|seen| seen.clock.ntp_us = Some(behind)),
            Err(error) => {
                tracing::warn!(%error, server, "the server of network time was asked in vain");
                self.seen(|seen| seen.clock.ntp_us = None);
            }
        }
    }

    /// What was seen of the disk.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.seen(|seen| seen.disk.clone())
    }

    /// What was seen of the clocks.
    #[must_use]
    pub fn clock(&self) -> ClockState {
        self.seen(|seen| seen.clock)
    }

    /// What is told of each sink by this node.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkState> {
        self.inner.sinks.iter().map(|(_, shown)| shown.state()).collect()
    }

    /// How many leaves each sink has not heard of, where the log has so many; also of sinks that
    /// another node feeds.
    ///
    /// # Errors
    /// [`Error::Spine`].
    pub async fn lags(&self, size: i64) -> Result<Vec<(String, i64)>, Error> {
        let mut lags = Vec::with_capacity(self.inner.sinks.len());
        for (config, _) in &self.inner.sinks {
            let at = self.inner.spine.cursor(&cursor_of(&config.name)).await?;
            lags.push((config.name.clone(), size.saturating_sub(at).max(0)));
        }
        Ok(lags)
    }

    /// Sends spans until `stop`, and shows from now on what became of them.
    pub async fn export(self, exporter: Exporter, stop: CancellationToken) {
        // One exporter in a process: a second would be shown as nothing.
        let _ = self.inner.traces.set(exporter.meters());
        exporter.run(stop).await;
    }

    /// What became of spans: those that were sent, and those that were dropped.
    #[must_use]
    pub fn traces(&self) -> (u64, u64) {
        self.inner.traces.get().map_or((0, 0), |meters| (meters.sent(), meters.dropped()))
    }

    /// What feeds each sink until `stop`.
    ///
    /// # Errors
    /// [`Error::Config`] where a file that is named cannot be used.
    pub fn run_sinks(
        &self,
        stop: &CancellationToken,
    ) -> Result<Vec<impl Future<Output = ()> + Send + 'static + use<>>, Error> {
        let Inner { spine, sinks, mapper, base, .. } = self.inner.as_ref();
        let mut running = Vec::with_capacity(sinks.len());
        for (config, shown) in sinks {
            let files = self.files(config)?;
            let place = (base.as_path(), spine.node());
            let sink = Sink::new(config.clone(), mapper.clone(), &files, place, shown.clone())?;
            running.push(sink.run(spine.clone(), stop.clone()));
        }
        Ok(running)
    }

    fn files(&self, config: &SiemConfig) -> Result<SinkFiles, Error> {
        let read = |file: &Option<PathBuf>| {
            let path = file.as_ref().map(|file| self.inner.base.join(file));
            path.map(|path| {
                let wrong = |error| Error::config(path.display().to_string(), format!("{error}"));
                std::fs::read(&path).map_err(wrong)
            })
            .transpose()
        };
        let token = read(&config.token_file)?
            .map(|bytes| kernel::Secret::new(String::from_utf8_lossy(&bytes).trim().to_owned()));
        Ok(SinkFiles { authority: read(&config.ca_file)?, token })
    }

    /// How many events a sink would hear again, from a leaf on, and where it stands.
    ///
    /// # Errors
    /// [`Error::NoSuchSink`], [`Error::NoSuchLeaf`], [`Error::Spine`].
    pub async fn would_replay(&self, name: &str, from: i64) -> Result<(i64, i64), Error> {
        let spine = &self.inner.spine;
        if !self.inner.sinks.iter().any(|(config, _)| config.name == name) {
            return Err(Error::NoSuchSink(name.to_owned()));
        }
        let size = spine.standing().await?.size;
        if !(0..=size).contains(&from) {
            return Err(Error::NoSuchLeaf { leaf: from, size });
        }
        let stood_at = spine.cursor(&cursor_of(name)).await?;
        Ok((size - from, stood_at))
    }

    /// Puts a sink back, or forth, to a leaf: it hears of the events from there on.
    ///
    /// # Errors
    /// As [`Observe::would_replay`].
    pub async fn replay(&self, ctx: &Ctx, name: &str, from: i64) -> Result<i64, Error> {
        let (_, stood_at) = self.would_replay(name, from).await?;
        let spine = &self.inner.spine;
        spine.sealer().resolve(&[Subject::House]).await?;
        transact!(spine, ctx, tx => {
            tx.put_cursor(&cursor_of(name), from).await?;
            let sink = name.to_owned();
            let about = About::house("sink", [0; 16], 0);
            tx.emit(about, SinkReplayed { sink, from_leaf: from, stood_at })?;
            Ok::<_, Error>(())
        })?;
        Ok(stood_at)
    }
}
