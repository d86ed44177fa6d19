//! Fifty times a wish in an hour ask for a step-up, once (W3).

use std::time::Duration;

use spine::{ActionKind, ResponseRequested};
use testkit::{World, on_both};
use wishes::{Flood, Make};

use crate::keeping::{ROOMS, acting, open};

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
    }

    // W5
    async fn what_is_over_goes(world: &World) {
        let (room, anna) = (open(world), world.person().await);
        let ctx = acting(world, anna);
        let make = |text: &str| Make { account: anna, text: text.to_owned() };
        let dropped = room.make(&ctx, make("a lamp")).await.unwrap();
        room.make(&ctx, make("a rug")).await.unwrap();
        room.drop_wish(&ctx, anna, dropped).await.unwrap();
        world.spine.sequence().await.unwrap();
        world.spine.consume(&Flood).await.unwrap();
        let rows = [("wishes_wish", 2), ("wishes_pace", 1)];
        for (days, left) in [(1, &rows[..]), (2, &[("wishes_wish", 2)]), (28, &[("wishes_wish", 1)])] {
            world.advance(Duration::from_secs(days * 86_400));
            world.spine.retire_rows().await.unwrap();
            assert_eq!(world.rows_left_of(anna).await, left, "{days}");
        }
        assert_eq!(world.told("spine.rows_retired").await.len(), 1);
        world.check_log().await;
    }
}
