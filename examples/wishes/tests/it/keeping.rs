//! A wish is made, seen and dropped by its owner, on both databases.

use kernel::{AccountId, Actor};
use testkit::{World, on_both, race};
use wishes::{Error, Make, Wishes};

pub(crate) const ROOMS: &[spine::Room] = &[wishes::ROOM];

pub(crate) fn open(world: &World) -> Wishes {
    Wishes::open(world.spine.clone(), world.vault.clone())
}

pub(crate) fn acting(world: &World, id: AccountId) -> kernel::Ctx {
    world.ctx(Actor::Account { id, session: None })
}

on_both! { ROOMS;
    // W1
    async fn only_the_owner_sees_and_drops(world: &World) {
        let (room, anna, ben) = (open(world), world.person().await, world.person().await);
        let make = Make { account: anna, text: "the blue lamp".to_owned() };
        let id = room.make(&acting(world, anna), make).await.unwrap();
        let seen = room.of(anna, [0; 16]).await.unwrap();
        assert_eq!(seen[0].text, "the blue lamp");
        assert!(room.of(ben, [0; 16]).await.unwrap().is_empty());
        let refused = room.drop_wish(&acting(world, ben), ben, id).await;
        assert!(matches!(refused, Err(Error::NotFound)));
        room.drop_wish(&acting(world, anna), anna, id).await.unwrap();
        assert!(room.of(anna, [0; 16]).await.unwrap().is_empty());
        assert_eq!(world.told("wishes.made").await.len(), 1);
        let dropped = world.told("wishes.dropped").await;
        assert_eq!(dropped[0].account(), Some(anna));
        world.check_log().await;
    }

    // W2
    async fn of_eight_that_drop_one_does(world: &World) {
        let (room, anna) = (open(world), world.person().await);
        let make = Make { account: anna, text: "a show".to_owned() };
        let id = room.make(&acting(world, anna), make).await.unwrap();
        let all = race(8, |_| {
            let (room, ctx) = (room.clone(), acting(world, anna));
            async move { room.drop_wish(&ctx, anna, id).await }
        })
        .await;
        assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 1);
    }
}
