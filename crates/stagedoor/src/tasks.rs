//! What runs beside the requests: sequencer, consumers, other nodes, mail, observations, upkeep.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use identity::{MailRoad, Mailer, SmtpFiles, SmtpMailer};
use observe::traces::Exporter;
use spine::Consumer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::feed::Observations;

use crate::certificates::Shown;
use crate::house::House;
use crate::nodes::Nodes;
use crate::rooms::rooms;
use crate::{config, witness};

/// The least time between two looks at what the edge saw.
const OBSERVE: Duration = Duration::from_secs(1);
/// How often things are tidied.
const TEND: Duration = Duration::from_secs(60);

/// The running tasks.
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Starts everything.
    pub(crate) fn start(
        house: &Arc<House>,
        nodes: &Arc<Nodes>,
        observations: &Arc<Observations>,
    ) -> anyhow::Result<Self> {
        let tasks = Self { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        let (spine, stop) = (house.spine.clone(), tasks.stop.clone());
        tasks.tracker.spawn(async move {
            if let Err(error) = spine::run_sequencer(spine, stop).await {
                tracing::error!(%error, "the sequencer stopped: nothing is signed until this is \
                     looked into; `stagedoor doctor` and `stagedoor audit verify` say more");
            }
        });
        let consumers = house.consumers();
        let names: Vec<&'static str> = consumers.iter().map(|consumer| consumer.name()).collect();
        rooms()?.check_consumers(&names)?;
        for consumer in consumers {
            tasks.consume(house, consumer);
        }
        tasks.every(TEND, Arc::clone(house), tend);
        nodes.start(&tasks.tracker, &tasks.stop);
        tasks.observe(house, Arc::clone(observations));
        tasks.mail(house)?;
        tasks.publish(house);
        for feeding in house.observe.run_sinks(&tasks.stop)? {
            tasks.tracker.spawn(feeding);
        }
        Ok(tasks)
    }

    /// Sends spans to whoever collects them.
    pub(crate) fn export(&self, house: &House, exporter: Exporter) {
        self.tracker.spawn(house.observe.clone().export(exporter, self.stop.clone()));
    }

    fn consume(&self, house: &House, consumer: Box<dyn Consumer>) {
        let (spine, stop) = (house.spine.clone(), self.stop.clone());
        self.tracker.spawn(async move { spine::run_consumer(spine, &*consumer, stop).await });
    }

    fn every<F>(&self, span: Duration, house: Arc<House>, work: fn(Arc<House>) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            loop {
                if let Err(error) = work(Arc::clone(&house)).await {
                    tracing::warn!(error = %format!("{error:#}"), "upkeep failed; it goes on");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(span) => {}
                }
            }
        });
    }

    /// What the edge saw goes to both rooms that want it: counts for the log, floods for rules.
    fn observe(&self, house: &Arc<House>, observations: Arc<Observations>) {
        let (house, stop) = (Arc::clone(house), self.stop.clone());
        let observer = access::Observer::new(house.access.clone());
        self.tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = observations.ready() => {}
                }
                let observed = observations.take();
                if let Err(error) = observer.fold(&observed).await {
                    tracing::warn!(%error, "what the edge saw could not be written");
                }
                if let Err(error) = house.watch.observe(&observed).await {
                    tracing::warn!(%error, "what the edge saw could not be judged");
                }
                tokio::time::sleep(OBSERVE).await;
            }
        });
    }

    /// Looks each minute, and when `asked`, whether the certificate files were renewed.
    pub(crate) fn renew(&self, mut shown: Shown, asked: Arc<Notify>) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = asked.notified() => {}
                    () = tokio::time::sleep(TEND) => {}
                }
                match shown.renew() {
                    Ok(true) => tracing::info!("the renewed certificates are in force"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(
                        error = %format!("{error:#}"),
                        "the certificate files changed and cannot be used: the old ones stay"
                    ),
                }
            }
        });
    }

    fn mail(&self, house: &Arc<House>) -> anyhow::Result<()> {
        let config = &house.config.identity.mail;
        let mailer: Box<dyn Mailer> = match config.to {
            MailRoad::Outbox => Box::new(house.outbox.clone()),
            MailRoad::Smtp => {
                let file = config.smtp_password_file.as_ref();
                let password = file.map(|file| config::read_secret(&house.base.join(file)));
                let file = config.smtp_ca_file.as_ref().map(|file| house.base.join(file));
                let authority = file.map(|file| {
                    let unreadable = || format!("{} cannot be read", file.display());
                    std::fs::read(&file).with_context(unreadable)
                });
                let (password, authority) = (password.transpose()?, authority.transpose()?);
                Box::new(SmtpMailer::new(config, &SmtpFiles { password, authority })?)
            }
        };
        let (house, stop) = (Arc::clone(house), self.stop.clone());
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = house.identity.serve_mail(mailer.as_ref()) => {}
            }
        });
        Ok(())
    }

    /// Shows strangers the log's newest checkpoint, with the signatures of outside witnesses.
    fn publish(&self, house: &Arc<House>) {
        let (house, stop) = (Arc::clone(house), self.stop.clone());
        self.tracker.spawn(async move {
            if let Err(error) = witness::publish(house, stop).await {
                tracing::error!(error = %format!("{error:#}"), "nothing is published");
            }
        });
    }

    /// Stops everything, in bounded time; what was committed gets its leaf first.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await.is_err() {
            tracing::warn!("a task did not stop in time");
        }
    }
}

async fn tend(house: Arc<House>) -> anyhow::Result<()> {
    for (chore, done) in house.chores() {
        if let Err(error) = done.await {
            tracing::warn!(chore, error = %format!("{error:#}"), "upkeep failed; it goes on");
        }
    }
    Ok(())
}
