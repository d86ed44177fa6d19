//! What this node knows of the others by their own word. Nothing here waits, and no clock but our own
//! is believed: another node's beat proves by its echo that it was sent after one of ours.
//!
//! A sender counts only once it has echoed a beat of this run, so what was recorded earlier and is
//! played again is nothing. Its changes are folded in order; behind a gap they wait until the database
//! was read up to what was heard.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use kernel::Timestamp;
use vault::WireKey;
use web::feed::{Accepted, Delta, Hub, Message, PublisherId};

use super::envelope::{Beat, Header, Keys, Refused, Said};

/// The most senders that are remembered.
const PEERS_MAX: usize = 64;
/// Beats of ours whose moment is remembered: a minute and more.
const BEATS_MAX: usize = 128;
/// Changes that wait behind a gap; more are read from the database.
const WAITING_MAX: usize = 4_096;

/// What is to be done after a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// Say a beat at once: somebody new waits for its echo.
    pub beat: bool,
    /// Read the database at once: something was missed.
    pub read: bool,
    /// Look at outbox and log: something was committed or sequenced.
    pub look: bool,
}

struct Peer {
    key: WireKey,
    node: String,
    /// The number of its last message.
    sequence: u64,
    beat: u64,
    /// The highest number of its changes that was heard of.
    number: u64,
    heard_at: Timestamp,
    /// When we said the newest beat that it has echoed.
    echo_at: Option<Timestamp>,
    gap: bool,
    waiting: Vec<Message>,
}

/// Another node, for the operator.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub node: String,
    pub publisher: PublisherId,
    pub number: u64,
    pub heard_at: Timestamp,
    pub echo_at: Option<Timestamp>,
    pub gap: bool,
}

pub(super) struct Peers {
    keys: Keys,
    own: PublisherId,
    own_key: WireKey,
    node: String,
    sequence: u64,
    count: u64,
    beats: VecDeque<(u64, Timestamp)>,
    /// When we said the newest of our beats that came back to us.
    looped_at: Option<Timestamp>,
    others: HashMap<PublisherId, Peer>,
    /// Names of the nodes that may commit: all must be heard where the database is not.
    expected: BTreeSet<String>,
    refused: BTreeMap<Refused, u64>,
    /// A block was lifted by word of another, which may have been kept back: the database says whether
    /// it is lifted still.
    unblocked: bool,
}

impl Peers {
    pub(super) fn new(keys: Keys, own: PublisherId, node: String) -> Result<Self, vault::Error> {
        let own_key = keys.of(own)?;
        Ok(Self {
            keys,
            own,
            own_key,
            node,
            sequence: 0,
            count: 0,
            beats: VecDeque::new(),
            looped_at: None,
            others: HashMap::new(),
            expected: BTreeSet::new(),
            refused: BTreeMap::new(),
            unblocked: false,
        })
    }

    /// A message of ours, sealed.
    pub(super) fn seal(&mut self, said: &Said) -> anyhow::Result<Vec<u8>> {
        self.sequence += 1;
        let header = Header { sender: self.own, sequence: self.sequence };
        self.keys.seal(&self.own_key, header, said)
    }

    /// Our next beat.
    pub(super) fn beat(&mut self, number: u64, now: Timestamp) -> Said {
        self.count += 1;
        self.beats.push_back((self.count, now));
        if self.beats.len() > BEATS_MAX {
            self.beats.pop_front();
        }
        let echoes = self.others.iter().map(|(publisher, peer)| (*publisher, peer.beat)).collect();
        Said::Beat(Beat { node: self.node.clone(), count: self.count, number, echoes })
    }

