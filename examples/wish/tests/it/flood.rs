//! Fifty wishes in an hour ask for a step-up, once (W3).

use std::time::Duration;

use spine::{ActionKind, ResponseRequested};
use testkit::{World, on_both};
use wish::{Flood, Make};

use crate::wishes::{ROOMS, acting, open};

on_both! { ROOMS;
    // W3
    async fn a_program_is_asked_to_step_up(world: &World) {
        let (room, anna) = (open(world), world.person().await);
        for number in 0..55 {
            let make = Make { account: anna, text: format!("wish {number}") };
            room.make(&acting(world, anna), make).await.unwrap();
        }
        world.spine.sequence().await.unwrap();
        world.spine.consume(&Flood).await.unwrap();
        let asked = world.told("watch.response_requested").await;
        assert_eq!(asked.len(), 1);
        let request: ResponseRequested = asked[0].parse().unwrap();
        assert_eq!((request.action, request.account), (ActionKind::StepUp, Some(anna)));
        // its count is kept for two days
        assert_eq!(room.tend(world.now()).await.unwrap(), 0);
        world.advance(Duration::from_secs(50 * 3_600));
        assert_eq!(room.tend(world.now()).await.unwrap(), 1);
    }
}
