//! Blocked clients: who may never be blocked (policy), and the verbs that block, lift, end, list
//! and load blocks. The network is personal: it stands sealed under the key of its day, and is
//! found by a keyed digest.

use std::net::IpAddr;
use std::sync::PoisonError;

use kernel::{Actor, Ctx, Timestamp};
use serde::Serialize;
use spine::{About, FromRow, Row, SealError, StoreError, Subject, Tx, args, sql, transact};
use utoipa::ToSchema;
use vault::Place;
use web::feed::{BLOCKED_MAX, Delta, Net};

use crate::error::Error;
use crate::events::{BlockSource, BlocksExpired, ClientBlocked, ClientUnblocked};
use crate::room::Access;

kernel::id! {
    /// A block of a client.
    pub BlockId = "blk";
}

const TABLE: &str = "access_block";
/// The longest reason, bytes.
const REASON_BYTES: usize = 500;
/// The widest networks that may be blocked: 65,536 IPv4 addresses, one IPv6 allocation.
const WIDEST: (u8, u8) = (16, 32);
/// How long an ended block is kept, s.
const KEEP_S: u64 = 30 * 86_400;
/// Networks whose latest published change is remembered; they matter for a moment only.
const LATEST_MAX: usize = 10_000;
/// Blocks that one transaction ends or deletes.
const CHUNK: i64 = 200;

sql! {
    read ACTIVE_OF = "SELECT id, version, until_at FROM access_block \
        WHERE net_index = $1 AND state = 'active'";
    read BY_ID = "SELECT id, day, net_sealed, reason_sealed, rule, source, state, created_at, \
        until_at, ended_at FROM access_block WHERE id = $1";
    read PAGE = "SELECT id, day, net_sealed, reason_sealed, rule, source, state, created_at, \
        until_at, ended_at FROM access_block WHERE id < $1 \
        AND (CAST($2 AS BIGINT) = 0 OR state = 'active') ORDER BY id DESC LIMIT $3";
    read STANDING = "SELECT id, day, net_sealed, reason_sealed, rule, source, state, created_at, \
        until_at, ended_at FROM access_block WHERE id > $1 AND state = 'active' AND until_at > $2 \
        ORDER BY id LIMIT 1000";
    fact BLOCK in access_block = "INSERT INTO access_block (id, version, day, net_index, \
        net_sealed, reason_sealed, rule, source, state, created_at, until_at, ended_at) \
        VALUES ($1, 1, $2, $3, $4, $5, $6, $7, 'active', $8, $9, NULL) \
        ON CONFLICT (net_index) WHERE state = 'active' DO NOTHING RETURNING id";
    fact EXTEND in access_block = "UPDATE access_block SET day = $2, net_sealed = $3, \
        reason_sealed = $4, rule = $5, source = $6, until_at = $7, version = version + 1 \
        WHERE id = $1 AND version = $8 AND state = 'active' RETURNING id";
    fact LIFT in access_block = "UPDATE access_block SET state = 'lifted', ended_at = $2, \
        version = version + 1 WHERE net_index = $1 AND state = 'active' RETURNING id, version";
    fact EXPIRE in access_block = "UPDATE access_block SET state = 'expired', ended_at = $1, \
        version = version + 1 WHERE id IN (SELECT id FROM access_block WHERE state = 'active' \
        AND until_at <= $1 ORDER BY until_at LIMIT $2) AND state = 'active' RETURNING id";
    fact SWEEP in access_block = "DELETE FROM access_block WHERE id IN (SELECT id FROM \
        access_block WHERE ended_at < $1 ORDER BY ended_at LIMIT $2) RETURNING id";
}

/// What is asked for: a network is refused for a while.
#[derive(Clone, Debug)]
pub struct Block {
    /// The network.
    pub net: Net,
    /// Its end; the configured default where none, the configured longest where it is later.
    pub until: Option<Timestamp>,
    /// Why, for other operators; at most 500 bytes. May name persons: it is stored sealed.
    pub reason: String,
    /// The rule that asks, or `operator`.
    pub rule: String,
    /// Who asks.
    pub source: BlockSource,
}

