//! The table of nodes: one name is one node's, and who lost it learns so.

use std::time::Duration;

use spine::{NodeClaim, SILENT_AFTER};

const fn claim(run: &str) -> NodeClaim<'_> {
    NodeClaim { run, program: "0.1.0", schema_version: 7, config: "c0ffee" }
}

testkit::on_both! { &[];
    async fn a_name_is_one_nodes(world: &testkit::World) {
        let first = world.another_node("a").await;
        assert!(first.claim_node(&claim("one")).await.unwrap());
        assert!(first.report_node("one", r#"{"redis":"up"}"#).await.unwrap());
        // The same name from another folder, while the first lives.
        let twin = world.another_node_in("twin", "a").await;
        assert!(!twin.claim_node(&claim("two")).await.unwrap());
        // From the same folder: the earlier run is over, and learns so if it is not.
        assert!(first.claim_node(&claim("three")).await.unwrap());
        assert!(!first.report_node("one", "{}").await.unwrap());
        assert!(first.report_node("three", "{}").await.unwrap());
        // Silent for long enough, it is gone.
        world.advance(SILENT_AFTER + Duration::from_secs(1));
        assert!(!first.nodes().await.unwrap()[0].lives(world.now()));
        assert!(twin.claim_node(&claim("four")).await.unwrap());
        assert!(!first.report_node("three", "{}").await.unwrap());
        let nodes = twin.nodes().await.unwrap();
        assert_eq!(nodes.len(), 1);
        assert_eq!((nodes[0].run.as_str(), nodes[0].schema_version), ("four", 7));
        assert!(nodes[0].lives(world.now()) && !nodes[0].leads);
        // Who leaves leaves nothing behind; another's run takes nothing away.
        twin.leave_node("one").await.unwrap();
        assert_eq!(twin.nodes().await.unwrap().len(), 1);
        twin.leave_node("four").await.unwrap();
        assert!(twin.nodes().await.unwrap().is_empty());
    }

    async fn clocks_may_differ_where_the_database_has_its_own(world: &testkit::World) {
        let first = world.another_node("a").await;
        let Some(ahead_us) = first.compare_clock().await.unwrap() else {
            assert_eq!(first.house_time(), world.now());
            return;
        };
        let theirs = world.now().micros() - ahead_us;
        assert!((first.house_time().micros() - theirs).abs() < 1_000_000);
        assert!(first.claim_node(&claim("one")).await.unwrap());
        // Another's clock is off by more than a node may be silent: it compares first, as each does.
        world.advance(SILENT_AFTER * 2);
        let twin = world.another_node_in("twin", "a").await;
        twin.compare_clock().await.unwrap();
        assert!(!twin.claim_node(&claim("two")).await.unwrap());
        assert!(twin.nodes().await.unwrap()[0].lives(twin.house_time()));
    }

    async fn a_command_whose_clock_is_off_takes_no_lease(world: &testkit::World) {
        if world.spine.compare_clock().await.unwrap().is_none() {
            return;
        }
        // By the server's time, far from the clock's.
        world.spine.sequence().await.unwrap();
        let command = world.another_node("a").await;
        command.sequence().await.unwrap();
        assert_eq!(world.spine.standing().await.unwrap().holder, "node-1");
        assert!(!command.publishes().await.unwrap());
    }

    async fn the_leader_is_named_and_the_gone_are_forgotten(world: &testkit::World) {
        let node = world.another_node("a").await;
        node.claim_node(&claim("one")).await.unwrap();
        world.end_lease().await;
        node.sequence().await.unwrap();
        assert!(node.nodes().await.unwrap()[0].leads);
        assert_eq!(node.queues().await.unwrap().pending, 0);
        node.retire_nodes().await.unwrap();
        assert_eq!(node.nodes().await.unwrap().len(), 1);
        world.advance(Duration::from_secs(2 * 86_400));
        node.retire_nodes().await.unwrap();
        assert!(node.nodes().await.unwrap().is_empty());
    }

    async fn the_servers_clock_is_asked_where_there_is_one(world: &testkit::World) {
        let told = world.spine.db().server_time().await.unwrap();
        let is_server = world.database_url.starts_with("postgres");
        assert_eq!(told.is_some(), is_server);
        assert!(told.is_none_or(|now| now.seconds() > 1_700_000_000));
    }
}
