//! A scene: a world with this room in it, in which clients sign in, fail, and are answered.

use std::net::IpAddr;

use kernel::{AccountId, Actor, Ctx, Origin, SessionId};
use spine::{About, ActionKind, EventFilter, Recorded, ResponseRequested, Spine, Subject};
use testkit::World;
use watch::{Alert, Answer, RuleConfig, Watch, WatchConfig};

spine::events! {
    room = "identity";
    /// As identity tells it.
    LoginFailed = "login_failed" {
        plain { reason: String, client: String } sealed { email: String }
        retain_days = 365, ocsf = 3002
    }
    /// As identity tells it.
    LoginSucceeded = "login_succeeded" {
        plain { client: String, kind: String } sealed { session: SessionId }
        retain_days = 730, ocsf = 3002
    }
    /// As identity tells it.
    PasswordRefused = "password_refused" {
        plain { client: String } sealed { session: SessionId } retain_days = 365, ocsf = 3002
    }
    /// As identity tells it.
    PasswordConfirmed = "password_confirmed" {
        plain { client: String } sealed { session: SessionId, before: SessionId }
        retain_days = 730, ocsf = 3002
    }
    /// As identity tells it.
    SecondFactorRefused = "second_factor_refused" {
        plain { method: String } sealed { } retain_days = 365, ocsf = 3002
    }
    /// As identity tells it.
    RefreshReused = "refresh_reused" {
        plain { behind: i64 } sealed { session: SessionId } retain_days = 2555, ocsf = 3002
    }
    /// As identity tells it.
    AccountErased = "account_erased" {
        plain { kind: String, ended: u64 } sealed { } retain_days = 2555, ocsf = 3001
    }
}

pub(crate) const ROOMS: &[spine::Room] = &[watch::ROOM];

/// Rules act at once.
pub(crate) fn acting() -> WatchConfig {
    WatchConfig { dry_run_days: 0, ..WatchConfig::default() }
}

/// Rules act at once, one of them with other numbers.
pub(crate) fn acting_with(rule: &str, set: RuleConfig) -> WatchConfig {
    let mut config = acting();
    config.rules.insert(rule.to_owned(), set);
    config
}

/// Whose password is tried.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    Known(AccountId),
    Nobody(&'a str),
}

