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
async fn a_late_subscriber_hears_the_last_sign_of_life() {
    let hub = Hub::new(Arc::new(At(AtomicI64::new(1_000))), Snapshot::default());
    let publisher = hub.publisher(PublisherId(7));
    publisher.beat();
    let position = publisher.publish(ended(900));
    let mut subscription = hub.subscribe();
    assert!(matches!(subscription.next().await, Some(Update::Snapshot(_))));
    let Some(Update::Heartbeat(heard)) = subscription.next().await else { panic!("heartbeat") };
    assert_eq!(heard.position, position, "it is no gap and not seen before");
    let follower = Hub::new(Arc::new(At(AtomicI64::new(1_000))), Snapshot::default());
    follower.load(hub.snapshot());
    assert_eq!(follower.accept(&heard), Accepted::Folded);
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
    revocations.end_account(account, at, Timestamp::from_seconds(1_300), at);
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

proptest! {
    /// Whatever was blocked and lifted before: what stands is refused, and nothing else.
    #[test]
    fn what_stands_is_refused_whatever_came_before(
        steps in proptest::collection::vec((any::<bool>(), 0_u8..4, 30_u8..=32), 0..60)
    ) {
        let now = Timestamp::from_seconds(9);
        let block = Block { until: Timestamp::from_seconds(10), reason: String::new() };
        let mut blocks = Blocks::default();
        let mut standing = std::collections::HashSet::new();
        for (add, last, prefix) in steps {
            let net = Net::new(IpAddr::from([192, 0, 2, last]), prefix);
            if add {
                blocks.add(net, block.clone());
                standing.insert(net);
            } else {
                blocks.remove(net);
                standing.remove(&net);
            }
        }
        for last in 0..4 {
            let address = IpAddr::from([192, 0, 2, last]);
            let is_blocked = standing.iter().any(|net| *net == Net::new(address, net.prefix));
            prop_assert_eq!(blocks.of(address, now).is_some(), is_blocked);
        }
        let again = Blocks::from(HashMap::from(blocks.clone()));
        for last in 0..4 {
            let address = IpAddr::from([192, 0, 2, last]);
            prop_assert_eq!(again.of(address, now), blocks.of(address, now));
        }
    }
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

fn blocked(text: &str, until: i64) -> Delta {
    let (net, until) = (text.parse().unwrap(), Timestamp::from_seconds(until));
    Delta::ClientBlocked { net, until, reason: "spray".to_owned() }
}

fn nets(hub: &Hub) -> Vec<String> {
    let mut nets: Vec<String> =
        hub.snapshot().blocks.iter().map(|(net, _)| net.to_string()).collect();
    nets.sort_unstable();
    nets
}

#[tokio::test]
async fn what_was_read_heals_a_gap_and_what_was_said_meanwhile_stands() {
    let clock = Arc::new(At(AtomicI64::new(1_000)));
    let hub = Hub::new(clock, Snapshot::default());
    let (own, follower) = (hub.publisher(PublisherId(1)), hub.publisher(PublisherId(2)));
    own.publish(blocked("192.0.2.1", 2_000));
    own.publish(blocked("192.0.2.2", 2_000));
    let mut subscription = hub.subscribe();
    assert!(matches!(subscription.next().await, Some(Update::Snapshot(_))));
    let reading = hub.reading();
    // committed after the reading, published before the fold
    own.publish(blocked("192.0.2.3", 2_000));
    own.publish(Delta::ClientUnblocked { net: "192.0.2.1".parse().unwrap() });
    let truth = Truth {
        revocations: vec![ended(901)],
        blocks: Some(vec![blocked("192.0.2.1", 2_000), blocked("192.0.2.4", 2_000)]),
        routes: Some(Arc::new(RouteTable { revision: 3, ..RouteTable::default() })),
        heard: HashMap::from([(PublisherId(9), 5)]),
    };
    assert!(!follower.fold(reading, truth), "somebody spoke of a block meanwhile");
    assert_eq!(nets(&hub), ["192.0.2.3/32", "192.0.2.4/32"]);
    assert_eq!(hub.snapshot().revocations.len(), 1);
    assert_eq!(hub.snapshot().routes.revision, 3);
    assert!(hub.has(Position { publisher: PublisherId(9), number: 5 }));
    // the next reading settles it
    let truth = Truth { blocks: Some(vec![blocked("192.0.2.4", 2_000)]), ..Truth::default() };
    assert!(follower.fold(hub.reading(), truth));
    assert_eq!(nets(&hub), ["192.0.2.4/32"]);
    // routes that were committed earlier and come later
    own.publish(Delta::Routes(Arc::new(RouteTable { revision: 2, ..RouteTable::default() })));
    assert_eq!(hub.snapshot().routes.revision, 3);
    // the publisher that was caught up with goes on without a gap, and subscribers start anew
    let next = Position { publisher: PublisherId(9), number: 6 };
    let message = Message { position: next, at: Timestamp::default(), delta: Some(ended(902)) };
    assert_eq!(hub.accept(&message), Accepted::Folded);
    loop {
        match subscription.next().await {
            Some(Update::Snapshot(state)) => break assert_eq!(state.revocations.len(), 2),
            Some(_) => {}
            None => panic!("the hub is gone"),
        }
    }
}

proptest! {
    /// Any order of own words, words from elsewhere and readings: the fold ends where the source of
    /// truth stands, with every revocation, once a reading has settled in silence.
    #[test]
    fn readings_end_at_the_truth(steps in proptest::collection::vec((0u8..5, 0u8..6), 0..60)) {
        let clock = Arc::new(At(AtomicI64::new(1_000)));
        let hub = Hub::new(clock, Snapshot::default());
        let (own, follower) = (hub.publisher(PublisherId(1)), hub.publisher(PublisherId(2)));
        let mut far = 0;
        let mut truth: std::collections::BTreeMap<u8, ()> = std::collections::BTreeMap::new();
        let mut ends = 0;
        let mut open: Option<(Reading, Truth)> = None;
        let text = |which: u8| format!("192.0.2.{which}");
        let read = |truth: &std::collections::BTreeMap<u8, ()>, far: u64| Truth {
            blocks: Some(truth.keys().map(|which| blocked(&text(*which), 2_000)).collect()),
            heard: HashMap::from([(PublisherId(9), far)]),
            ..Truth::default()
        };
        for (what, which) in steps {
            match what {
                // committed, then published here
                0 => {
                    truth.insert(which, ());
                    own.publish(blocked(&text(which), 2_000));
                }
                1 => {
                    truth.remove(&which);
                    own.publish(Delta::ClientUnblocked { net: text(which).parse().unwrap() });
                }
                // committed elsewhere, and the message lost
                2 => {
                    far += 1;
                    truth.insert(which, ());
                }
                3 => {
                    far += 1;
                    ends += 1;
                    own.publish(ended(900 + i64::from(ends)));
                    truth.remove(&which);
                }
                _ => match open.take() {
                    None => open = Some((hub.reading(), read(&truth, far))),
                    Some((reading, truth)) => {
                        follower.fold(reading, truth);
                    }
                },
            }
        }
        drop(open);
        prop_assert!(follower.fold(hub.reading(), read(&truth, far)));
        let wanted: Vec<String> =
            truth.keys().map(|which| format!("{}/32", text(*which))).collect();
        prop_assert_eq!(nets(&hub), wanted);
        prop_assert_eq!(hub.snapshot().revocations.len(), usize::try_from(ends).unwrap());
        prop_assert_eq!(hub.number(PublisherId(9)), Some(far));
    }
}
