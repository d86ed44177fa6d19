//! The feed: what the edge must know, pushed by the control plane, and what it saw, counted back.
//!
//! A subscriber gets a snapshot, then deltas numbered per publisher; a gap means another snapshot,
//! never a guess. A heartbeat tells silence from "nothing new": without one for
//! [`STALE_AFTER_S`] the edge refuses what is marked sensitive. Every set here is bounded, and a
//! revocation that does not fit raises a floor (all older tokens are minted anew) instead of
//! being forgotten. The values are serde values, so that a socket can carry them between
//! processes; [`Hub`] carries them inside one.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use kernel::{AccountId, Clock, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::broadcast;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::client::ClientFacts;

mod counter;
mod routes;
mod truth;

pub use counter::{Counter, Grant, Take, Taken};
pub use routes::{
    Access, Limit, PathRule, Per, Protocol, Route, RouteProblem, RouteTable, RouteTimeouts,
    Sharing, Upstream, WithoutStore,
};
pub use truth::{Reading, Truth};

/// Seconds without a heartbeat after which sensitive routes fail closed.
pub const STALE_AFTER_S: u64 = 5;
/// Ended sessions and accounts kept before the floor is raised instead.
pub const ENDED_MAX: usize = 500_000;
/// Blocked networks kept; past it the one that would end first makes room.
pub const BLOCKED_MAX: usize = 100_000;
/// Deltas a slow subscriber may lag behind before it must load a snapshot.
const QUEUE: usize = 4_096;

/// A network of client addresses: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Net {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an address or a network: write it as 192.0.2.0/24 or 2001:db8::/32")]
pub struct NetError(pub String);

impl Net {
    /// The network of `prefix` leading bits around `address`; longer prefixes than the family
    /// has are cut to it, and bits behind the prefix are cleared.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let mapped = address.is_ipv6() && plain(address).is_ipv4();
        match plain(address) {
            IpAddr::V4(v4) => {
                let prefix = if mapped { prefix.saturating_sub(96) } else { prefix }.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Self { address: IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask)), prefix }
            }
            IpAddr::V6(v6) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Self { address: IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask)), prefix }
            }
        }
    }

    /// What one client holds: an IPv4 address, or the /64 around an IPv6 address.
    #[must_use]
    pub fn of_client(address: IpAddr) -> Self {
        let address = plain(address);
        Self::new(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// Whether `address` lies in the network. IPv4 inside IPv6 (`::ffff:…`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = plain(address);
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.prefix) == *self
    }

    /// The leading bits that count.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The first address of the network.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }
}

/// IPv4 that arrived on an IPv6 socket is IPv4.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

impl From<IpAddr> for Net {
    fn from(address: IpAddr) -> Self {
        Self::new(address, 128)
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetError(text.chars().take(64).collect());
        let Some((address, prefix)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| wrong());
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?;
        let prefix = prefix.parse::<u8>().map_err(|_| wrong())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self::new(address, prefix))
    }
}

impl Serialize for Net {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl PartialSchema for Net {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("A network: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/64`."))
            .into()
    }
}

impl ToSchema for Net {}

/// Public keys that session tokens are verified with (RFC 7517, RFC 8037): Ed25519 only.
/// Members that are not listed are ignored, as RFC 7517 section 4 asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys; one that is no Ed25519 key is never used.
    pub keys: Vec<Jwk>,
}

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type: `OKP`.
    pub kty: String,
    /// Curve: `Ed25519`.
    pub crv: String,
    /// Key id, as in a token's header.
    pub kid: String,
    /// The public key: 32 bytes, base64url without padding.
    pub x: String,
}

