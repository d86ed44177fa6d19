//! Keys of services (A7): shown once, refused at once when revoked, good for their mode only.

use std::time::Duration;

use access::{Error, Mode, NewService, RevokedKeyUsed};
use kernel::Actor;
use tokio::task::JoinSet;

use crate::place::{Place, ROOMS, operator, rows_are_as_told, told};

fn new(name: &str, scopes: &[&str]) -> NewService {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    NewService { name: name.to_owned(), scopes }
}

testkit::on_both! { ROOMS;
    // A7
    async fn checked_used_revoked(world: &testkit::World) {
        let place = Place::new(world);
        let access = &place.access;
        let backend = new("backend", &["facts"]);
        let added = access.add_service(&operator(world), &backend).await.unwrap();
        let key = added.key.expose().clone();
        let visit = world.ctx(Actor::Nobody);
        let service = access.service_of(&key, &visit).await.unwrap().expect("known");
        assert_eq!(service.scopes, ["facts"]);
        assert_eq!(service.ctx.actor, Actor::Service { key: added.id });
        let list = access.services(None, 10).await.unwrap();
        assert_eq!((list[0].name.as_str(), list[0].mode.as_str()), ("backend", "test"));
        assert_eq!(list[0].used_at, Some(world.now()));
        // Noted to the minute.
        world.advance(Duration::from_secs(30));
        access.service_of(&key, &world.ctx(Actor::Nobody)).await.unwrap();
        assert_eq!(access.services(None, 10).await.unwrap()[0].used_at, Some(visit.now));
        world.advance(Duration::from_secs(31));
        access.service_of(&key, &world.ctx(Actor::Nobody)).await.unwrap();
        assert_eq!(access.services(None, 10).await.unwrap()[0].used_at, Some(world.now()));

        let mut wrong = vec![
            String::new(),
            "sdk_test_".to_owned(),
            key.replace("sdk_test_", "sdk_live_"),
            key.to_uppercase(),
            format!("{key}0"),
            key[..key.len() - 1].to_owned(),
            format!(" {key}"),
        ];
        // Each single letter changed: the checksum finds it without asking the database.
        for at in 9..key.len() {
            let other = if key.as_bytes()[at] == b'0' { "1" } else { "0" };
            let mut changed = key.clone();
            changed.replace_range(at..=at, other);
            wrong.push(changed);
        }
        for wrong in wrong {
            assert!(access.service_of(&wrong, &visit).await.unwrap().is_none(), "{wrong}");
        }

        access.revoke_service(&operator(world), added.id).await.unwrap();
        let visit = world.ctx(Actor::Nobody);
        for _ in 0..3 {
            assert!(access.service_of(&key, &visit).await.unwrap().is_none());
        }
        // Another node hears of it in the same minute.
        let other = Place::new(world);
        assert!(other.access.service_of(&key, &visit).await.unwrap().is_none());
        let used = told(world, "access.revoked_key_used").await;
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].parse::<RevokedKeyUsed>().unwrap().address, visit.origin.address);
        let twice = access.revoke_service(&operator(world), added.id).await;
        assert!(matches!(twice, Err(Error::NotFound)));
        assert_eq!(told(world, "access.service_added").await.len(), 1);
        assert_eq!(told(world, "access.service_revoked").await.len(), 1);
        rows_are_as_told(world).await;
    }

    // A7
    async fn a_key_of_the_other_mode_is_refused_even_where_it_is_stored(world: &testkit::World) {
        let test = Place::new(world);
        let live = Place::with(world, |parts| parts.mode = Mode::Live);
        let test_key = test.key(world, &["facts"]).await;
        let live_key = live.key(world, &["facts"]).await;
        assert!(live_key.starts_with("sdk_live_") && test_key.starts_with("sdk_test_"));
        let visit = world.ctx(Actor::Nobody);
        assert!(test.access.service_of(&live_key, &visit).await.unwrap().is_none());
        assert!(live.access.service_of(&test_key, &visit).await.unwrap().is_none());
        assert!(live.access.service_of(&live_key, &visit).await.unwrap().is_some());
    }

    // A7
    async fn nothing_stored_opens_the_door(world: &testkit::World) {
        let place = Place::new(world);
        let key = place.key(world, &["facts"]).await;
        let dump = format!("{:?}", world.copy_database().await);
        assert!(!dump.contains(&key) && !dump.contains(&key[9..30]));
    }

    async fn eight_revoke_at_once_and_one_does(world: &testkit::World) {
        let place = Place::new(world);
        let new = new("x", &["facts"]);
        let added = place.access.add_service(&operator(world), &new).await.unwrap();
        let mut racing = JoinSet::new();
        for _ in 0..8 {
            let (access, ctx) = (place.access.clone(), operator(world));
            racing.spawn(async move { access.revoke_service(&ctx, added.id).await.is_ok() });
        }
        let mut done = 0;
        while let Some(revoked) = racing.join_next().await {
            done += u32::from(revoked.unwrap());
        }
        assert_eq!(done, 1);
    }
}

#[test]
fn names_scopes_and_numbers_are_bounded() {
    testkit::World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        let long = "x".repeat(65);
        for (name, scopes) in [
            ("", &["facts"][..]),
            (" ", &["facts"]),
            (&long, &["facts"]),
            ("a\n", &["facts"]),
            ("a", &[]),
            ("a", &["all"]),
        ] {
            let refused = place.access.add_service(&operator(world), &new(name, scopes)).await;
            assert!(matches!(refused, Err(Error::Fields(_))), "{name} {scopes:?}");
        }
        for _ in 0..200 {
            place.key(world, &["facts", "reports", "facts"]).await;
        }
        let refused = place.access.add_service(&operator(world), &new("a", &["facts"])).await;
        assert!(matches!(refused, Err(Error::TooManyServices(200))));
    });
}