/// What a block became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The block.
    pub id: BlockId,
    /// Its end.
    pub until: Timestamp,
    /// Whether a block of the same network stood already.
    pub extended: bool,
}

/// A block, for the operators' list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BlockEntry {
    /// The block.
    pub id: BlockId,
    /// The network; none once the key of its day was destroyed.
    #[schema(value_type = Option<String>)]
    pub net: Option<Net>,
    /// Why; none once the key of its day was destroyed.
    pub reason: Option<String>,
    /// The rule that asked, or `operator`.
    pub rule: String,
    /// Who asked.
    pub source: BlockSource,
    /// `active`, `lifted` or `expired`.
    pub state: String,
    /// Since when, in microseconds since 1970.
    pub created_at: Timestamp,
    /// Its end, in microseconds since 1970.
    pub until_at: Timestamp,
    /// When it ended, in microseconds since 1970.
    pub ended_at: Option<Timestamp>,
}

/// Whether two networks share an address.
fn overlaps(a: Net, b: Net) -> bool {
    a.contains(b.address()) || b.contains(a.address())
}

/// Loopback, link-local and the unspecified address: the host itself and its neighbours.
fn own_nets() -> [Net; 5] {
    let v6 = |text: [u16; 8]| IpAddr::from(text);
    [
        Net::new(IpAddr::from([127, 0, 0, 0]), 8),
        Net::new(IpAddr::from([169, 254, 0, 0]), 16),
        Net::new(IpAddr::from([0, 0, 0, 0]), 8),
        Net::new(v6([0, 0, 0, 0, 0, 0, 0, 0]), 127),
        Net::new(v6([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10),
    ]
}

/// What forbids that `net` is blocked, in words that name no address.
fn protection(net: Net, proxies: &[Net], never: &[Net]) -> Option<&'static str> {
    let least = if net.address().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
    if net.prefix() < least {
        return Some("more than a /16 of IPv4 or a /32 of IPv6");
    }
    let meets = |nets: &[Net]| nets.iter().any(|other| overlaps(net, *other));
    if meets(&own_nets()) {
        return Some("this host or its link");
    }
    if meets(proxies) {
        return Some("a trusted proxy");
    }
    meets(never).then_some("a network of access.block.never")
}

struct Active {
    id: [u8; 16],
    version: i64,
    until: Timestamp,
}

impl FromRow for Active {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { id: row.id16("id")?, version: row.int("version")?, until: row.time("until_at")? })
    }
}

struct Stored {
    id: BlockId,
    day: i64,
    net: Vec<u8>,
    reason: Vec<u8>,
    entry: BlockEntry,
}

impl FromRow for Stored {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let id = BlockId::from_bytes(row.id16("id")?);
        let source = BlockSource::parse(&row.text("source")?);
        Ok(Self {
            id,
            day: row.int("day")?,
            net: row.bytes("net_sealed")?,
            reason: row.bytes("reason_sealed")?,
            entry: BlockEntry {
                id,
                net: None,
                reason: None,
                rule: row.text("rule")?,
                source: source.ok_or(StoreError::Column { column: "source" })?,
                state: row.text("state")?,
                created_at: row.time("created_at")?,
                until_at: row.time("until_at")?,
                ended_at: row.opt_time("ended_at")?,
            },
        })
    }
}