/// One change that the edge must know of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delta {
    /// One session ended; its tokens are dead and its open streams close.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// When its last token has expired by itself, so that the record can go.
        until: Timestamp,
    },
    /// Every session of an account that began at or before a moment ended.
    AccountSessionsEnded {
        /// The account.
        account: AccountId,
        /// The moment: a session's id carries when it began.
        before: Timestamp,
        /// When the last token of those sessions has expired by itself.
        until: Timestamp,
    },
    /// A network is refused, and its open connections close.
    ClientBlocked {
        /// The network.
        net: Net,
        /// The end of the block.
        until: Timestamp,
        /// Why, for the operator's list; never shown to the client.
        reason: String,
    },
    /// A block was lifted before its end.
    ClientUnblocked {
        /// The network as it was blocked.
        net: Net,
    },
    /// Another route table is in force, whole.
    Routes(#[serde(with = "shared")] Arc<RouteTable>),
    /// Another set of public keys is in force, whole.
    SigningKeys(#[serde(with = "shared")] Arc<Jwks>),
}

mod shared {
    //! Shared values travel as their contents (serde's `rc` feature would do it for all crates).
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(value, serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// Who numbers deltas: one for each run of a node of the control plane.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct PublisherId(pub u64);

/// A place in one publisher's deltas. A caller that carries it may ask to be answered only by an
/// edge that has seen it. Text form: `publisher.number` in hex and decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Whose.
    pub publisher: PublisherId,
    /// The number of the last delta; 0 before the first.
    pub number: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.publisher.0, self.number)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (publisher, number) = text.split_once('.').ok_or(PositionError)?;
        let publisher = u64::from_str_radix(publisher, 16).map_err(|_| PositionError)?;
        let number = number.parse().map_err(|_| PositionError)?;
        Ok(Self { publisher: PublisherId(publisher), number })
    }
}

/// A text that is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a feed position is 16 hex digits, a dot and a number")]
pub struct PositionError;

/// What travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The place of this delta; of the last delta, for a heartbeat.
    pub position: Position,
    /// When it was sent.
    pub at: Timestamp,
    /// The change; none for a heartbeat.
    pub delta: Option<Delta>,
}

/// Sessions that ended and whose tokens may still look alive.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Revocations {
    sessions: HashMap<SessionId, Timestamp>,
    accounts: HashMap<AccountId, (Timestamp, Timestamp)>,
    floor: Timestamp,
}

/// What the feed says about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing against it.
    Live,
    /// Its session ended: refuse.
    Ended,
    /// It is older than what can be told apart: ask for a new one, identity knows.
    Unknown,
}

impl Revocations {
    /// What is known of a token of this session and account that was issued at `issued`.
    #[must_use]
    pub fn standing(&self, session: SessionId, account: AccountId, issued: Timestamp) -> Standing {
        if self.sessions.contains_key(&session) {
            return Standing::Ended;
        }
        if let Some((before, _)) = self.accounts.get(&account)
            && began_ms(session) <= before.millis()
        {
            return Standing::Ended;
        }
        if issued <= self.floor && self.floor > Timestamp::default() {
            return Standing::Unknown;
        }
        Standing::Live
    }

    /// Notes that a session ended.
    pub fn end_session(&mut self, session: SessionId, until: Timestamp, now: Timestamp) {
        self.sessions.insert(session, until);
        self.bound(now);
    }

    /// Notes that an account's sessions ended that began at or before a moment; until when their last
    /// token has expired.
    pub fn end_account(
        &mut self,
        account: AccountId,
        before: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) {
        let known = self.accounts.entry(account).or_insert((before, until));
        known.0 = known.0.max(before);
        known.1 = known.1.max(until);
        self.bound(now);
    }

    /// Forgets what no unexpired token can need.
    pub fn prune(&mut self, now: Timestamp) {
        self.sessions.retain(|_, until| *until > now);
        self.accounts.retain(|_, (_, until)| *until > now);
    }

    /// Whether a revocation is not in here yet.
    fn lacks(&self, delta: &Delta) -> bool {
        match delta {
            Delta::SessionEnded { session, until } => {
                self.sessions.get(session).is_none_or(|known| known < until)
            }
            Delta::AccountSessionsEnded { account, before, until } => {
                self.accounts.get(account).is_none_or(|known| known.0 < *before || known.1 < *until)
            }
            Delta::ClientBlocked { .. }
            | Delta::ClientUnblocked { .. }
            | Delta::Routes(_)
            | Delta::SigningKeys(_) => false,
        }
    }

