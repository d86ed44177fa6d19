//! The way through Redis: one connection that says what this node committed, hears the others, and is
//! opened anew where it ends or falls silent.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use web::feed::{Subscription, Update};

use super::envelope::{MESSAGE_BYTES_MAX, Said};
use super::peers::Next;
use super::{Link, Nodes};
use crate::redis::{Connection, Reply, Server};

/// How often this node says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long our own words may stay away before the connection counts as dead.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// The least time between two hints.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_millis(400);

/// Keeps the connection until `stop`.
pub(super) async fn run(nodes: Arc<Nodes>, stop: CancellationToken) {
    let Some(server) = &nodes.server else { return };
    let mut wait = FIRST_WAIT;
    let mut failing = false;
    while !stop.is_cancelled() {
        let Err(error) = Talk::begin(&nodes, server, &stop).await else { return };
        let was_up = nodes.seen().link == Link::Up;
        nodes.see(|seen| seen.link = Link::Down);
        if was_up || !failing {
            tracing::warn!(
                ?server, error = %format!("{error:#}"),
                "Redis is lost: other nodes are heard through the database, a second later"
            );
        }
        failing = true;
        wait = if was_up { FIRST_WAIT } else { (wait * 2).min(LONGEST_WAIT) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Talk<'a> {
    nodes: &'a Nodes,
    connection: Connection,
    /// The number of the last change that was said here, or will be read from the database.
    said: u64,
    since: kernel::Timestamp,
}

impl<'a> Talk<'a> {
    /// Talks until `stop`, or until the connection ends.
    async fn begin(
        nodes: &'a Nodes,
        server: &Server,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let connection = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            connection = server.connect() => connection?,
        };
        let mut talk = Self { nodes, connection, said: 0, since: nodes.now() };
        talk.connection.send(&[b"SUBSCRIBE", nodes.channel.as_bytes()]).await?;
        let feed = nodes.house.hub.subscribe();
        talk.go_on(feed, stop).await
    }

    async fn go_on(
        &mut self,
        mut feed: Subscription,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let (mut beats, mut looks) = (every(BEAT), every(LOOK_EVERY));
        let spine = &self.nodes.house.spine;
        let (mut committed, mut grown) = (spine.committed(), spine.grown());
        let mut look = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.leave(feed).await,
                update = feed.next() => self.pass_on(update).await?,
                // Before what is heard: a server that never stops to speak is silent, too.
                _ = beats.tick() => self.beat().await?,
                reply = self.connection.next() => {
                    let next = self.hear(reply?)?;
                    self.obey(next).await?;
                }
                () = self.nodes.beat.notified() => self.beat().await?,
                _ = looks.tick(), if look => {
                    look = false;
                    self.say(&Said::Look).await?;
                }
                Ok(()) = committed.changed(), if !look => look = true,
                Ok(()) = grown.changed(), if !look => look = true,
            }
        }
    }

    /// Says what is still to be said, and goodbye.
    async fn leave(&mut self, mut feed: Subscription) -> anyhow::Result<()> {
        while let Some(update @ Some(_)) = feed.next().now_or_never() {
            self.pass_on(update).await?;
        }
        self.say(&Said::Bye).await
    }

    /// Says what this node published; what only reached it from elsewhere is not its to say.
    async fn pass_on(&mut self, update: Option<Update>) -> anyhow::Result<()> {
        let own = self.nodes.house.publisher.id();
        match update {
            Some(Update::Delta(message)) if message.position.publisher == own => {
                self.said = message.position.number;
                self.say(&Said::Delta((*message).clone())).await
            }
            // What was published before is in the database: the others see it by the number.
            Some(Update::Snapshot(state)) => {
                self.said = state.positions.get(&own).copied().unwrap_or(0);
                Ok(())
            }
            Some(Update::Delta(_) | Update::Heartbeat(_)) => Ok(()),
            None => anyhow::bail!("the feed is gone"),
        }
    }

    async fn beat(&mut self) -> anyhow::Result<()> {
        let now = self.nodes.now();
        let heard = self.nodes.peers().looped_at().max(Some(self.since));
        if heard.is_some_and(|heard| now.since(heard) > SILENCE_MAX) {
            anyhow::bail!("it is silent");
        }
        let said = self.nodes.peers().beat(self.said, now);
        self.say(&said).await
    }

    async fn say(&mut self, said: &Said) -> anyhow::Result<()> {
        let sealed = self.nodes.peers().seal(said)?;
        if sealed.len() > MESSAGE_BYTES_MAX {
            // The next beat's number tells the others to read it.
            tracing::debug!(
                bytes = sealed.len(),
                "too large to be said: it is read from the database"
            );
            return Ok(());
        }
        self.connection.send(&[b"PUBLISH", self.nodes.channel.as_bytes(), &sealed]).await?;
        Ok(())
    }

    fn hear(&self, reply: Reply) -> anyhow::Result<Next> {
        let parts = match reply {
            Reply::Push(parts) => parts,
            Reply::Refused(why) => anyhow::bail!("it refuses: {why}"),
            Reply::Word(_) | Reply::Int(_) | Reply::Text(_) | Reply::Nil | Reply::Parts(_) => {
                return Ok(Next::default());
            }
        };
        let [Reply::Text(sort), Reply::Text(_), Reply::Text(message)] = &parts[..] else {
            return Ok(Next::default());
        };
        if sort != b"message" {
            return Ok(Next::default());
        }
        let (nodes, now) = (self.nodes, self.nodes.now());
        // What is refused was counted, and asks for nothing.
        Ok(nodes.peers().take(&nodes.house.hub, message, now).unwrap_or_default())
    }

    async fn obey(&mut self, next: Next) -> anyhow::Result<()> {
        if self.nodes.seen().link != Link::Up && self.nodes.peers().looped_at() > Some(self.since) {
            self.nodes.see(|seen| seen.link = Link::Up);
            self.nodes.read.notify_one();
            tracing::info!("Redis carries what the nodes say");
        }
        if next.read {
            self.nodes.read.notify_one();
        }
        if next.look {
            self.nodes.house.spine.wake();
        }
        if next.beat { self.beat().await } else { Ok(()) }
    }
}

fn every(span: Duration) -> Interval {
    let mut interval = tokio::time::interval(span);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
