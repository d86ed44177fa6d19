//! The page and the API: each operation says what it changes and who may ask.

use testkit::on_both;
use web::api::Access;

use crate::wishes::{open, room};

on_both! { room;
    async fn every_operation_asks_for_a_session(world: &testkit::World) {
        let all = web::api::assemble("test", "1", [wish::routes(open(world))]).unwrap();
        assert_eq!(all.operations.len(), 5);
        assert!(all.operations.iter().all(|operation| operation.access == Access::Session));
    }
}
