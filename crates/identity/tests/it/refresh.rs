//! Refresh families: one successor for all who race, and one family for one thief.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::Error;
use kernel::{Refusal as _, Secret};
use web::feed::Standing;

use crate::house::{House, ROOMS, eight};

const TICK: Duration = Duration::from_micros(1);

/// Eight holders of one token at once; gives the successors that they were handed.
async fn race(house: &House<'_>, token: &Secret<String>) -> BTreeSet<String> {
    let outcomes = eight(|_| {
        let (room, ctx, token) = (house.room.clone(), house.ctx(), token.clone());
        async move { room.refresh(&ctx, &token).await }
    })
    .await;
    let handed = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("no honest holder is logged out").refresh.expose().clone());
    handed.collect()
}

/// A token with one letter of its MAC changed.
fn forged(token: &Secret<String>) -> Secret<String> {
    let (head, mac) = token.expose().rsplit_once('.').unwrap();
    let first = if mac.starts_with('A') { 'B' } else { 'A' };
    Secret::new(format!("{head}.{first}{}", &mac[1..]))
}

testkit::on_both! { ROOMS;
    // I6
    async fn eight_holders_get_one_successor_each_time(world: &testkit::World) {
        let house = House::new(world);
        house.customer("storm@example.org").await;
        let mut token = house.app("storm@example.org").await.refresh;
        let mut seen = BTreeSet::from([token.expose().clone()]);
        for _ in 0..200 {
            let handed = race(&house, &token).await;
            assert_eq!(handed.len(), 1, "forked");
            let successor = handed.into_iter().next().unwrap();
            assert!(seen.insert(successor.clone()), "a token came back");
            token = Secret::new(successor);
            world.advance(Duration::from_secs(11));
        }
        assert!(house.events("identity.refresh_reused").await.is_empty());
        house.assert_log_holds().await;
    }

    async fn grace_is_for_the_direct_predecessor_only(world: &testkit::World) {
        let house = House::new(world);
        house.customer("grace@example.org").await;
        let first = house.app("grace@example.org").await.refresh;
        let second = house.room.refresh(&house.ctx(), &first).await.unwrap().refresh;
        world.advance(Duration::from_secs(10));
        let again = house.room.refresh(&house.ctx(), &first).await.unwrap().refresh;
        assert_eq!(again.expose(), second.expose());
        house.room.refresh(&house.ctx(), &second).await.unwrap();
        // the grandparent, though only moments ago its child was the present one
        let stolen = house.room.refresh(&house.ctx(), &first).await;
        assert!(matches!(stolen, Err(Error::RefreshReused)));
        let dead = house.room.refresh(&house.ctx(), &second).await;
        assert!(matches!(dead, Err(Error::RefreshRefused)));
    }

    async fn after_the_window_the_family_ends_and_no_other(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("thief@example.org").await;
        let phone = house.app("thief@example.org").await;
        let tablet = house.app("thief@example.org").await;
        let browser = house.sign_in("thief@example.org", crate::house::PASSWORD).await.unwrap();
        let next = house.room.refresh(&house.ctx(), &phone.refresh).await.unwrap();
        world.advance(Duration::from_secs(10) + TICK);
        let reused = house.room.refresh(&house.ctx(), &phone.refresh).await;
        assert!(matches!(reused, Err(Error::RefreshReused)));
        let dead = house.room.refresh(&house.ctx(), &next.refresh).await;
        assert!(matches!(dead, Err(Error::RefreshRefused)));
        // the signed token that is still out there is refused at the edge
        let revocations = house.hub.snapshot().revocations;
        assert_eq!(revocations.standing(phone.session, id, world.now()), Standing::Ended);
        assert_eq!(revocations.standing(tablet.session, id, world.now()), Standing::Live);
        assert!(house.room.refresh(&house.ctx(), &tablet.refresh).await.is_ok());
        assert!(house.lives(&browser).await);
        let told = house.events("identity.refresh_reused").await;
        assert_eq!(told.len(), 1);
        let event = told[0].parse::<identity::RefreshReused>().unwrap();
        assert_eq!((event.session, event.behind), (phone.session, 1));
        house.assert_log_holds().await;
    }

    async fn eight_thieves_at_once_are_told_of_once(world: &testkit::World) {
        let house = House::new(world);
        house.customer("thieves@example.org").await;
        let first = house.app("thieves@example.org").await.refresh;
        house.room.refresh(&house.ctx(), &first).await.unwrap();
        world.advance(Duration::from_secs(60));
        let outcomes = eight(|_| {
            let (room, ctx, token) = (house.room.clone(), house.ctx(), first.clone());
            async move { room.refresh(&ctx, &token).await }
        })
        .await;
        assert!(outcomes.iter().all(|outcome| {
            matches!(outcome, Err(Error::RefreshReused | Error::RefreshRefused))
        }));
        assert_eq!(house.events("identity.refresh_reused").await.len(), 1);
        house.assert_log_holds().await;
    }

    async fn the_owner_and_a_thief_at_once_leave_no_fork(world: &testkit::World) {
        let house = House::new(world);
        house.customer("both@example.org").await;
        for _ in 0..20 {
            let first = house.app("both@example.org").await.refresh;
            let second = house.room.refresh(&house.ctx(), &first).await.unwrap().refresh;
            world.advance(Duration::from_secs(11));
            let outcomes = eight(|number| {
                let (room, ctx) = (house.room.clone(), house.ctx());
                let token = if number % 2 == 0 { first.clone() } else { second.clone() };
                async move { room.refresh(&ctx, &token).await.map(|tokens| tokens.refresh) }
            })
            .await;
            let handed: BTreeSet<_> =
                outcomes.iter().flatten().map(|token| token.expose().clone()).collect();
            assert!(handed.len() <= 1, "forked");
            // whatever the order was, the family is over now
            for token in handed.into_iter().map(Secret::new).chain([first, second]) {
                assert!(house.room.refresh(&house.ctx(), &token).await.is_err());
            }
        }
        house.assert_log_holds().await;
    }

    async fn a_forged_token_ends_nothing(world: &testkit::World) {
        let house = House::new(world);
        house.customer("forged@example.org").await;
        let first = house.app("forged@example.org").await.refresh;
        let second = house.room.refresh(&house.ctx(), &first).await.unwrap().refresh;
        world.advance(Duration::from_secs(60));
        let later = second.expose().replacen(".2.", ".3.", 1);
        let nothing = Secret::new(String::new());
        for token in [forged(&first), forged(&second), Secret::new(later), nothing] {
            let refused = house.room.refresh(&house.ctx(), &token).await.unwrap_err();
            assert_eq!(refused.code(), "identity.refresh_refused");
        }
        assert!(house.room.refresh(&house.ctx(), &second).await.is_ok());
    }

    async fn a_family_that_nobody_uses_ends(world: &testkit::World) {
        let house = House::new(world);
        house.customer("idle@example.org").await;
        let day = Duration::from_secs(86_400);
        let first = house.app("idle@example.org").await.refresh;
        world.advance(day * 14);
        let second = house.room.refresh(&house.ctx(), &first).await.unwrap().refresh;
        world.advance(day * 14 + TICK);
        let late = house.room.refresh(&house.ctx(), &second).await;
        assert!(matches!(late, Err(Error::RefreshRefused)));
    }

    async fn a_token_given_back_ends_its_sign_in(world: &testkit::World) {
        let house = House::new(world);
        house.customer("back@example.org").await;
        let tokens = house.app("back@example.org").await;
        house.room.revoke(&house.ctx(), &forged(&tokens.refresh)).await.unwrap();
        house.room.revoke(&house.ctx(), &tokens.refresh).await.unwrap();
        house.room.revoke(&house.ctx(), &tokens.refresh).await.unwrap();
        let dead = house.room.refresh(&house.ctx(), &tokens.refresh).await;
        assert!(matches!(dead, Err(Error::RefreshRefused)));
        assert_eq!(house.events("identity.session_ended").await.len(), 1);
    }
}
