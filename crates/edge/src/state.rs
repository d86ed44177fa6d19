//! What the edge knows while it runs: the feed folded, and what all its connections share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::HeaderValue;
use kernel::{Clock, Entropy, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::ClientFacts;
use web::feed::{
    Block, Blocks, Counter, Delta, Jwks, Minted, Minter, Net, Observations, Position, Revocations,
    RouteTable, STALE_AFTER_S, Snapshot, Standing, Subscription, Update,
};

use crate::bounds::Bounds;
use crate::config::ForwardAuth;
use crate::connections::Connections;
use crate::head::Flaw;
use crate::limits::{Desk, Ledger};
use crate::long_lived::LongLived;
use crate::meters::Meters;
use crate::routes::{Compiled, Credentials};
use crate::session::{Issuer, Keys, Session, TokenFault, Tokens, hash};

/// Codes that are observed besides those of [`Flaw`] and of limits.
const OBSERVED: [&str; 19] = [
    "edge.blocked",
    "edge.forbidden",
    "edge.foreign_origin",
    "edge.http2_flood",
    "edge.limit_unknown",
    "edge.loop",
    "edge.proxy_protocol",
    "edge.stale",
    "edge.too_many_connections",
    "edge.tls",
    "edge.forward_auth_stranger",
    "session.ended",
    "session.unknown",
    "session.not_live",
    "session.token_form",
    "session.token_key",
    "session.token_signature",
    "session.token_claims",
    "session.token_expired",
];

/// How far ahead of this moment a heartbeat may be: a request looks at the clock once, at its start.
const FUTURE_US: i64 = 1_000_000;

type Minting = Shared<BoxFuture<'static, Option<Minted>>>;
type MintingRef = WeakShared<BoxFuture<'static, Option<Minted>>>;

/// Everything that one edge shares.
pub(crate) struct Inner {
    pub(crate) bounds: Bounds,
    pub(crate) trusted: Vec<Net>,
    pub(crate) proxy_protocol: Vec<Net>,
    pub(crate) sign_in_path: String,
    pub(crate) issuer: Issuer,
    pub(crate) forward_auth: Option<ForwardAuth>,
    pub(crate) credentials: Credentials,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) minter: Option<Arc<dyn Minter>>,
    pub(crate) core: axum::Router,
    pub(crate) pages: Option<axum::Router>,
    /// Our name in `Via`, other in each run.
    pub(crate) pseudonym: String,
    pub(crate) via: HeaderValue,
    pub(crate) routes: ArcSwap<Compiled>,
    pub(crate) blocks: ArcSwap<Blocks>,
    pub(crate) limits: Ledger,
    /// Where limits are counted together with other nodes; none: this node counts alone.
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) connections: Connections,
    pub(crate) long_lived: LongLived,
    pub(crate) meters: Meters,
    pub(crate) traced_ppm: u32,
    pub(crate) observations: Arc<Observations>,
    /// Connections and what they carry.
    pub(crate) tasks: TaskTracker,
    /// What runs besides them.
    pub(crate) background: TaskTracker,
    /// No new connections.
    pub(crate) closing: CancellationToken,
    /// The end.
    pub(crate) stop: CancellationToken,
    keys: ArcSwap<Keys>,
    revoked: RwLock<Revocations>,
    tokens: Tokens,
    heard_us: AtomicI64,
    positions: Mutex<HashMap<web::feed::PublisherId, u64>>,
    minting: Mutex<HashMap<[u8; 32], MintingRef>>,
    rules: HashMap<&'static str, Arc<str>>,
    nonce_start: [u8; 8],
    nonces: AtomicU64,
}

/// What [`Inner`] is made of.
pub(crate) struct Parts {
    pub(crate) bounds: Bounds,
    pub(crate) trusted: Vec<Net>,
    pub(crate) proxy_protocol: Vec<Net>,
    pub(crate) sign_in_path: String,
    pub(crate) traced_ppm: u32,
    pub(crate) issuer: Issuer,
    pub(crate) forward_auth: Option<ForwardAuth>,
    pub(crate) credentials: Credentials,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) minter: Option<Arc<dyn Minter>>,
    pub(crate) counter: Option<Arc<dyn Counter>>,
    pub(crate) core: axum::Router,
    pub(crate) pages: Option<axum::Router>,
    pub(crate) observations: Arc<Observations>,
}

