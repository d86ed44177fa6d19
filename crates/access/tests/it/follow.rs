//! A4: what another node changed reaches this one by the database alone, once, and in the end as the
//! database has it.

use std::time::Duration;

use access::{Block, BlockSource, Followed};
use web::feed::{Delta, Truth};

use crate::config::{SHOP, config};
use crate::place::{Place, ROOMS, net, operator};

fn block(text: &str) -> Block {
    Block {
        net: net(text),
        until: None,
        reason: "spray".to_owned(),
        rule: "operator".to_owned(),
        source: BlockSource::Operator,
    }
}

/// One round of a node that follows; how many changes it put on its feed.
async fn round(far: &Place, followed: &mut Followed) -> u64 {
    let follower = far.hub.publisher(web::feed::PublisherId(9));
    let before = far.hub.number(follower.id()).unwrap();
    let reading = far.hub.reading();
    let news = far.access.follow(followed).await.unwrap();
    let truth = Truth { blocks: news.blocks, routes: news.routes, ..Truth::default() };
    assert!(follower.fold(reading, truth));
    far.hub.number(follower.id()).unwrap() - before
}

fn blocked(far: &Place, world: &testkit::World, address: &str) -> bool {
    far.hub.snapshot().blocks.of(address.parse().unwrap(), world.now()).is_some()
}

testkit::on_both! { ROOMS;
    async fn blocks_and_routes_of_another_node(world: &testkit::World) {
        let (near, far) = (Place::new(world), Place::new(world));
        let mut followed = Followed::default();
        assert_eq!(round(&far, &mut followed).await, 0);
        near.access.block(&operator(world), &block("192.0.2.7")).await.unwrap();
        near.access.apply(&operator(world), &config(SHOP), None).await.unwrap();
        assert!(!blocked(&far, world, "192.0.2.7"));
        assert_eq!(round(&far, &mut followed).await, 2);
        assert!(blocked(&far, world, "192.0.2.7"));
        assert_eq!(far.hub.snapshot().routes.routes.len(), 2);
        assert_eq!(round(&far, &mut followed).await, 0, "told twice");
        // one is lifted and another made between two looks
        near.access.unblock(&operator(world), net("192.0.2.7")).await.unwrap();
        world.advance(Duration::from_millis(1));
        near.access.block(&operator(world), &block("192.0.2.8")).await.unwrap();
        assert_eq!(round(&far, &mut followed).await, 2);
        assert!(!blocked(&far, world, "192.0.2.7") && blocked(&far, world, "192.0.2.8"));
        // an end that is moved
        let until = Some(world.now().plus(Duration::from_secs(60)));
        near.access.block(&operator(world), &Block { until, ..block("192.0.2.8") }).await.unwrap();
        assert_eq!(round(&far, &mut followed).await, 1);
        world.advance(Duration::from_secs(61));
        assert!(!blocked(&far, world, "192.0.2.8"));
        // what only this node believes is put right when all is read
        let publisher = far.hub.publisher(web::feed::PublisherId(1));
        let until = world.now().plus(Duration::from_secs(60));
        let reason = "a message whose successor was lost".to_owned();
        publisher.publish(Delta::ClientBlocked { net: net("192.0.2.9"), until, reason });
        followed.forget();
        assert_eq!(round(&far, &mut followed).await, 1);
        assert!(!blocked(&far, world, "192.0.2.9"));
    }
}
