//! P8: of an erased person no row stays where erasure deletes, whichever of two persons it was.

use spine::{About, FromRow, Row, StoreError, Subject, args};
use testkit::{World, on_both};

use crate::thing::{ALL, GIFTS, GIVE, ROOMS, ThingCounted, ctx_of, make_in};

struct Id;

impl FromRow for Id {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.id16("id").map(|_| Self)
    }
}

on_both! { ROOMS;
    // P8
    async fn of_an_erased_person_no_row_stays(world: &World) {
        let [anna, ben, cleo] = [world.person().await, world.person().await, world.person().await];
        let everybody = [anna, ben, cleo].map(Subject::Account);
        world.vault.resolve(&[&everybody[..], &[Subject::House]].concat()).await.unwrap();
        let mut tx = world.spine.begin(&ctx_of(world, anna)).await.unwrap();
        for owner in [anna, anna, ben] {
            make_in(&mut tx, owner, "a lamp").await;
        }
        for (giver, taker) in [(anna, ben), (ben, anna), (ben, cleo)] {
            let id = tx.ctx().random::<16>();
            tx.change(&GIVE, args![id, giver.as_bytes(), taker.as_bytes()]).await.unwrap();
        }
        tx.emit(About::house("gift", [0; 16], 1), ThingCounted { count: 3 }).unwrap();
        tx.commit().await.unwrap();
        assert_eq!(world.rows_left_of(anna).await, [("demo_thing", 2), ("demo_gift", 2)]);

        world.erase(anna).await;
        assert_eq!(world.rows_left_of(anna).await, []);
        let mut read = world.spine.read().await.unwrap();
        assert_eq!(read.all::<Id>(&ALL, args![]).await.unwrap().len(), 1);
        assert_eq!(read.all::<Id>(&GIFTS, args![]).await.unwrap().len(), 1);
        drop(read);
        let told = world.told("spine.rows_erased").await;
        assert_eq!(told.iter().map(|event| event.plain["rows"].as_u64()).sum::<Option<u64>>(), Some(4));
        world.check_log().await;
    }
}
