//! Of an erased person this room keeps no row, and the log still holds (W4).

use futures_util::future::try_join_all;
use testkit::{World, on_both};
use wishes::{Flood, Make};

use crate::keeping::{ROOMS, acting, open};

/// More than one transaction deletes.
const WISHES: usize = 520;

on_both! { ROOMS;
    // W4
    async fn of_an_erased_person_no_row_is_left(world: &World) {
        let (room, anna, ben) = (open(world), world.person().await, world.person().await);
        let make = |account, text: String| {
            let (room, ctx) = (room.clone(), acting(world, account));
            async move { room.make(&ctx, Make { account, text }).await }
        };
        try_join_all((0..WISHES).map(|at| make(anna, format!("wish {at}")))).await.unwrap();
        make(ben, "a lamp".to_owned()).await.unwrap();
        world.spine.sequence().await.unwrap();
        world.spine.consume(&Flood).await.unwrap();
        let left = world.rows_left_of(anna).await;
        assert_eq!(left, [("wishes_wish", 520), ("wishes_pace", 1)]);

        world.erase(anna).await;
        world.spine.consume(&Flood).await.unwrap();
        assert_eq!(world.rows_left_of(anna).await, []);
        let told = world.told("spine.rows_erased").await;
        let mut rows: Vec<_> = told.iter().map(|event| event.plain["rows"].as_i64()).collect();
        rows.sort_unstable();
        assert_eq!(rows, [Some(8), Some(256), Some(256)]);
        assert_eq!(room.of(ben, [0; 16]).await.unwrap().len(), 1);
        world.check_log().await;
    }

    // W4
    async fn what_is_counted_late_of_an_erased_person_is_not_kept(world: &World) {
        let (room, anna) = (open(world), world.person().await);
        let make = Make { account: anna, text: "a lamp".to_owned() };
        room.make(&acting(world, anna), make).await.unwrap();
        world.erase(anna).await;
        world.spine.consume(&Flood).await.unwrap();
        assert_eq!(world.rows_left_of(anna).await, []);
        world.check_log().await;
    }
}