    /// Takes a message; what is refused is counted, and said at every doubling.
    pub(super) fn take(
        &mut self,
        hub: &Hub,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Next, Refused> {
        let taken = self.try_take(hub, bytes, now);
        if let Err(refused) = taken {
            let count = self.refused.entry(refused).or_default();
            *count += 1;
            if count.is_power_of_two() {
                tracing::warn!(%refused, count, "messages on Redis are no node's of this house");
            }
        }
        taken
    }

    fn try_take(&mut self, hub: &Hub, bytes: &[u8], now: Timestamp) -> Result<Next, Refused> {
        let (header, sealed) = Header::read(bytes)?;
        if header.sender == self.own {
            let said = self.keys.open(&self.own_key, header, sealed)?;
            if let Said::Beat(beat) = said {
                self.looped_at = self.said_at(beat.count).or(self.looped_at);
            }
            return Ok(Next::default());
        }
        let known = self.others.contains_key(&header.sender);
        if !known && self.others.len() >= PEERS_MAX {
            self.make_room(hub).ok_or(Refused::Crowded)?;
        }
        let Some(peer) = self.others.get_mut(&header.sender) else {
            // Kept only once it has shown to be ours.
            let key = self.keys.of(header.sender).map_err(|_| Refused::Forged)?;
            let said = self.keys.open(&key, header, sealed)?;
            self.others.insert(header.sender, Peer::new(key, header.sequence, now));
            return Ok(self.hear(hub, header.sender, said));
        };
        let said = self.keys.open(&peer.key, header, sealed)?;
        if header.sequence <= peer.sequence {
            return Err(Refused::Repeated);
        }
        peer.sequence = header.sequence;
        peer.heard_at = now;
        Ok(self.hear(hub, header.sender, said))
    }

    /// Forgets the sender that never echoed us and was silent longest.
    fn make_room(&mut self, hub: &Hub) -> Option<()> {
        let strangers = self.others.iter().filter(|(_, peer)| peer.echo_at.is_none());
        let (oldest, _) = strangers.min_by_key(|(_, peer)| peer.heard_at)?;
        let oldest = *oldest;
        self.drop_peer(hub, oldest);
        Some(())
    }

    fn drop_peer(&mut self, hub: &Hub, publisher: PublisherId) -> Option<Peer> {
        hub.forget(publisher);
        self.others.remove(&publisher)
    }

    fn said_at(&self, count: u64) -> Option<Timestamp> {
        self.beats.iter().rev().find(|(said, _)| *said == count).map(|(_, at)| *at)
    }

    fn hear(&mut self, hub: &Hub, from: PublisherId, said: Said) -> Next {
        match said {
            Said::Beat(beat) => self.hear_beat(hub, from, beat),
            Said::Delta(message) => self.hear_delta(hub, from, message),
            Said::Look => Next { look: true, ..Next::default() },
            Said::Bye => {
                if let Some(gone) = self.drop_peer(hub, from) {
                    tracing::info!(node = gone.node, "a node has left");
                    self.expected.remove(&gone.node);
                }
                Next { read: true, ..Next::default() }
            }
        }
    }

    fn hear_beat(&mut self, hub: &Hub, from: PublisherId, beat: Beat) -> Next {
        let echoed = beat.echoes.get(&self.own).and_then(|count| self.said_at(*count));
        let Some(peer) = self.others.get_mut(&from) else { return Next::default() };
        let newcomer = peer.beat == 0;
        peer.beat = peer.beat.max(beat.count);
        peer.node.clone_from(&beat.node);
        peer.number = peer.number.max(beat.number);
        let proven = peer.echo_at.is_none() && echoed.is_some();
        // Echoes come in order; the clock may not.
        peer.echo_at = echoed.or(peer.echo_at);
        if proven {
            tracing::info!(node = beat.node, "a node is heard");
            self.succeed(hub, from, &beat.node);
        }
        let Some(peer) = self.others.get_mut(&from) else { return Next::default() };
        peer.gap |= hub.number(from).is_none_or(|number| number < peer.number);
        Next { beat: newcomer, read: peer.gap && peer.echo_at.is_some(), look: false }
    }

    /// One name is one node: an earlier run of it is over.
    fn succeed(&mut self, hub: &Hub, from: PublisherId, node: &str) {
        let earlier = self.others.iter().filter(|(id, peer)| **id != from && peer.node == node);
        let earlier: Vec<PublisherId> = earlier.map(|(id, _)| *id).collect();
        for id in earlier {
            self.drop_peer(hub, id);
        }
        self.expected.insert(node.to_owned());
    }

    fn hear_delta(&mut self, hub: &Hub, from: PublisherId, message: Message) -> Next {
        let Some(peer) = self.others.get_mut(&from) else { return Next::default() };
        // A node speaks for itself only.
        if message.position.publisher != from {
            return Next::default();
        }
        peer.number = peer.number.max(message.position.number);
        if peer.echo_at.is_none() {
            // It may be a recording: what it says is in the database, if it was said.
            peer.gap = true;
            return Next::default();
        }
        if !peer.gap {
            match hub.accept(&message) {
                Accepted::Folded => {
                    self.unblocked |= matches!(message.delta, Some(Delta::ClientUnblocked { .. }));
                    return Next::default();
                }
                Accepted::Seen => return Next::default(),
                Accepted::Gap => peer.gap = true,
            }
        }
        if peer.waiting.len() < WAITING_MAX {
            peer.waiting.push(message);
        }
        Next { read: true, ..Next::default() }
    }

    /// Up to where each was heard that has proved to be there: noted before the database is read.
    pub(super) fn heard(&self) -> HashMap<PublisherId, u64> {
        let proven = self.others.iter().filter(|(_, peer)| peer.echo_at.is_some());
        proven.map(|(publisher, peer)| (*publisher, peer.number)).collect()
    }

    /// Whether a block was lifted by word of another since this was last asked.
    pub(super) const fn take_unblocked(&mut self) -> bool {
        std::mem::replace(&mut self.unblocked, false)
    }

    /// Whether something was missed.
    pub(super) fn has_gap(&self) -> bool {
        self.others.values().any(|peer| peer.gap && peer.echo_at.is_some())
    }

    /// After the database was read and folded: what waited behind gaps follows. True where a gap is
    /// left.
    pub(super) fn caught_up(&mut self, hub: &Hub) -> bool {
        for (publisher, peer) in &mut self.others {
            if !peer.gap || peer.echo_at.is_none() {
                continue;
            }
            for message in std::mem::take(&mut peer.waiting) {
                hub.accept(&message);
            }
            let number = hub.number(*publisher).unwrap_or(0);
            peer.gap = number < peer.number;
        }
        self.has_gap()
    }

    /// The nodes that the database names, beside this one.
    pub(super) fn expect(&mut self, names: BTreeSet<String>) {
        self.expected = names;
    }

    /// Up to when all that any node committed is known here, by the word of every one of them.
    pub(super) fn evidence(&self) -> Option<Timestamp> {
        let known = self.expected.iter().map(|name| {
            let runs = self.others.values().filter(|peer| peer.node == *name && !peer.gap);
            runs.filter_map(|peer| peer.echo_at).max()
        });
        known.min().flatten()
    }

    /// When we said the newest of our beats that came back.
    pub(super) const fn looped_at(&self) -> Option<Timestamp> {
        self.looped_at
    }

    /// Forgets senders that have been silent since a moment.
    pub(super) fn forget_silent(&mut self, hub: &Hub, since: Timestamp) {
        let silent = self.others.iter().filter(|(_, peer)| peer.heard_at < since);
        let silent: Vec<PublisherId> = silent.map(|(publisher, _)| *publisher).collect();
        for publisher in silent {
            self.drop_peer(hub, publisher);
        }
    }

    pub(super) fn shown(&self) -> Vec<Shown> {
        let shown = self.others.iter().filter(|(_, peer)| !peer.node.is_empty());
        let shown = shown.map(|(publisher, peer)| Shown {
            node: peer.node.clone(),
            publisher: *publisher,
            number: peer.number,
            heard_at: peer.heard_at,
            echo_at: peer.echo_at,
            gap: peer.gap,
        });
        let mut shown: Vec<Shown> = shown.collect();
        shown.sort_by(|a, b| (&a.node, a.publisher).cmp(&(&b.node, b.publisher)));
        shown
    }

    /// How many messages were refused, by why.
    pub(super) fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.iter().map(|(why, count)| (why.to_string(), *count)).collect()
    }
}

impl Peer {
    const fn new(key: WireKey, sequence: u64, now: Timestamp) -> Self {
        Self {
            key,
            node: String::new(),
            sequence,
            beat: 0,
            number: 0,
            heard_at: now,
            echo_at: None,
            gap: true,
            waiting: Vec::new(),
        }
    }
}