    /// How many ended sessions and accounts are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len().saturating_add(self.accounts.len())
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn bound(&mut self, now: Timestamp) {
        if self.len() <= ENDED_MAX {
            return;
        }
        self.prune(now);
        if self.len() > ENDED_MAX {
            self.floor = self.floor.max(now);
            self.sessions.clear();
            self.accounts.clear();
        }
    }
}

/// When a session began, in milliseconds: the first 48 bits of its id.
#[must_use]
pub fn began_ms(session: SessionId) -> i64 {
    let mut bytes = [0u8; 8];
    for (to, from) in bytes.iter_mut().skip(2).zip(session.as_bytes()) {
        *to = *from;
    }
    i64::from_be_bytes(bytes)
}

/// Networks that are refused.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "HashMap<Net, Block>", into = "HashMap<Net, Block>")]
pub struct Blocks {
    nets: HashMap<Net, Block>,
    /// Families and prefix lengths in use, and by how many networks: a look-up tries each once.
    prefixes: Vec<((bool, u8), usize)>,
}

impl From<HashMap<Net, Block>> for Blocks {
    fn from(nets: HashMap<Net, Block>) -> Self {
        let mut blocks = Self { nets, prefixes: Vec::new() };
        blocks.index();
        blocks
    }
}

impl From<Blocks> for HashMap<Net, Block> {
    fn from(blocks: Blocks) -> Self {
        blocks.nets
    }
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its end.
    pub until: Timestamp,
    /// Why, for the operator.
    pub reason: String,
}

impl Blocks {
    /// The block that covers an address at a moment, if any.
    #[must_use]
    pub fn of(&self, address: IpAddr, now: Timestamp) -> Option<&Block> {
        if self.nets.is_empty() {
            return None;
        }
        let address = plain(address);
        self.prefixes
            .iter()
            .filter(|((v4, _), _)| *v4 == address.is_ipv4())
            .filter_map(|((_, prefix), _)| self.nets.get(&Net::new(address, *prefix)))
            .find(|block| block.until > now)
    }

    /// Blocks a network.
    pub fn add(&mut self, net: Net, block: Block) {
        if self.nets.len() >= BLOCKED_MAX
            && !self.nets.contains_key(&net)
            && let Some(first) =
                self.nets.iter().min_by_key(|(_, block)| block.until).map(|(net, _)| *net)
        {
            self.remove(first);
        }
        if self.nets.insert(net, block).is_none() {
            self.counted(net);
        }
    }

    /// Lifts a block.
    pub fn remove(&mut self, net: Net) {
        if self.nets.remove(&net).is_none() {
            return;
        }
        let key = prefix_of(net);
        for (known, count) in &mut self.prefixes {
            if *known == key {
                *count = count.saturating_sub(1);
            }
        }
        self.prefixes.retain(|(_, count)| *count > 0);
    }

    /// Forgets blocks that ended.
    pub fn prune(&mut self, now: Timestamp) {
        self.nets.retain(|_, block| block.until > now);
        self.index();
    }

    /// The blocks, for a list.
    pub fn iter(&self) -> impl Iterator<Item = (&Net, &Block)> {
        self.nets.iter()
    }

    fn index(&mut self) {
        self.prefixes.clear();
        let nets: Vec<Net> = self.nets.keys().copied().collect();
        nets.into_iter().for_each(|net| self.counted(net));
    }

    /// One network more has this prefix length.
    fn counted(&mut self, net: Net) {
        let key = prefix_of(net);
        match self.prefixes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, count)) => *count += 1,
            None => self.prefixes.push((key, 1)),
        }
    }
}

const fn prefix_of(net: Net) -> (bool, u8) {
    (net.address.is_ipv4(), net.prefix)
}

/// Everything that the edge needs to know at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Up to where each publisher's deltas are in it.
    pub positions: HashMap<PublisherId, u64>,
    /// Ended sessions.
    pub revocations: Revocations,
    /// Blocked networks.
    pub blocks: Blocks,
    /// The route table.
    #[serde(with = "shared")]
    pub routes: Arc<RouteTable>,
    /// The public keys of session tokens.
    #[serde(with = "shared")]
    pub keys: Arc<Jwks>,
}