const fn place(id: [u8; 16], column: &'static str) -> Place<'static> {
    Place { table: TABLE, column, row: id }
}

impl Access {
    /// Why this network is never blocked, if so.
    #[must_use]
    pub fn protects(&self, net: Net) -> Option<&'static str> {
        let parts = self.parts();
        protection(net, &parts.proxies, &parts.config.block.never)
    }

    fn net_index(&self, net: Net) -> [u8; 32] {
        self.vault().blind("access_block.net", net.to_string().as_bytes())
    }

    /// Blocks a network, or moves the end of the block that stands. An operator's word sets the
    /// end; a rule's never makes a block shorter.
    ///
    /// # Errors
    /// [`Error::Protected`], [`Error::OwnAddress`], [`Error::Fields`] for a reason that is too
    /// long or an end that has passed; [`Error::Raced`]; the store's and the vault's.
    pub async fn block(&self, ctx: &Ctx, block: &Block) -> Result<Blocked, Error> {
        if let Some(what) = self.protects(block.net) {
            return Err(Error::Protected(what));
        }
        let own = ctx.origin.address.is_some_and(|address| block.net.contains(address));
        if own && matches!(ctx.actor, Actor::Operator { .. }) {
            return Err(Error::OwnAddress);
        }
        if block.reason.len() > REASON_BYTES {
            return Err(Error::field("reason", "must be at most 500 bytes"));
        }
        if block.until.is_some_and(|until| until <= ctx.now) {
            return Err(Error::field("for_s", "must be at least 1"));
        }
        self.vault().resolve(&[Subject::Day(ctx.now.day())]).await?;
        for _ in 0..kernel::Limits::TX_TRIES {
            let done = transact!(self.spine(), ctx, tx => {
                self.block_in(&mut tx, block).await
            })?;
            if let Some(blocked) = done {
                return Ok(blocked);
            }
        }
        Err(Error::Raced)
    }

    /// Blocks inside a transaction; the day's key is resolved. None where another was faster.
    pub(crate) async fn block_in(
        &self,
        tx: &mut Tx,
        block: &Block,
    ) -> Result<Option<Blocked>, Error> {
        let now = tx.ctx().now;
        let config = &self.config().block;
        let end = block.until.unwrap_or_else(|| now.plus(config.default_span()));
        let end = end.min(now.plus(config.longest()));
        let index = self.net_index(block.net);
        let active: Option<Active> = tx.maybe(&ACTIVE_OF, args![index]).await?;
        let (id, version, until) = match &active {
            None => (*BlockId::generate(now, tx.ctx().entropy()).as_bytes(), 1, end),
            Some(active) => {
                let until = match block.source {
                    BlockSource::Operator => end,
                    BlockSource::Rule => end.max(active.until),
                };
                (active.id, active.version + 1, until)
            }
        };
        let day = now.day();
        let net = self.seal_text(tx, place(id, "net_sealed"), &block.net.to_string())?;
        let reason = self.seal_text(tx, place(id, "reason_sealed"), &block.reason)?;
        let (rule, source) = (&block.rule, block.source.as_str());
        let row = match &active {
            None => {
                tx.change_one(&BLOCK, args![id, day, index, net, reason, rule, source, now, until])
                    .await?
            }
            Some(active) => {
                let args = args![id, day, net, reason, rule, source, until, active.version];
                tx.change_one(&EXTEND, args).await?
            }
        };
        if row.is_none() {
            return Ok(None);
        }
        let blocked = Blocked { id: BlockId::from_bytes(id), until, extended: active.is_some() };
        self.tell_block(tx, block, blocked, version)?;
        Ok(Some(blocked))
    }

    /// Tells a block, and publishes it once it is committed.
    fn tell_block(
        &self,
        tx: &mut Tx,
        block: &Block,
        blocked: Blocked,
        version: i64,
    ) -> Result<(), Error> {
        let (now, net, until) = (tx.ctx().now, block.net, blocked.until);
        let event = ClientBlocked {
            rule: block.rule.clone(),
            source: block.source,
            extended: blocked.extended,
            lasts_s: until.since(now).as_secs(),
            net: net.to_string(),
            reason: block.reason.clone(),
            until,
        };
        let about = About::unknown(now, "block", *blocked.id.as_bytes());
        tx.emit(About { version, ..about }, event)?;
        let (room, reason) = (self.clone(), format!("{}: {}", block.rule, block.reason));
        let place = (*blocked.id.as_bytes(), version);
        tx.after_commit(move || {
            room.publish_block(net, place, Delta::ClientBlocked { net, until, reason });
        });
        Ok(())
    }

    /// Publishes a change of a block unless a later one of the same block was published already:
    /// commits may call out of their order. Another block of the network always speaks: ids follow
    /// the clock, which may be set back.
    fn publish_block(&self, net: Net, place: ([u8; 16], i64), delta: Delta) {
        let mut latest = self.latest_blocks().lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= LATEST_MAX {
            latest.clear();
        }
        if latest.get(&net).is_none_or(|known| known.0 != place.0 || known.1 < place.1) {
            latest.insert(net, place);
            self.publisher().publish(delta);
        }
    }

    /// Seals a text under the key of the transaction's day.
    fn seal_text(&self, tx: &Tx, place: Place<'_>, text: &str) -> Result<Vec<u8>, Error> {
        let (day, entropy) = (Subject::Day(tx.ctx().now.day()), tx.ctx().entropy());
        Ok(self.vault().seal(day, place, text.as_bytes(), entropy)?)
    }

    /// Lets a network in again. False where no block of it stands.
    ///
    /// # Errors
    /// The store's and the vault's.
    pub async fn unblock(&self, ctx: &Ctx, net: Net) -> Result<bool, Error> {
        self.vault().resolve(&[Subject::Day(ctx.now.day())]).await?;
        let index = self.net_index(net);
        let mut read = self.spine().read().await?;
        if read.maybe::<Active>(&ACTIVE_OF, args![index]).await?.is_none() {
            return Ok(false);
        }
        drop(read);
        transact!(self.spine(), ctx, tx => { self.unblock_in(&mut tx, net).await })
    }

    /// Lifts the block of a network inside a transaction; the day's key is resolved.
    pub(crate) async fn unblock_in(&self, tx: &mut Tx, net: Net) -> Result<bool, Error> {
        let now = tx.ctx().now;
        let Some(row) = tx.change_one(&LIFT, args![self.net_index(net), now]).await? else {
            return Ok(false);
        };
        let id = row.id16("id").map_err(spine::Error::from)?;
        let version = row.int("version").map_err(spine::Error::from)?;
        let about = About { version, ..About::unknown(now, "block", id) };
        tx.emit(about, ClientUnblocked { net: net.to_string() })?;
        let room = self.clone();
        tx.after_commit(move || {
            room.publish_block(net, (id, version), Delta::ClientUnblocked { net });
        });
        Ok(true)
    }

    /// Lets the network of a block in again.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such block, or it has ended.
    pub async fn unblock_by_id(&self, ctx: &Ctx, id: BlockId) -> Result<(), Error> {
        let mut read = self.spine().read().await?;
        let row: Option<Stored> = read.maybe(&BY_ID, args![id.as_bytes()]).await?;
        drop(read);
        let entry = self.open_blocks(row.into_iter().collect()).await?.pop();
        let net = entry.and_then(|entry| entry.net).ok_or(Error::NotFound)?;
        if self.unblock(ctx, net).await? { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Ends blocks whose time is over, and deletes those that ended 30 days ago: at most 200 of
    /// each at once. The edges have forgotten them by themselves.
    ///
    /// # Errors
    /// The store's.
    pub async fn expire_blocks(&self, ctx: &Ctx) -> Result<u64, Error> {
        let old = ctx.now.minus(std::time::Duration::from_secs(KEEP_S));
        let mut total = 0;
        for _ in 0..50 {
            let (expired, deleted) = transact!(self.spine(), ctx, tx => {
                let expired = tx.change(&EXPIRE, args![ctx.now, CHUNK]).await?.len();
                let deleted = tx.change(&SWEEP, args![old, CHUNK]).await?.len();
                let count = |rows: usize| u64::try_from(rows).unwrap_or(0);
                let (expired, deleted) = (count(expired), count(deleted));
                if expired + deleted > 0 {
                    let event = BlocksExpired { expired, deleted };
                    tx.emit(About::house("block", [0; 16], 0), event)?;
                }
                Ok::<_, Error>((expired, deleted))
            })?;
            total += expired;
            if expired.max(deleted) < u64::try_from(CHUNK).unwrap_or(0) {
                break;
            }
        }
        Ok(total)
    }

    /// Blocks, newest first, below an id; the active ones only, where asked.
    ///
    /// # Errors
    /// The store's and the vault's.
    pub async fn blocks(
        &self,
        before: Option<BlockId>,
        only_active: bool,
        limit: i64,
    ) -> Result<Vec<BlockEntry>, Error> {
        let before = before.map_or([0xff; 16], |id| *id.as_bytes());
        let limit = limit.clamp(1, kernel::Limits::PAGE_ROWS + 1);
        let mut read = self.spine().read().await?;
        let rows = read.all(&PAGE, args![before, only_active, limit]).await?;
        drop(read);
        self.open_blocks(rows).await
    }

    /// Every block that stands, as deltas for a cold edge.
    pub(crate) async fn standing_blocks(&self) -> Result<Vec<Delta>, Error> {
        let now = self.own_ctx().now;
        let (mut after, mut standing) = ([0; 16], Vec::new());
        while standing.len() < BLOCKED_MAX {
            let mut read = self.spine().read().await?;
            let rows: Vec<Stored> = read.all(&STANDING, args![after, now]).await?;
            drop(read);
            let Some(last) = rows.last() else { break };
            after = *last.id.as_bytes();
            for entry in self.open_blocks(rows).await? {
                if let Some(net) = entry.net {
                    let reason = format!("{}: {}", entry.rule, entry.reason.unwrap_or_default());
                    standing.push(Delta::ClientBlocked { net, until: entry.until_at, reason });
                }
            }
        }
        Ok(standing)
    }

    async fn open_blocks(&self, rows: Vec<Stored>) -> Result<Vec<BlockEntry>, Error> {
        let mut days: Vec<Subject> = rows.iter().map(|row| Subject::Day(row.day)).collect();
        days.sort_unstable();
        days.dedup();
        self.vault().resolve(&days).await?;
        rows.into_iter()
            .map(|row| {
                let mut entry = row.entry;
                let open = |column, sealed: &[u8]| {
                    self.open_text(Subject::Day(row.day), place(*row.id.as_bytes(), column), sealed)
                };
                entry.net = match open("net_sealed", &row.net)? {
                    Some(text) => {
                        Some(text.parse().map_err(|_| Error::Broken("a sealed network"))?)
                    }
                    None => None,
                };
                entry.reason = open("reason_sealed", &row.reason)?;
                Ok(entry)
            })
            .collect()
    }

    /// Opens a text; none where its key was destroyed.
    pub(crate) fn open_text(
        &self,
        subject: Subject,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Option<String>, Error> {
        match self.vault().open_sealed(subject, place, sealed) {
            Ok(bytes) => String::from_utf8(bytes.expose().clone())
                .map(Some)
                .map_err(|_| Error::Broken("a sealed text is no text")),
            Err(vault::Error::Erased) => Ok(None),
            Err(other) => Err(SealError::from(other).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        text.parse().expect("a network")
    }

    // A5
    #[test]
    fn the_host_its_proxies_and_the_list_are_never_blocked() {
        let (proxies, never) = ([net("10.0.0.1")], [net("198.51.100.0/24"), net("2001:db8::/48")]);
        let cases = [
            ("192.0.2.7/32", None),
            ("2001:db8:1::/64", None),
            ("127.0.0.1", Some("this host or its link")),
            ("::1", Some("this host or its link")),
            ("::ffff:127.0.0.9", Some("this host or its link")),
            ("169.254.1.1", Some("this host or its link")),
            ("10.0.0.0/24", Some("a trusted proxy")),
            ("198.51.100.9", Some("a network of access.block.never")),
            ("2001:db8::/40", Some("a network of access.block.never")),
            ("0.0.0.0/0", Some("more than a /16 of IPv4 or a /32 of IPv6")),
            ("192.0.0.0/15", Some("more than a /16 of IPv4 or a /32 of IPv6")),
            ("2001::/16", Some("more than a /16 of IPv4 or a /32 of IPv6")),
        ];
        for (text, expected) in cases {
            assert_eq!(protection(net(text), &proxies, &never), expected, "{text}");
        }
    }
}
