//! What nodes believe of each other, with a real vault and no network: messages are handed over by the
//! test, which loses, repeats, forges and records them as it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kernel::{Clock, SessionId, SystemClock, Timestamp};
use testkit::World;
use web::feed::{Delta, Hub, Message, Position, Publisher, PublisherId, Snapshot, Truth};

use super::Nodes;
use super::envelope::{Keys, MESSAGE_BYTES_MAX, Refused, Said};
use super::peers::{Next, Peers};
use crate::demo::{demo_config, make_house};
use crate::house::Nature;

const ROOMS: &[spine::Room] = &[];

/// A node without its wires.
struct Node {
    hub: Hub,
    publisher: Publisher,
    follower: Publisher,
    peers: Peers,
}

impl Node {
    fn new(world: &World, number: u64) -> Self {
        Self::of(world, number, "shop.example/log")
    }

    fn of(world: &World, number: u64, installation: &str) -> Self {
        let hub = Hub::new(Arc::clone(&world.clock) as _, Snapshot::default());
        let keys = Keys::new(world.vault.clone(), installation.to_owned());
        let peers = Peers::new(keys, PublisherId(number), format!("node-{number}")).unwrap();
        let publisher = hub.publisher(PublisherId(number));
        let follower = hub.publisher(PublisherId(number + 100));
        Self { hub, publisher, follower, peers }
    }

    fn beat(&mut self, world: &World) -> Vec<u8> {
        let number = self.hub.number(self.publisher.id()).unwrap();
        let said = self.peers.beat(number, world.now());
        self.peers.seal(&said).unwrap()
    }

    /// Commits, publishes, and gives what goes over the wire.
    fn end(&mut self, world: &World) -> (SessionId, Vec<u8>) {
        let session = SessionId::generate(world.now(), world.entropy.as_ref());
        let until = world.now().plus(Duration::from_secs(300));
        let delta = Delta::SessionEnded { session, until };
        let position = self.publisher.publish(delta.clone());
        let message = Message { position, at: world.now(), delta: Some(delta) };
        (session, self.peers.seal(&Said::Delta(message)).unwrap())
    }

    fn hears(&mut self, world: &World, bytes: &[u8]) -> Result<Next, Refused> {
        self.peers.take(&self.hub, bytes, world.now())
    }

    /// Reads the database, which has all that was heard.
    fn reads(&mut self) -> bool {
        let heard = self.peers.heard();
        self.follower.fold(self.hub.reading(), Truth { heard, ..Truth::default() });
        self.peers.caught_up(&self.hub)
    }

    fn knows(&self, session: SessionId) -> bool {
        let until = Timestamp::from_seconds(1);
        !self.hub.lacks(&Delta::SessionEnded { session, until })
    }
}

/// Both have echoed each other.
fn meet(world: &World, a: &mut Node, b: &mut Node) {
    let first = a.beat(world);
    assert!(b.hears(world, &first).unwrap().beat, "a newcomer is answered at once");
    let answer = b.beat(world);
    assert!(a.hears(world, &answer).unwrap().read, "its past is read");
    let echo = a.beat(world);
    assert!(b.hears(world, &echo).unwrap().read);
    assert!(!a.reads() && !b.reads());
}

fn in_a_world(test: impl FnOnce(&World)) {
    World::run_sqlite(ROOMS, async |world| test(world));
}

#[test]
fn what_one_ends_the_other_knows_and_a_gap_is_read() {
    in_a_world(|world| {
        let (mut a, mut b) = (Node::new(world, 1), Node::new(world, 2));
        meet(world, &mut a, &mut b);
        let (session, message) = a.end(world);
        assert_eq!(b.hears(world, &message), Ok(Next::default()));
        assert!(b.knows(session));
        // one is lost, the next waits behind it
        let (lost, _) = a.end(world);
        let (after, message) = a.end(world);
        assert!(b.hears(world, &message).unwrap().read);
        assert!(!b.knows(lost) && !b.knows(after), "nothing is folded past a gap");
        b.peers.expect(["node-1".to_owned()].into());
        assert_eq!(b.peers.evidence(), None, "a gap proves nothing");
        // one more comes while the database is read
        let heard = b.peers.heard();
        let reading = b.hub.reading();
        let (meanwhile, message) = a.end(world);
        assert!(b.hears(world, &message).unwrap().read);
        b.follower.fold(reading, Truth { heard, ..Truth::default() });
        assert!(!b.peers.caught_up(&b.hub), "what waited follows");
        assert!(b.knows(meanwhile));
        assert!(b.peers.evidence().is_some());
        // the last is lost: the next beat tells
        a.end(world);
        let beat = a.beat(world);
        assert!(b.hears(world, &beat).unwrap().read);
        assert!(!b.reads());
    });
}

#[test]
fn what_no_node_of_this_installation_said_is_refused_and_counted() {
    in_a_world(|world| {
        let (mut a, mut b) = (Node::new(world, 1), Node::new(world, 2));
        meet(world, &mut a, &mut b);
        let (session, message) = a.end(world);
        let mut forged = message.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(b.hears(world, &forged), Err(Refused::Forged));
        // under another's name, another's number
        for at in [5, 12] {
            let mut forged = message.clone();
            forged[at] ^= 1;
            assert_eq!(b.hears(world, &forged), Err(Refused::Forged), "{at}");
        }
        assert_eq!(b.hears(world, b"hello"), Err(Refused::Malformed));
        assert_eq!(b.hears(world, &vec![0; MESSAGE_BYTES_MAX + 1]), Err(Refused::Oversized));
        let mut foreign = Node::of(world, 3, "other.example/log");
        let beat = foreign.beat(world);
        assert_eq!(b.hears(world, &beat), Err(Refused::Forged));
        assert!(!b.knows(session), "nothing of it was believed");
        assert_eq!(b.hears(world, &message), Ok(Next::default()));
        assert_eq!(b.hears(world, &message), Err(Refused::Repeated));
        let counted = [("forged", 4), ("malformed", 1), ("oversized", 1), ("repeated", 1)];
        let counted = counted.map(|(why, count)| (why.to_owned(), count));
        assert_eq!(b.peers.refused(), counted.into());
    });
}