impl Snapshot {
    /// A snapshot as the control plane loads it: routes and keys; revocations and blocks are
    /// added by [`Snapshot::apply`].
    #[must_use]
    pub fn new(routes: Arc<RouteTable>, keys: Arc<Jwks>) -> Self {
        Self { routes, keys, ..Self::default() }
    }

    /// Folds one change in. Routes of an older revision than those in force change nothing: they
    /// come from a node that spoke later than it committed.
    pub fn apply(&mut self, delta: &Delta, now: Timestamp) {
        match delta {
            Delta::SessionEnded { session, until } => {
                self.revocations.end_session(*session, *until, now);
            }
            Delta::AccountSessionsEnded { account, before, until } => {
                self.revocations.end_account(*account, *before, *until, now);
            }
            Delta::ClientBlocked { net, until, reason } => {
                self.blocks.add(*net, Block { until: *until, reason: reason.clone() });
            }
            Delta::ClientUnblocked { net } => self.blocks.remove(*net),
            Delta::Routes(routes) if routes.revision < self.routes.revision => {}
            Delta::Routes(routes) => self.routes = Arc::clone(routes),
            Delta::SigningKeys(keys) => self.keys = Arc::clone(keys),
        }
    }
}

/// The feed inside one process: it keeps the folded state, numbers what is published and hands it
/// to every subscription. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<Snapshot>,
    /// What was said of networks while the source of truth is being read. Locked after `state`.
    touched: Mutex<truth::Touched>,
    /// The last sign of life: a late subscriber need not wait for the next.
    heard: Mutex<Option<(PublisherId, Timestamp)>>,
    sender: broadcast::Sender<Sent>,
}

/// What subscriptions are told.
#[derive(Clone, Debug)]
enum Sent {
    Message(Arc<Message>),
    /// The state was loaded anew.
    Anew,
}

impl Sent {
    fn new(message: Message) -> Self {
        Self::Message(Arc::new(message))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        // A panic while folding cannot leave a half-made value behind that is worse than none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, message: &Message) {
        if message.delta.is_none() {
            let heard = Some((message.position.publisher, message.at));
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
        }
    }

    /// The last heartbeat, as if it had come just behind this state.
    fn heartbeat(&self, state: &Snapshot) -> Option<Arc<Message>> {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (publisher, at) = heard?;
        let number = state.positions.get(&publisher).copied()?;
        Some(Arc::new(Message { position: Position { publisher, number }, at, delta: None }))
    }
}

impl Hub {
    /// A hub that starts from a snapshot.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, start: Snapshot) -> Self {
        let (sender, _) = broadcast::channel(QUEUE);
        let (state, touched, heard) = (Mutex::new(start), Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { clock, state, touched, heard, sender }) }
    }

    /// A publisher with its own numbers.
    #[must_use]
    pub fn publisher(&self, id: PublisherId) -> Publisher {
        self.shared.lock().positions.entry(id).or_insert(0);
        Publisher { id, shared: Arc::clone(&self.shared) }
    }

    /// A subscription: the snapshot first, then every delta after it, none twice and none lost.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            shared: Arc::clone(&self.shared),
            receiver: self.shared.sender.subscribe(),
            seen: HashMap::new(),
            loaded: false,
            heard: None,
        }
    }

    /// Folds in what a publisher elsewhere sent, and hands it on. After a gap nothing is folded:
    /// load a snapshot that is at least as new as the message, and give it to [`Hub::load`]; a hub
    /// that publishes too reads the source of truth and gives it to [`Publisher::fold`].
    pub fn accept(&self, message: &Message) -> Accepted {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        match place(&mut state.positions, message) {
            Place::Seen => return Accepted::Seen,
            Place::Gap => return Accepted::Gap,
            Place::Next => {}
        }
        if let Some(delta) = &message.delta {
            // By our own clock: the sender's may be another.
            self.shared.apply(&mut state, delta, now);
        }
        self.shared.hear(message);
        // Under the lock, as in `Publisher::publish`.
        let _ = self.shared.sender.send(Sent::Message(Arc::new(message.clone())));
        Accepted::Folded
    }

    /// Forgets everything and starts from a snapshot; so does every subscription. For a hub that
    /// only follows another: what publishers of this one sent meanwhile would be forgotten too.
    pub fn load(&self, snapshot: Snapshot) {
        let mut state = self.shared.lock();
        *state = snapshot;
        let _ = self.shared.sender.send(Sent::Anew);
    }

    /// Whether a position is folded in here.
    #[must_use]
    pub fn has(&self, position: Position) -> bool {
        self.shared
            .lock()
            .positions
            .get(&position.publisher)
            .is_some_and(|number| *number >= position.number)
    }

    /// The number of a publisher's last delta that is folded in here; none of one never heard.
    #[must_use]
    pub fn number(&self, publisher: PublisherId) -> Option<u64> {
        self.shared.lock().positions.get(&publisher).copied()
    }

    /// Forgets where a publisher was that will not speak again.
    pub fn forget(&self, publisher: PublisherId) {
        self.shared.lock().positions.remove(&publisher);
    }

    /// Whether a revocation is not known here yet; false for every other change.
    #[must_use]
    pub fn lacks(&self, delta: &Delta) -> bool {
        self.shared.lock().revocations.lacks(delta)
    }

    /// A copy of the folded state, for the operator's lists.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().clone()
    }
}

