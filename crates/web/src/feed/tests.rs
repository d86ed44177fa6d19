//! The feed's promises: nothing lost, nothing twice, and a revocation is never forgotten early.

use std::sync::atomic::{AtomicI64, Ordering};

use kernel::SystemEntropy;
use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct At(AtomicI64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

fn session(second: i64) -> SessionId {
    SessionId::generate(Timestamp::from_seconds(second), &SystemEntropy)
}

fn ended(second: i64) -> Delta {
    Delta::SessionEnded { session: session(second), until: Timestamp::from_seconds(second + 300) }
}

#[tokio::test]
async fn a_snapshot_then_every_delta_once() {
    let hub = Hub::new(Arc::new(At(AtomicI64::new(1_000))), Snapshot::default());
    let publisher = hub.publisher(PublisherId(7));
    publisher.publish(ended(900));
    let mut subscription = hub.subscribe();
    publisher.publish(ended(901));
    let Some(Update::Snapshot(first)) = subscription.next().await else { panic!("snapshot") };
    assert_eq!(first.revocations.len(), 2);
    let position = publisher.publish(ended(902));
    publisher.beat();
    let Some(Update::Delta(message)) = subscription.next().await else { panic!("delta") };
    assert_eq!(message.position, position);
    assert!(hub.has(position));
    assert!(matches!(subscription.next().await, Some(Update::Heartbeat(_))));
    assert_eq!(position.to_string().parse(), Ok(position));
}

#[tokio::test]
async fn a_gap_is_answered_with_a_snapshot() {
    let hub = Hub::new(Arc::new(At(AtomicI64::new(1_000))), Snapshot::default());
    let publisher = hub.publisher(PublisherId(7));
    let mut subscription = hub.subscribe();
    assert!(matches!(subscription.next().await, Some(Update::Snapshot(_))));
    for _ in 0..=QUEUE {
        publisher.publish(ended(900));
    }
    let Some(Update::Snapshot(again)) = subscription.next().await else { panic!("snapshot") };
    assert_eq!(again.revocations.len(), QUEUE + 1);
    let late = hub.publisher(PublisherId(8));
    late.publish(ended(903));
    assert!(matches!(subscription.next().await, Some(Update::Snapshot(_))));
}

#[test]
fn an_account_ended_spares_the_session_that_begins_later() {
    let mut revocations = Revocations::default();
    let account = AccountId::generate(Timestamp::from_seconds(1), &SystemEntropy);
    let at = Timestamp::from_seconds(1_000);
    revocations.end_account(account, at, Timestamp::from_seconds(1_300));
    assert_eq!(revocations.standing(session(999), account, at), Standing::Ended);
    assert_eq!(revocations.standing(session(1_001), account, at), Standing::Live);
    revocations.prune(Timestamp::from_seconds(1_301));
    assert!(revocations.is_empty());
}

#[test]
fn what_does_not_fit_raises_the_floor() {
    let mut revocations = Revocations::default();
    let now = Timestamp::from_seconds(1_000);
    for number in 0..=ENDED_MAX as u128 {
        let session = SessionId::from_bytes(number.to_be_bytes());
        revocations.end_session(session, Timestamp::from_seconds(2_000), now);
    }
    let account = AccountId::from_bytes([1; 16]);
    let first = SessionId::from_bytes([0; 16]);
    assert_eq!(revocations.standing(first, account, now), Standing::Unknown);
    let later = Timestamp::from_seconds(1_001);
    assert_eq!(revocations.standing(first, account, later), Standing::Live);
}

#[test]
fn blocks_cover_their_network_until_their_end() {
    let mut blocks = Blocks::default();
    let until = Timestamp::from_seconds(10);
    blocks.add("192.0.2.0/24".parse().unwrap(), Block { until, reason: "spray".to_owned() });
    blocks.add("2001:db8::/64".parse().unwrap(), Block { until, reason: "spray".to_owned() });
    let now = Timestamp::from_seconds(9);
    for inside in ["192.0.2.9", "::ffff:192.0.2.9", "2001:db8::1:2"] {
        assert!(blocks.of(inside.parse().unwrap(), now).is_some(), "{inside}");
    }
    assert!(blocks.of("192.0.3.1".parse().unwrap(), now).is_none());
    assert!(blocks.of("192.0.2.9".parse().unwrap(), until).is_none());
}

#[test]
fn a_flood_is_a_count() {
    let observations = Observations::new(2);
    let rule: Arc<str> = Arc::from("limit.login");
    let now = Timestamp::from_seconds(5);
    for _ in 0..1_000 {
        observations.note(IpAddr::from([192, 0, 2, 1]), &rule, now);
    }
    observations.note(IpAddr::from([192, 0, 2, 2]), &rule, now);
    observations.note(IpAddr::from([192, 0, 2, 3]), &rule, now);
    let taken = observations.take();
    assert_eq!(taken.seen.iter().map(|seen| seen.count).sum::<u64>(), 1_001);
    assert_eq!(taken.dropped, 1);
    assert_eq!(observations.take(), Observed::default());
}

#[test]
fn a_wrong_table_is_told_by_key() {
    let text = r#"{"upstreams":[{"name":"shop","address":"https://x/"}],"routes":[
        {"name":"all","path":{"prefix":"/a/"},"upstream":"shup","access":"open",
         "limits":[{"name":"l","per":"client","requests":0,"window_s":1}]}]}"#;
    let table: RouteTable = serde_json::from_str(text).unwrap();
    let keys: Vec<String> = table.problems().into_iter().map(|problem| problem.key).collect();
    let wanted = [
        "upstreams[0].address",
        "routes[0].upstream",
        "routes[0].path",
        "routes[0].limits[0].requests",
        "routes[0].limits[0].cost",
    ];
    assert_eq!(keys, wanted);
    assert!(serde_json::from_str::<RouteTable>(r#"{"rutes":[]}"#).is_err());
}

proptest! {
    #[test]
    fn a_network_holds_its_members(bits in any::<u128>(), prefix in 0u8..=128, low in any::<u128>()) {
        let net = Net::new(IpAddr::V6(Ipv6Addr::from(bits)), prefix);
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
        let member = Ipv6Addr::from((bits & mask) | (low & !mask));
        prop_assume!(member.to_ipv4_mapped().is_none());
        prop_assert!(net.contains(IpAddr::V6(member)));
        prop_assert_eq!(net.to_string().parse(), Ok(net));
    }

    #[test]
    fn texts_never_panic(text in ".{0,60}") {
        let _ = text.parse::<Net>();
        let _ = text.parse::<Position>();
    }
}

#[tokio::test]
async fn a_hub_follows_another() {
    let clock = Arc::new(At(AtomicI64::new(1_000)));
    let (hub, far) =
        (Hub::new(clock.clone(), Snapshot::default()), Hub::new(clock, Snapshot::default()));
    let publisher = hub.publisher(PublisherId(7));
    publisher.publish(ended(900));
    let (mut source, mut reader) = (hub.subscribe(), far.subscribe());
    assert!(matches!(reader.next().await, Some(Update::Snapshot(_))));
    let Some(Update::Snapshot(start)) = source.next().await else { panic!("snapshot") };
    far.load(*start);
    let Some(Update::Snapshot(start)) = reader.next().await else { panic!("loaded anew") };
    assert_eq!(start.revocations.len(), 1);
    let position = publisher.publish(ended(901));
    let Some(Update::Delta(message)) = source.next().await else { panic!("delta") };
    assert_eq!(far.accept(&message), Accepted::Folded);
    assert_eq!(far.accept(&message), Accepted::Seen);
    assert!(far.has(position));
    assert!(matches!(reader.next().await, Some(Update::Delta(_))));
    publisher.publish(ended(902));
    publisher.publish(ended(903));
    let _lost = source.next().await;
    let Some(Update::Delta(message)) = source.next().await else { panic!("delta") };
    assert_eq!(far.accept(&message), Accepted::Gap);
    let stranger = Position { publisher: PublisherId(9), number: 1 };
    assert_eq!(far.accept(&Message { position: stranger, ..(*message).clone() }), Accepted::Gap);
    assert_eq!(far.snapshot().revocations.len(), 2);
}