#[test]
fn a_recording_of_an_earlier_run_is_nothing() {
    in_a_world(|world| {
        let (mut a, mut b) = (Node::new(world, 1), Node::new(world, 2));
        let mut tape = vec![a.beat(world)];
        b.hears(world, &tape[0]).unwrap();
        let answer = b.beat(world);
        a.hears(world, &answer).unwrap();
        tape.push(a.beat(world));
        let (session, message) = a.end(world);
        tape.push(message);
        tape.push(a.beat(world));
        // another run hears the tape
        let mut later = Node::new(world, 4);
        for message in &tape {
            assert!(!later.hears(world, message).unwrap().read, "a recording asks for nothing");
        }
        assert!(!later.knows(session));
        later.peers.expect(["node-1".to_owned()].into());
        assert_eq!(later.peers.evidence(), None);
        assert!(later.peers.heard().is_empty());
        // a recorder cannot fill the room either
        for number in 10..200 {
            let beat = Node::new(world, number).beat(world);
            later.hears(world, &beat).unwrap();
        }
        let mut live = Node::new(world, 5);
        meet(world, &mut live, &mut later);
    });
}

#[test]
fn the_word_of_all_is_needed_and_is_as_old_as_the_oldest_echo() {
    in_a_world(|world| {
        let (mut a, mut b, mut c) = (Node::new(world, 1), Node::new(world, 2), Node::new(world, 3));
        assert_eq!(a.peers.evidence(), None, "alone, nobody vouches");
        meet(world, &mut a, &mut b);
        meet(world, &mut a, &mut c);
        a.peers.expect(["node-2".to_owned(), "node-3".to_owned()].into());
        let first = world.now();
        assert_eq!(a.peers.evidence(), Some(first));
        world.advance(Duration::from_secs(1));
        // b echoes, c is late: its beat was said before ours
        let old = c.beat(world);
        let ours = a.beat(world);
        b.hears(world, &ours).unwrap();
        let echo = b.beat(world);
        a.hears(world, &echo).unwrap();
        a.hears(world, &old).unwrap();
        assert_eq!(a.peers.evidence(), Some(first), "the slowest counts");
        c.hears(world, &ours).unwrap();
        let echo = c.beat(world);
        a.hears(world, &echo).unwrap();
        assert_eq!(a.peers.evidence(), Some(world.now()));
        // a node that only the database knows
        a.peers.expect(["node-2".to_owned(), "node-9".to_owned()].into());
        assert_eq!(a.peers.evidence(), None);
        // one that leaves is missed no more
        a.peers.expect(["node-2".to_owned(), "node-3".to_owned()].into());
        let bye = c.peers.seal(&Said::Bye).unwrap();
        a.hears(world, &bye).unwrap();
        assert_eq!(a.peers.evidence(), Some(world.now()));
    });
}

#[test]
fn a_node_that_starts_anew_is_one_node() {
    in_a_world(|world| {
        let (mut a, mut b) = (Node::new(world, 1), Node::new(world, 2));
        meet(world, &mut a, &mut b);
        let keys = Keys::new(world.vault.clone(), "shop.example/log".to_owned());
        b.peers = Peers::new(keys, PublisherId(77), "node-2".to_owned()).unwrap();
        b.publisher = b.hub.publisher(PublisherId(77));
        meet(world, &mut a, &mut b);
        let shown = a.peers.shown();
        assert_eq!(shown.len(), 1);
        assert_eq!((shown[0].node.as_str(), shown[0].publisher), ("node-2", PublisherId(77)));
        assert!(!a.hub.has(Position { publisher: PublisherId(2), number: 0 }), "forgotten");
        assert_eq!(world.clock.now(), world.now());
    });
}

/// A clock that is an hour behind until somebody tells it.
#[derive(Debug, Default)]
struct Told(AtomicBool);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        let behind = if self.0.load(Ordering::Relaxed) { 0 } else { 3_600 };
        SystemClock.now().minus(Duration::from_secs(behind))
    }

    fn compared(&self, _: i64) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

#[test]
fn a_clock_that_follows_is_judged_by_its_new_time() {
    testkit::with_postgres(|url| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 8443));
            let nature = Nature { clock: Arc::<Told>::default(), ..Nature::default() };
            let mut config =
                demo_config(nowhere, nowhere, "http://127.0.0.1:9", Some(url.to_owned()));
            config.header_key.clear();
            config.upstream.iter_mut().for_each(|upstream| upstream.header_key = None);
            let house = make_house(config, dir.path().to_owned(), nature).await.unwrap();
            let house = Arc::new(house);
            let nodes = Nodes::claim(&house).await.unwrap();
            assert!(nodes.seen().skew_us.abs() < 1_000_000, "{}", nodes.seen().skew_us);
            let off = house.spine.house_time().micros() - SystemClock.now().micros();
            assert!(off.abs() < 1_000_000, "{off}");
            house.close().await.unwrap();
        });
    });
}