/// Puts changes on the feed. Cloning shares the numbers.
#[derive(Clone, Debug)]
pub struct Publisher {
    id: PublisherId,
    shared: Arc<Shared>,
}

impl Publisher {
    /// Publishes one change at once; never waits. The position can be handed to a caller.
    pub fn publish(&self, delta: Delta) -> Position {
        let at = self.shared.clock.now();
        // The send stays under the lock: numbers must leave in their order.
        let mut state = self.shared.lock();
        self.publish_in(&mut state, delta, at)
    }

    fn publish_in(&self, state: &mut Snapshot, delta: Delta, at: Timestamp) -> Position {
        self.shared.apply(state, &delta, at);
        let number = state.positions.entry(self.id).or_insert(0);
        *number = number.saturating_add(1);
        let position = Position { publisher: self.id, number: *number };
        let _ = self.shared.sender.send(Sent::new(Message { position, at, delta: Some(delta) }));
        position
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> PublisherId {
        self.id
    }

    /// Says "I am here, and nothing is newer than my last delta". To be called each second, only
    /// while the source of truth answers. Also forgets what has expired.
    pub fn beat(&self) {
        self.beat_as_of(self.shared.clock.now());
    }

    /// The same, where all that is known for sure is what was so at an earlier moment.
    pub fn beat_as_of(&self, at: Timestamp) {
        let now = self.shared.clock.now();
        let at = at.min(now);
        let mut state = self.shared.lock();
        state.revocations.prune(now);
        state.blocks.prune(now);
        let number = state.positions.get(&self.id).copied().unwrap_or(0);
        let position = Position { publisher: self.id, number };
        let message = Message { position, at, delta: None };
        self.shared.hear(&message);
        let _ = self.shared.sender.send(Sent::new(message));
    }
}

/// What a subscriber is told next; also a line of the feed between two processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// Forget everything and start from this: the first thing, and after each gap.
    Snapshot(Box<Snapshot>),
    /// One change.
    Delta(#[serde(with = "shared")] Arc<Message>),
    /// Nothing new, and the source lives.
    Heartbeat(#[serde(with = "shared")] Arc<Message>),
}

/// One subscriber's place on the feed.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
    receiver: broadcast::Receiver<Sent>,
    seen: HashMap<PublisherId, u64>,
    loaded: bool,
    /// The heartbeat that comes behind a snapshot.
    heard: Option<Arc<Message>>,
}

impl Subscription {
    /// The next update; none when the hub is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<Update> {
        if !self.loaded {
            return Some(self.reload());
        }
        if let Some(heard) = self.heard.take() {
            return Some(Update::Heartbeat(heard));
        }
        loop {
            let message = match self.receiver.recv().await {
                Ok(Sent::Message(message)) => message,
                Ok(Sent::Anew) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(self.reload());
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            match place(&mut self.seen, &message) {
                Place::Seen => {}
                Place::Gap => return Some(self.reload()),
                Place::Next if message.delta.is_some() => return Some(Update::Delta(message)),
                Place::Next => return Some(Update::Heartbeat(message)),
            }
        }
    }

