//! Fifty wishes in an hour ask for a step-up, once (W3).

use spine::{ActionKind, EventFilter, ResponseRequested};
use testkit::on_both;
use tokio_util::sync::CancellationToken;
use wish::{Flood, Make};

use crate::wishes::{acting, open, room};

on_both! { room;
    async fn a_program_is_asked_to_step_up(world: &testkit::World) {
        let (room, anna) = (open(world), world.person().await);
        for number in 0..55 {
            let make = Make { account: anna, text: format!("wish {number}") };
            room.make(&acting(world, anna), make).await.unwrap();
        }
        world.spine.sequence().await.unwrap();
        let flood = Flood::new(room);
        let asked = async {
            loop {
                world.spine.sequence().await.unwrap();
                let kind = Some("watch.response_requested".to_owned());
                let filter = EventFilter { kind, limit: 10, ..EventFilter::default() };
                let found = world.spine.events(&filter).await.unwrap();
                if !found.is_empty() {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        };
        let stop = CancellationToken::new();
        let found = tokio::select! {
            () = spine::run_consumer(world.spine.clone(), &flood, stop.clone()) => unreachable!(),
            found = asked => found,
        };
        assert_eq!(found.len(), 1);
        let request: ResponseRequested = found[0].parse().unwrap();
        assert_eq!((request.action, request.account), (ActionKind::StepUp, Some(anna)));
    }
}