impl Inner {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut random = [0u8; 16];
        parts.entropy.fill(&mut random);
        let (nonce_start, name) = halves(random);
        let pseudonym = format!("stagedoor-{:016x}", u64::from_be_bytes(name));
        let via = HeaderValue::from_str(&format!("1.1 {pseudonym}"));
        let bounds = parts.bounds;
        let flaws = Flaw::ALL.iter().map(|flaw| flaw.code());
        let rules = flaws.chain(OBSERVED).map(|code| (code, Arc::from(code))).collect();
        Self {
            via: via.unwrap_or_else(|_| HeaderValue::from_static("1.1 stagedoor")),
            pseudonym,
            routes: ArcSwap::from_pointee(Compiled::default()),
            blocks: ArcSwap::from_pointee(Blocks::default()),
            limits: Ledger::new(bounds.limit_keys_max),
            desk: parts.counter.map(|counter| Arc::new(Desk::new(counter, &bounds))),
            connections: Connections::new(bounds.connections_max, bounds.client_connections_max),
            long_lived: LongLived::new(bounds.long_lived_max),
            meters: Meters::default(),
            traced_ppm: parts.traced_ppm,
            tasks: TaskTracker::new(),
            background: TaskTracker::new(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            keys: ArcSwap::from_pointee(Keys::default()),
            revoked: RwLock::default(),
            tokens: Tokens::new(bounds.tokens_max),
            heard_us: AtomicI64::new(i64::MIN),
            positions: Mutex::default(),
            minting: Mutex::default(),
            rules,
            nonce_start,
            nonces: AtomicU64::new(0),
            bounds,
            trusted: parts.trusted,
            sign_in_path: parts.sign_in_path,
            issuer: parts.issuer,
            forward_auth: parts.forward_auth,
            credentials: parts.credentials,
            proxy_protocol: parts.proxy_protocol,
            clock: parts.clock,
            entropy: parts.entropy,
            minter: parts.minter,
            core: parts.core,
            pages: parts.pages,
            observations: parts.observations,
        }
    }