    fn reload(&mut self) -> Update {
        // Snapshot and tail under one lock: nothing can fall between them.
        let state = self.shared.lock();
        self.receiver = self.shared.sender.subscribe();
        let snapshot = state.clone();
        self.heard = self.shared.heartbeat(&state);
        drop(state);
        self.seen.clone_from(&snapshot.positions);
        self.loaded = true;
        Update::Snapshot(Box::new(snapshot))
    }
}

/// What became of a message from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is folded in, and handed on.
    Folded,
    /// It was folded in before.
    Seen,
    /// Something before it is missing, or its publisher is not known.
    Gap,
}

enum Place {
    Seen,
    Next,
    Gap,
}

/// Where a message stands behind what was seen; counts it as seen where it is the next.
fn place(seen: &mut HashMap<PublisherId, u64>, message: &Message) -> Place {
    let Position { publisher, number } = message.position;
    let Some(seen) = seen.get_mut(&publisher) else { return Place::Gap };
    let expected = if message.delta.is_some() { seen.saturating_add(1) } else { *seen };
    if number < expected {
        return Place::Seen;
    }
    if number > expected {
        return Place::Gap;
    }
    *seen = number;
    Place::Next
}

/// One thing that the edge saw, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The client.
    pub client: IpAddr,
    /// What happened: `limit.<name>`, `hygiene.<code>`, `session.<code>`, `blocked`.
    pub rule: String,
    /// The second, since the epoch.
    pub second: i64,
    /// How often.
    pub count: u64,
}

/// What was seen since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The counts, in no order.
    pub seen: Vec<Observation>,
    /// How many more did not fit.
    pub dropped: u64,
}

/// The bounded way back: a flood makes larger counts, not more entries.
#[derive(Debug)]
pub struct Observations {
    keys_max: usize,
    held: Mutex<Held>,
    ready: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Held {
    counts: HashMap<(IpAddr, Arc<str>, i64), u64>,
    dropped: u64,
}

impl Observations {
    /// Room for `keys_max` different (client, rule, second).
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self { keys_max, held: Mutex::default(), ready: tokio::sync::Notify::new() }
    }

    /// Counts one; never waits. What does not fit is counted as dropped.
    pub fn note(&self, client: IpAddr, rule: &Arc<str>, now: Timestamp) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (client, Arc::clone(rule), now.seconds());
        let full = held.counts.len() >= self.keys_max;
        if let Some(count) = held.counts.get_mut(&key) {
            *count = count.saturating_add(1);
        } else if full {
            held.dropped = held.dropped.saturating_add(1);
        } else {
            held.counts.insert(key, 1);
            drop(held);
            self.ready.notify_one();
        }
    }

    /// Adds what another process counted, within the same bounds.
    pub fn add(&self, observed: Observed) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.dropped = held.dropped.saturating_add(observed.dropped);
        for Observation { client, rule, second, count } in observed.seen {
            let key = (client, Arc::from(rule), second);
            let full = held.counts.len() >= self.keys_max;
            if let Some(known) = held.counts.get_mut(&key) {
                *known = known.saturating_add(count);
            } else if full {
                held.dropped = held.dropped.saturating_add(count);
            } else {
                held.counts.insert(key, count);
            }
        }
        drop(held);
        self.ready.notify_one();
    }

    /// Takes everything.
    pub fn take(&self) -> Observed {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let seen = held
            .counts
            .into_iter()
            .map(|((client, rule, second), count)| Observation {
                client,
                rule: rule.as_ref().to_owned(),
                second,
                count,
            })
            .collect();
        Observed { seen, dropped: held.dropped }
    }

    /// Waits until there may be something to take.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }
}

/// Makes a new session token where the short one has expired; identity implements it.
pub trait Minter: Send + Sync {
    /// The new token of the session whose secret is in the cookie; none where it has ended.
    fn mint<'a>(
        &'a self,
        session_cookie: &'a str,
        facts: &'a ClientFacts,
    ) -> BoxFuture<'a, Option<Minted>>;
}

/// A new session token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Minted {
    /// The token, as the cookie carries it.
    pub token: String,
    /// Its end.
    pub expires: Timestamp,
}

#[cfg(test)]
mod tests;
