//! What is read of the database for the operators, every two seconds, whoever asks and however often:
//! a scraper or a balancer that hammers costs the database nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::Timestamp;
use spine::Standing;
use tokio_util::sync::CancellationToken;
use watch::AlertState;

use crate::house::House;

/// How often the database is read.
const EVERY: Duration = Duration::from_secs(2);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// After how long without an answer the database counts as away.
pub(super) const STALE: Duration = Duration::from_secs(10);
/// How often disk and clocks are looked at, in samples.
const LOOK_EVERY: u32 = 15;
/// The most alerts that are counted.
pub(super) const ALERTS_MAX: i64 = 200;

/// What was read last.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// When the database answered last; none where it never did.
    pub(super) at: Option<Timestamp>,
    /// Whether it answered the last time that it was asked.
    pub(super) answers: bool,
    pub(super) standing: Standing,
    /// Letters that wait, and the moment of the oldest, microseconds.
    pub(super) mails: (i64, i64),
    pub(super) mails_given_up: i64,
    pub(super) alerts: usize,
    /// Leaves that each sink has not heard of.
    pub(super) lags: Vec<(String, i64)>,
}

/// Reads it.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    last: Mutex<Arc<Sample>>,
}

impl Sampler {
    pub(super) fn last(&self) -> Arc<Sample> {
        Arc::clone(&self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, sample: Sample) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sample);
    }

    /// Reads once, with disk and clocks.
    pub(super) async fn take(&self, house: &House) {
        look(house).await;
        self.read(house).await;
    }

    async fn read(&self, house: &House) {
        let read = tokio::time::timeout(PATIENCE, read(house)).await;
        match read {
            Ok(Ok(sample)) => self.put(sample),
            Ok(Err(error)) => {
                tracing::debug!(error = %format!("{error:#}"), "the database was not read");
                self.put(Sample { answers: false, ..self.last().as_ref().clone() });
            }
            Err(_) => self.put(Sample { answers: false, ..self.last().as_ref().clone() }),
        }
    }

    /// Reads until `stop`.
    pub(super) async fn run(&self, house: &House, stop: CancellationToken) {
        for round in 1_u32.. {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            self.read(house).await;
            if round.is_multiple_of(LOOK_EVERY) {
                look(house).await;
            }
        }
    }
}

async fn look(house: &House) {
    let looked = tokio::time::timeout(PATIENCE, house.observe.look()).await;
    if let Ok(Err(error)) = looked {
        tracing::debug!(error = %format!("{:#}", anyhow::Error::from(error)), "not all was seen");
    }
}

async fn read(house: &House) -> anyhow::Result<Sample> {
    let standing = house.spine.standing().await?;
    let mails = house.identity.mail_waiting().await?;
    let alerts = house.watch.alerts(Some(AlertState::Open), None, ALERTS_MAX).await?;
    let lags = house.observe.lags(standing.size).await?;
    Ok(Sample {
        at: Some(house.clock.now()),
        answers: true,
        standing,
        mails: (mails.waiting, mails.oldest_at),
        mails_given_up: mails.given_up,
        alerts: alerts.len(),
        lags,
    })
}
