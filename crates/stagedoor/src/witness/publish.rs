//! Shows the log's newest checkpoint to strangers, at a fixed pace, once enough witnesses have
//! cosigned it. Without them the one before stays: who asks for a quorum is never shown less.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use merkle::{Policy, SignedCheckpoint};
use tokio_util::sync::CancellationToken;

use super::peer::{Peer, Trouble};
use crate::house::House;

/// How often it is tried at the start, while nothing is shown yet: the sequencer comes to lead, and
/// signs, a moment after the program began.
const EAGER: Duration = Duration::from_millis(100);
const EAGER_TRIES: u32 = 100;

/// Publishes until `stop`; only where this node leads the log.
pub(crate) async fn publish(house: Arc<House>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut publisher = Publisher::new(house)?;
    let every = Duration::from_secs(publisher.house.config.audit.publish_every_s);
    let mut eager = EAGER_TRIES;
    loop {
        let shown = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            shown = publisher.round() => shown,
        };
        let shown = shown.unwrap_or_else(|error| {
            tracing::warn!(error = %format!("{error:#}"), "nothing was published; it goes on");
            true
        });
        eager = if shown { 0 } else { eager.saturating_sub(1) };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(if eager > 0 { EAGER } else { every }) => {}
        }
    }
}

struct Publisher {
    house: Arc<House>,
    peers: Vec<Peer>,
    /// What is being signed: it stays the same until it is published or the log has grown.
    gathering: Option<SignedCheckpoint>,
    /// Whether the last round had too few witnesses: said once.
    lacking: bool,
}

impl Publisher {
    fn new(house: Arc<House>) -> anyhow::Result<Self> {
        let keys = house.config.witness_keys()?;
        let peers = house.config.witness.iter().zip(keys).map(|(witness, key)| {
            let ca = witness.ca_file.as_ref().map(|file| {
                let file = house.base.join(file);
                std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
            });
            Peer::new(key, &witness.url, ca.transpose()?.as_deref())
        });
        let peers = peers.collect::<anyhow::Result<_>>()?;
        Ok(Self { house, peers, gathering: None, lacking: false })
    }

    /// Whether something is shown after it, by this node's leave.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let spine = self.house.spine.clone();
        if !spine.publishes().await? {
            return Ok(false);
        }
        let Some(head) = spine.checkpoint().await? else { return Ok(false) };
        let shown = spine.published().await?;
        let mut before = [self.gathering.take(), shown.clone()].into_iter().flatten();
        let before = before.find(|it| it.claimed() == head.claimed());
        let mut signed = before.unwrap_or_else(|| head.clone());
        let lines = signed.note().signatures().len();
        let policy = self.house.witness_policy().await?;
        self.gather(&policy, &head, &mut signed).await;
        let verified = policy.verify(&signed);
        let enough = verified.is_ok();
        if enough {
            let grown = signed.note().signatures().len() > lines;
            if grown || shown.is_none_or(|shown| shown.claimed() != signed.claimed()) {
                spine.publish(&signed).await?;
            }
        } else if !self.lacking {
            tracing::warn!(
                size = signed.claimed().size(),
                why = verified.err().map(|error| error.to_string()),
                "the public checkpoint stays the one before: too few witnesses cosign"
            );
        }
        self.lacking = !enough;
        self.gathering = Some(signed);
        Ok(true)
    }

    /// Asks all that are due at once, and takes their signatures in.
    async fn gather(
        &mut self,
        policy: &Policy,
        head: &SignedCheckpoint,
        signed: &mut SignedCheckpoint,
    ) {
        let (spine, now) = (&self.house.spine, self.house.clock.now());
        let due = self.peers.iter_mut().filter(|peer| peer.is_due(signed, now));
        let answers = futures_util::future::join_all(due.map(|peer| async move {
            let answer = peer.ask(spine, policy, head).await;
            peer.remember(answer.is_ok(), now);
            tell(peer, &answer);
            answer
        }));
        for lines in answers.await.into_iter().flatten() {
            // checked when it came; a full note is the only thing left to go wrong
            if let Err(error) = policy.collect(signed, &lines) {
                tracing::warn!(%error, "a witness's signature was not taken in");
            }
        }
    }
}

fn tell(peer: &Peer, answer: &Result<Vec<u8>, Trouble>) {
    let Err(trouble) = answer else { return };
    let witness = peer.name();
    if trouble.accuses() {
        tracing::error!(witness, %trouble, "A WITNESS REFUSES THIS LOG");
    } else {
        tracing::warn!(witness, %trouble, "a witness did not cosign");
    }
}
