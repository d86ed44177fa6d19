//! The page of nodes: who serves, what waits, how this host is (C6, C7).

use http::StatusCode;
use identity::StaffRole;
use spine::NodeClaim;

use crate::house::{House, ROOMS};

testkit::on_both! { ROOMS;
    async fn a_node_shows_with_what_it_says_of_itself(world: &testkit::World) {
        let house = House::new(world);
        house.customer("ada@example.test").await;
        let mut auditor = house.operator(&[StaffRole::Auditor]).await;
        house.settle().await;
        let empty = auditor.get("/console/nodes").await.expect(StatusCode::OK);
        assert!(empty.body.contains("No node has spoken yet"), "{}", empty.body);
        let claim = NodeClaim { run: "r", program: "9.9", schema_version: 7, config: "c0ffee" };
        assert!(world.spine.claim_node(&claim).await.unwrap());
        let report = r#"{"known_ms":12,"skew_ms":-3,"peers":[{"node":"b","lag_ms":45}]}"#;
        assert!(world.spine.report_node("r", report).await.unwrap());
        let page = auditor.get("/console/nodes").await.expect(StatusCode::OK).body;
        for shown in [
            world.spine.node(), ">serves<", ">9.9<", "c0ffee", "-3 ms",
            "12 ms behind, 45 ms behind the others", "No sink", "live.",
        ] {
            assert!(page.contains(shown), "{shown} in {page}");
        }
        assert!(page.contains("data-figure=\"pending\">0<"), "{page}");
    }
}
