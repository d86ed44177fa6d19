//! Blocks (A4, A5): obeyed, published, ended by the clock, never of the house itself.

use std::net::IpAddr;
use std::time::Duration;

use access::{Block, BlockSource, Error, ResponseApplied};
use kernel::Timestamp;
use spine::{ActionKind, Consumer as _, ResponseRequested};
use testkit::World;
use tokio::task::JoinSet;
use web::feed::Delta;

use crate::place::{Place, ROOMS, net, operator, rows_are_as_told, told};

fn block(text: &str, until: Option<Timestamp>) -> Block {
    Block {
        net: net(text),
        until,
        reason: "sprays passwords".to_owned(),
        rule: "operator".to_owned(),
        source: BlockSource::Operator,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn is_blocked(place: &Place, world: &World, text: &str) -> bool {
    place.hub.snapshot().blocks.of(address(text), world.now()).is_some()
}

async fn ask(world: &World, action: ActionKind, client: &str, dry_run: bool) {
    let until = Some(world.now().plus(Duration::from_secs(600)));
    let address = Some(address(client));
    let asked = ResponseRequested::new(action, "spray", "60 accounts in 10 minutes");
    world.ask(ResponseRequested { dry_run, address, until, ..asked }).await;
}

/// Obeys, and gives everything that was done so far, in no order: one batch has none.
async fn obey(world: &World, place: &Place) -> Vec<String> {
    world.spine.sequence().await.unwrap();
    let responses = spine::Obedience::new(place.access.clone());
    assert_eq!(responses.kinds(), ["watch.response_requested"]);
    world.spine.consume(&responses).await.unwrap();
    let events = told(world, "access.response_applied").await;
    let parsed = events.iter().map(|event| event.parse::<ResponseApplied>().unwrap());
    let mut done: Vec<String> =
        parsed.map(|applied| format!("{:?} {:?}", applied.action, applied.done)).collect();
    done.sort();
    done
}

testkit::on_both! { ROOMS;
    // A4
    async fn blocked_listed_extended_lifted(world: &testkit::World) {
        let place = Place::new(world);
        let first = place.access.block(&operator(world), &block("192.0.2.7", None)).await.unwrap();
        assert!(is_blocked(&place, world, "192.0.2.7"));
        assert!(!is_blocked(&place, world, "192.0.2.8"));
        let until = world.now().plus(Duration::from_secs(60));
        let shorter = block("192.0.2.7", Some(until));
        let again = place.access.block(&operator(world), &shorter).await.unwrap();
        assert_eq!((again.id, again.until, again.extended), (first.id, until, true));
        let list = place.access.blocks(None, true, 50).await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].net, Some(net("192.0.2.7")));
        assert_eq!(list[0].reason.as_deref(), Some("sprays passwords"));
        place.access.unblock_by_id(&operator(world), first.id).await.unwrap();
        assert!(!is_blocked(&place, world, "192.0.2.7"));
        let twice = place.access.unblock_by_id(&operator(world), first.id).await;
        assert!(matches!(twice, Err(Error::NotFound)));
        assert_eq!(place.access.blocks(None, true, 50).await.unwrap().len(), 0);
        assert_eq!(place.access.blocks(None, false, 50).await.unwrap()[0].state, "lifted");
        assert_eq!(told(world, "access.client_blocked").await.len(), 2);
        assert_eq!(told(world, "access.client_unblocked").await.len(), 1);
        // Blocked again after it was lifted: another block.
        let third = place.access.block(&operator(world), &block("192.0.2.7", None)).await.unwrap();
        assert_ne!(third.id, first.id);
        rows_are_as_told(world).await;
    }

    // A4
    async fn ended_by_the_clock_and_gone_from_a_cold_edge(world: &testkit::World) {
        let place = Place::new(world);
        let soon = world.now().plus(Duration::from_secs(100));
        place.access.block(&operator(world), &block("192.0.2.0/24", Some(soon))).await.unwrap();
        world.advance(Duration::from_secs(1));
        place.access.block(&operator(world), &block("2001:db8:1::/64", None)).await.unwrap();
        assert_eq!(place.access.feed_part().await.unwrap().blocks.len(), 2);
        world.advance(Duration::from_secs(101));
        assert!(!is_blocked(&place, world, "192.0.2.9"));
        let cold = place.access.feed_part().await.unwrap().blocks;
        let [Delta::ClientBlocked { net: left, .. }] = &cold[..] else { panic!("{cold:?}") };
        assert_eq!(*left, net("2001:db8:1::/64"));
        place.access.tend().await.unwrap();
        let list = place.access.blocks(None, false, 50).await.unwrap();
        let states: Vec<&str> = list.iter().map(|entry| entry.state.as_str()).collect();
        assert_eq!(states, ["active", "expired"]);
        world.advance(Duration::from_secs(31 * 86_400));
        place.access.tend().await.unwrap();
        world.advance(Duration::from_secs(31 * 86_400));
        place.access.tend().await.unwrap();
        assert_eq!(place.access.blocks(None, false, 50).await.unwrap().len(), 0);
        assert_eq!(told(world, "access.blocks_expired").await.len(), 3);
        rows_are_as_told(world).await;
    }

    // A4, A5
    async fn obeyed_from_the_log(world: &testkit::World) {
        let place = Place::new(world);
        ask(world, ActionKind::BlockClient, "198.51.100.4", true).await;
        assert!(obey(world, &place).await.is_empty());
        ask(world, ActionKind::BlockClient, "198.51.100.4", false).await;
        ask(world, ActionKind::BlockClient, "198.51.100.4", false).await;
        ask(world, ActionKind::BlockClient, "10.0.0.1", false).await;
        ask(world, ActionKind::BlockClient, "127.0.0.1", false).await;
        ask(world, ActionKind::EndSessions, "198.51.100.4", false).await;
        ask(world, ActionKind::UnblockClient, "203.0.113.99", false).await;
        let done = obey(world, &place).await;
        let expected = [
            "BlockClient Blocked",
            "BlockClient Extended",
            "BlockClient Protected",
            "BlockClient Protected",
            "UnblockClient Nothing",
        ];
        assert_eq!(done, expected);
        assert!(is_blocked(&place, world, "198.51.100.4"));
        assert!(!is_blocked(&place, world, "127.0.0.1"));
        // Read once: nothing happens again.
        assert_eq!(obey(world, &place).await.len(), 5);
        ask(world, ActionKind::UnblockClient, "198.51.100.4", false).await;
        assert!(obey(world, &place).await.contains(&"UnblockClient Unblocked".to_owned()));
        assert!(!is_blocked(&place, world, "198.51.100.4"));
        // Asked too late: the end that was asked for has passed.
        ask(world, ActionKind::BlockClient, "198.51.100.5", false).await;
        world.advance(Duration::from_secs(700));
        assert!(obey(world, &place).await.contains(&"BlockClient Nothing".to_owned()));
    }

    async fn eight_at_once_make_one_block(world: &testkit::World) {
        let place = Place::new(world);
        let mut racing = JoinSet::new();
        for _ in 0..8 {
            let (access, ctx) = (place.access.clone(), operator(world));
            racing.spawn(async move { access.block(&ctx, &block("192.0.2.7", None)).await });
        }
        let mut fresh = 0;
        while let Some(done) = racing.join_next().await {
            match done.unwrap() {
                Ok(blocked) => fresh += u32::from(!blocked.extended),
                Err(Error::Raced) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(fresh, 1);
        assert_eq!(place.access.blocks(None, true, 50).await.unwrap().len(), 1);
    }
}

// A5
#[test]
fn an_operator_is_not_locked_out_and_bad_wishes_are_named() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::with(world, |parts| {
            parts.config.block.never = vec![net("198.51.100.0/24")];
        });
        let own = place.access.block(&operator(world), &block("203.0.113.0/24", None)).await;
        assert!(matches!(own, Err(Error::OwnAddress)));
        let listed = place.access.block(&operator(world), &block("198.51.100.7", None)).await;
        assert!(matches!(listed, Err(Error::Protected(_))));
        let past =
            place.access.block(&operator(world), &block("192.0.2.1", Some(world.now()))).await;
        assert!(matches!(past, Err(Error::Fields(_))));
        let ever = Timestamp::from_seconds(9_999_999_999);
        let long = place.access.block(&operator(world), &block("192.0.2.1", Some(ever))).await;
        assert_eq!(long.unwrap().until, world.now().plus(Duration::from_secs(7 * 86_400)));
        assert_eq!(told(world, "access.client_blocked").await.len(), 1);
    });
}