    /// Whether an address is one of the trusted proxies.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(peer))
    }

    /// Counts something that was seen.
    pub(crate) fn observe(&self, client: IpAddr, code: &'static str, now: Timestamp) {
        if let Some(rule) = self.rules.get(code) {
            self.observations.note(client, rule, now);
        }
    }

    /// Counts a connection that goes no further.
    pub(crate) fn turn_away(&self, peer: IpAddr, code: &'static str) {
        self.meters.refused(code);
        self.observe(peer, code, self.clock.now());
    }

    /// How long the feed has been silent; none where nothing was ever heard.
    pub(crate) fn silence(&self, now: Timestamp) -> Option<Duration> {
        let heard = self.heard_us.load(Ordering::Acquire);
        (heard > i64::MIN).then(|| now.since(Timestamp::from_micros(heard)))
    }

    /// A nonce: a random start for this run, then a counter.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        let count = self.nonces.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut nonce = [0; 16];
        for (to, from) in nonce.iter_mut().zip(self.nonce_start.iter().chain(&count)) {
            *to = *from;
        }
        nonce
    }

    /// Whether the feed has been silent for longer than what is sensitive bears.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.is_silent(STALE_AFTER_S, now)
    }

    /// Whether the feed has been silent for longer than a span.
    pub(crate) fn is_silent(&self, span_s: u64, now: Timestamp) -> bool {
        let heard = self.heard_us.load(Ordering::Acquire);
        let span_us = i64::try_from(span_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let age_us = now.micros().saturating_sub(heard);
        // A word from the future: the clock was set back since, and nobody knows how old it is.
        age_us > span_us || age_us < -FUTURE_US
    }

    /// Whether a position of the feed is folded in.
    pub(crate) fn has(&self, position: Position) -> bool {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.get(&position.publisher).is_some_and(|number| *number >= position.number)
    }

    /// The session of a token, and what the feed says of it.
    pub(crate) fn session(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(Arc<Session>, Standing), TokenFault> {
        let session = self.tokens.session(token, &self.keys.load(), &self.issuer, now)?;
        let standing = self.standing(&session);
        Ok((session, standing))
    }

    /// What the feed says of a session.
    pub(crate) fn standing(&self, session: &Session) -> Standing {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        revoked.standing(session.id, session.account, session.issued)
    }

    /// Asks identity for a new token; who asks for the same session at the same time shares the
    /// answer.
    pub(crate) async fn mint(&self, cookie: String, facts: ClientFacts) -> Option<Minted> {
        let minter = Arc::clone(self.minter.as_ref()?);
        let key = hash(&cookie);
        let minting = {
            let mut all = self.minting.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get(&key).and_then(WeakShared::upgrade) {
                Some(minting) => minting,
                None => {
                    if all.len() >= self.bounds.mints_max {
                        all.retain(|_, minting| minting.upgrade().is_some());
                    }
                    if all.len() >= self.bounds.mints_max {
                        return None;
                    }
                    let asked = async move { minter.mint(&cookie, &facts).await };
                    let minting: Minting = asked.boxed().shared();
                    if let Some(weak) = minting.downgrade() {
                        all.insert(key, weak);
                    }
                    minting
                }
            }
        };
        let minted = minting.await;
        self.minting.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        minted
    }

    /// Follows the feed until the edge stops.
    pub(crate) async fn follow(self: Arc<Self>, mut feed: Subscription) {
        loop {
            let update = tokio::select! {
                () = self.stop.cancelled() => return,
                update = feed.next() => update,
            };
            match update {
                Some(update) => self.take(update),
                None => return,
            }
        }
    }

    /// Folds one update in.
    pub(crate) fn take(&self, update: Update) {
        let now = self.clock.now();
        match update {
            Update::Snapshot(snapshot) => {
                self.meters.loads.inc();
                self.load(*snapshot, now);
            }
            // Only a heartbeat says that the source lives: a change may come from another node
            // while ours is cut off.
            Update::Delta(message) => {
                if let Some(delta) = &message.delta {
                    self.meters.deltas.inc();
                    self.apply(delta, now);
                }
                let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
                positions.insert(message.position.publisher, message.position.number);
            }
            Update::Heartbeat(message) => {
                self.hear(message.at, now);
                self.forget(now);
            }
        }
    }

    fn hear(&self, at: Timestamp, now: Timestamp) {
        let later = |known: i64| {
            let known_still = known <= now.micros().saturating_add(FUTURE_US);
            Some(if known_still { known.max(at.micros()) } else { at.micros() })
        };
        let _ = self.heard_us.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    fn forget(&self, now: Timestamp) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).prune(now);
        if self.blocks.load().iter().any(|(_, block)| block.until <= now) {
            self.change_blocks(|blocks| blocks.prune(now));
        }
    }

    fn load(&self, snapshot: Snapshot, now: Timestamp) {
        let Snapshot { positions, revocations, blocks, routes, keys } = snapshot;
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = revocations;
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        self.blocks.store(Arc::new(blocks));
        self.set_keys(&keys);
        self.set_routes(&routes);
        // A stream that was opened before a gap may belong to a session that ended in it.
        self.long_lived.close(|owner| {
            let ended = owner.session.is_some_and(|(session, account)| {
                let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
                revoked.standing(session, account, now) == Standing::Ended
            });
            ended || self.blocks.load().of(owner.client, now).is_some()
        });
    }

    fn apply(&self, delta: &Delta, now: Timestamp) {
        match delta {
            Delta::SessionEnded { session, until } => {
                let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
                revoked.end_session(*session, *until, now);
                drop(revoked);
                self.long_lived.close_session(*session);
            }
            Delta::AccountSessionsEnded { account, before, until } => {
                let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
                revoked.end_account(*account, *before, *until, now);
                drop(revoked);
                self.long_lived.close_account(*account, *before);
            }
            Delta::ClientBlocked { net, until, reason } => {
                let block = Block { until: *until, reason: reason.clone() };
                self.change_blocks(|blocks| blocks.add(*net, block));
                self.long_lived.close_net(*net);
                self.connections.kill_net(*net);
            }
            Delta::ClientUnblocked { net } => self.change_blocks(|blocks| blocks.remove(*net)),
            // As in the hub: an older table comes from a node that spoke late.
            Delta::Routes(routes) if routes.revision < self.routes.load().revision => {}
            Delta::Routes(routes) => self.set_routes(routes),
            Delta::SigningKeys(keys) => self.set_keys(keys),
        }
    }

    fn change_blocks(&self, change: impl FnOnce(&mut Blocks)) {
        let mut blocks = Blocks::clone(&self.blocks.load());
        change(&mut blocks);
        self.blocks.store(Arc::new(blocks));
    }

    fn set_keys(&self, keys: &Jwks) {
        self.keys.store(Arc::new(Keys::new(keys)));
        // A key that is gone takes the tokens that it verified with it.
        self.tokens.clear();
    }

    /// Puts a route table in force; one with problems is not, and the old one stays.
    fn set_routes(&self, table: &RouteTable) {
        let problems = table.problems();
        if let Some(first) = problems.first() {
            tracing::error!(problems = problems.len(), %first, "route table not put in force");
            return;
        }
        let before = self.routes.load();
        let compiled =
            Compiled::new(table, &before, &self.credentials, (&self.limits, &self.meters));
        self.routes.store(Arc::new(compiled));
    }

    /// Closes idle connections to upstreams, each second, until the edge stops.
    pub(crate) async fn sweep(self: Arc<Self>) {
        let mut each = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = each.tick() => {}
            }
            for upstream in self.routes.load().upstreams.values() {
                upstream.sweep();
            }
        }
    }
}

fn halves(bytes: [u8; 16]) -> ([u8; 8], [u8; 8]) {
    let (mut first, mut second) = ([0; 8], [0; 8]);
    for (to, from) in first.iter_mut().zip(bytes.iter()) {
        *to = *from;
    }
    for (to, from) in second.iter_mut().zip(bytes.iter().skip(8)) {
        *to = *from;
    }
    (first, second)
}