pub(crate) fn open(world: &World, config: WatchConfig) -> Watch {
    Watch::open(world.spine.clone(), world.vault.clone(), config).unwrap()
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Tells an event from an address.
pub(crate) async fn tell<E: spine::Event>(world: &World, from: &str, about: About, event: E) {
    let ctx = from_address(world, from);
    world.vault.resolve(&[about.subject]).await.unwrap();
    let mut tx = world.spine.begin(&ctx).await.unwrap();
    tx.emit(about, event).unwrap();
    tx.commit().await.unwrap();
}

fn about(world: &World, who: Who<'_>) -> About {
    match who {
        Who::Known(account) => About::account(account, 0),
        Who::Nobody(_) => About::unknown(world.now(), "account", [0; 16]),
    }
}

pub(crate) async fn fail(world: &World, from: &str, who: Who<'_>) {
    fail_at(world, from, who, "browser").await;
}

pub(crate) async fn fail_at(world: &World, from: &str, who: Who<'_>, client: &str) {
    let email = match who {
        Who::Known(account) => format!("{account}@shop.test"),
        Who::Nobody(email) => email.to_owned(),
    };
    let reason = "wrong_password".to_owned();
    let event = LoginFailed { reason, client: client.to_owned(), email };
    tell(world, from, about(world, who), event).await;
}

/// A wrong password inside a session of the account.
pub(crate) async fn refuse(world: &World, from: &str, account: AccountId, client: &str) {
    let session = SessionId::from_bytes([3; 16]);
    let about = About::thing_of(account, "session", *session.as_bytes(), 0);
    tell(world, from, about, PasswordRefused { client: client.to_owned(), session }).await;
}

/// The right one inside a session of the account.
pub(crate) async fn confirm(world: &World, from: &str, account: AccountId) {
    let (session, before) = (SessionId::from_bytes([4; 16]), SessionId::from_bytes([3; 16]));
    let about = About::thing_of(account, "session", *session.as_bytes(), 1);
    let event = PasswordConfirmed { client: "browser".to_owned(), session, before };
    tell(world, from, about, event).await;
}

pub(crate) async fn succeed(world: &World, from: &str, account: AccountId) {
    let session = SessionId::generate(world.now(), world.entropy.as_ref());
    let event =
        LoginSucceeded { client: "browser".to_owned(), kind: "customer".to_owned(), session };
    let about = About::thing_of(account, "session", *session.as_bytes(), 1);
    tell(world, from, about, event).await;
}

/// `count` accounts that nobody has are tried from one address, all at once.
pub(crate) async fn spray(world: &World, from: &str, count: usize) {
    let ctx = from_address(world, from);
    let about = About::unknown(world.now(), "account", [0; 16]);
    world.vault.resolve(&[about.subject]).await.unwrap();
    let mut tx = world.spine.begin(&ctx).await.unwrap();
    for number in 0..count {
        let email = format!("{number}@{from}.test");
        let reason = "unknown_address".to_owned();
        tx.emit(about, LoginFailed { reason, client: "browser".to_owned(), email }).unwrap();
    }
    tx.commit().await.unwrap();
}

/// Circumstances of a stranger at an address, a little later than the last one.
fn from_address(world: &World, from: &str) -> Ctx {
    // within a millisecond the log's order is chance
    world.advance(std::time::Duration::from_millis(10));
    let origin = Origin { address: Some(address(from)), agent: None, fingerprint: None };
    world.ctx(Actor::Nobody).from_origin(origin)
}

/// Lets the room see all that happened.
pub(crate) async fn deliver(world: &World, watch: &Watch) {
    deliver_on(&world.spine, watch).await;
}

pub(crate) async fn deliver_on(spine: &Spine, watch: &Watch) {
    spine.sequence().await.unwrap();
    spine.consume(watch).await.unwrap();
    spine.sequence().await.unwrap();
}

pub(crate) async fn alerts(watch: &Watch) -> Vec<Alert> {
    watch.alerts(None, None, 200).await.unwrap()
}

pub(crate) async fn alerts_of(watch: &Watch, rule: &str) -> Vec<Alert> {
    alerts(watch).await.into_iter().filter(|alert| alert.rule == rule).collect()
}

pub(crate) async fn answers(watch: &Watch) -> Vec<Answer> {
    watch.answers(None, None, 200).await.unwrap()
}

/// What the owner rooms read, oldest first.
pub(crate) async fn requested(world: &World) -> Vec<ResponseRequested> {
    let kind = Some("watch.response_requested".to_owned());
    let filter = EventFilter { kind, limit: 200, ..EventFilter::default() };
    let mut events = world.spine.events(&filter).await.unwrap();
    events.reverse();
    events.iter().filter_map(Recorded::parse).collect()
}

/// What was asked for in earnest.
pub(crate) async fn asked(world: &World) -> Vec<(ActionKind, Option<AccountId>, Option<IpAddr>)> {
    let all = requested(world).await.into_iter().filter(|asked| !asked.dry_run);
    all.map(|asked| (asked.action, asked.account, asked.address)).collect()
}

/// How many events of a kind there are.
pub(crate) async fn events(world: &World, kind: &str) -> usize {
    let filter = EventFilter { kind: Some(kind.to_owned()), limit: 200, ..EventFilter::default() };
    world.spine.events(&filter).await.unwrap().len()
}

/// A person is erased, as identity and privacy do it.
pub(crate) async fn erase(world: &World, account: AccountId) {
    let event = AccountErased { kind: "customer".to_owned(), ended: 0 };
    tell(world, "192.0.2.1", About::account(account, 1), event).await;
    world.spine.sequence().await.unwrap();
    world.vault.shred(Subject::Account(account)).await.unwrap();
    world.spine.cut_subject(account).await.unwrap();
}
