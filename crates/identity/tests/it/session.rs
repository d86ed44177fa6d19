//! Sessions: their lives, their ends, their tokens, and what the edge is told.

use std::time::Duration;

use identity::{
    Admission, Claims, EndReason, Error, IdentityConfig, LockAccount, Opened, SessionConfig,
    SessionView,
};
use kernel::{Actor, Secret, SessionId};
use web::ClientFacts;
use web::feed::{Delta, Minter as _, Standing};

use crate::house::{House, OTHER, PASSWORD, ROOMS, config, eight, sign_in};

const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_micros(1);

pub(crate) fn facts() -> ClientFacts {
    ClientFacts {
        address: std::net::IpAddr::from([203, 0, 113, 7]),
        agent: None,
        fingerprint: None,
        https: true,
    }
}

/// Reads a token's claims without checking it.
fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).expect("claims");
    let mut bits = 0_u32;
    let mut held = 0;
    let mut bytes = Vec::new();
    for letter in payload.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            other => panic!("{other}"),
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    serde_json::from_slice(&bytes).expect("claims")
}

testkit::on_both! { ROOMS;
    async fn a_session_ends_without_use_and_in_any_case(world: &testkit::World) {
        let house = House::new(world);
        house.customer("life@example.org").await;
        let idle = house.sign_in("life@example.org", PASSWORD).await.unwrap();
        world.advance(DAY * 14);
        assert!(house.lives(&idle).await);
        world.advance(DAY * 14 + TICK);
        assert!(!house.lives(&idle).await);
        let used = house.sign_in("life@example.org", PASSWORD).await.unwrap();
        for _ in 0..8 {
            world.advance(DAY * 10);
            assert!(house.lives(&used).await);
        }
        world.advance(DAY * 10 - TICK);
        assert!(house.lives(&used).await);
        world.advance(TICK);
        assert!(!house.lives(&used).await);
    }

    async fn the_owner_sees_and_ends_them_one_by_one(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("list@example.org").await;
        let here = house.sign_in("list@example.org", PASSWORD).await.unwrap();
        let elsewhere = house.ctx_from(9);
        let command = sign_in("list@example.org", PASSWORD);
        let there = house.room.sign_in(&elsewhere, command).await.unwrap().inside().unwrap();
        let listed = house.room.sessions(&house.ctx(), id, Some(here.session)).await.unwrap();
        let shown: Vec<_> = listed
            .iter()
            .map(|SessionView { current, address, agent, .. }| {
                (*current, address.as_deref().unwrap(), agent.as_deref().unwrap())
            })
            .collect();
        assert_eq!(shown, [(false, "198.51.100.9", "testkit"), (true, "203.0.113.7", "testkit")]);
        let of = (id, there.session);
        house.room.end_session(&house.ctx(), of, EndReason::EndedByOwner).await.unwrap();
        assert!(!house.lives(&there).await);
        assert!(house.lives(&here).await);
        let again = house.room.end_session(&house.ctx(), of, EndReason::EndedByOwner).await;
        assert!(matches!(again, Err(Error::NotFound)));
        // another's session is none
        let other = house.customer("other@example.org").await;
        let foreign = (other, here.session);
        let refused = house.room.end_session(&house.ctx(), foreign, EndReason::EndedByOwner).await;
        assert!(matches!(refused, Err(Error::NotFound)));
        assert!(house.lives(&here).await);
        house.assert_log_holds().await;
    }

    // I7
    async fn the_edge_is_told_at_once_and_a_cold_node_too(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("edge@example.org").await;
        let ended = house.sign_in("edge@example.org", PASSWORD).await.unwrap();
        let kept = house.sign_in("edge@example.org", PASSWORD).await.unwrap();
        let of = (id, ended.session);
        house.room.end_session(&house.ctx(), of, EndReason::SignedOut).await.unwrap();
        let standing = |session: SessionId| {
            house.hub.snapshot().revocations.standing(session, id, world.now())
        };
        assert_eq!(standing(ended.session), Standing::Ended);
        assert_eq!(standing(kept.session), Standing::Live);
        let cold = house.room.revocations(world.now()).await.unwrap();
        assert_eq!(cold.len(), 1);
        assert!(matches!(cold[0], Delta::SessionEnded { session, .. } if session == ended.session));
        house.room.end_sessions(&house.ctx(), id, None, EndReason::Operator).await.unwrap();
        assert_eq!(standing(kept.session), Standing::Ended);
        assert_eq!(house.room.revocations(world.now()).await.unwrap().len(), 3);
        // a program beside finds what is new to it
        assert_eq!(house.room.revocations_since(world.now()).await.unwrap().len(), 0);
        world.advance(Duration::from_secs(9));
        let since = world.now().minus(Duration::from_secs(10));
        assert_eq!(house.room.revocations_since(since).await.unwrap().len(), 3);
        // once no token can look alive any more, nothing is left to tell
        world.advance(Duration::from_secs(361));
        assert!(house.room.revocations(world.now()).await.unwrap().is_empty());
        let later = house.sign_in("edge@example.org", PASSWORD).await.unwrap();
        assert_eq!(standing(later.session), Standing::Live);
    }

    async fn a_token_is_minted_while_the_session_lives(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("mint@example.org").await;
        let opened = house.sign_in("mint@example.org", PASSWORD).await.unwrap();
        let secret = opened.secret.expose();
        let minted = house.room.mint(secret, &facts()).await.unwrap();
        let said = claims(&minted.token);
        assert_eq!((said.sub, said.sid), (id, opened.session));
        assert_eq!(said.exp - said.iat, 300);
        assert_eq!(minted.expires.seconds(), said.exp);
        assert_eq!(said.iss, "https://shop.test");
        assert!(house.room.mint("no secret of ours", &facts()).await.is_none());
        let near_the_end = opened.ends_at.minus(Duration::from_secs(100));
        for _ in 0..8 {
            world.advance(DAY * 10);
            assert!(house.room.mint(secret, &facts()).await.is_some());
        }
        world.clock.set(near_the_end);
        let last = house.room.mint(secret, &facts()).await.unwrap();
        assert_eq!(last.expires.seconds(), opened.ends_at.seconds());
        house.room.end_sessions(&house.ctx(), id, None, EndReason::SignedOut).await.unwrap();
        assert!(house.room.mint(secret, &facts()).await.is_none());
    }

    // I7: the password was right, then everything ended, then the session would open
    async fn a_sign_in_that_was_half_way_is_over(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("half@example.org").await;
        let outcomes = eight(|number| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            async move {
                if number == 4 {
                    room.end_sessions(&ctx, id, None, EndReason::Operator).await.map(|_| None)
                } else {
                    room.sign_in(&ctx, sign_in("half@example.org", PASSWORD)).await.map(Admission::inside)
                }
            }
        })
        .await;
        let listed = house.room.sessions(&house.ctx(), id, None).await.unwrap();
        for opened in outcomes.into_iter().flatten().flatten() {
            let lives = house.lives(&opened).await;
            assert_eq!(lives, listed.iter().any(|view| view.id == opened.session));
        }
        // and from now on nothing old comes back
        house.room.end_sessions(&house.ctx(), id, None, EndReason::Operator).await.unwrap();
        assert!(house.room.sessions(&house.ctx(), id, None).await.unwrap().is_empty());
        house.assert_log_holds().await;
    }

    async fn the_number_of_sessions_is_bounded(world: &testkit::World) {
        let session = SessionConfig { per_account_max: 3, ..SessionConfig::default() };
        let house = House::with(world, IdentityConfig { session, ..config() });
        let id = house.customer("many@example.org").await;
        let first = house.sign_in("many@example.org", PASSWORD).await.unwrap();
        for _ in 0..3 {
            world.advance(Duration::from_secs(1));
            house.sign_in("many@example.org", PASSWORD).await.unwrap();
        }
        assert!(!house.lives(&first).await);
        assert_eq!(house.room.sessions(&house.ctx(), id, None).await.unwrap().len(), 3);
        house.assert_log_holds().await;
    }

    // I8
    async fn a_session_that_proved_its_password_goes_on_as_another(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("fresh@example.org").await;
        let opened = house.sign_in("fresh@example.org", PASSWORD).await.unwrap();
        let fresh = async |opened: &Opened| {
            let found = house.room.session_of_secret(&house.ctx(), opened.secret.expose()).await;
            house.room.is_fresh(&house.ctx(), &found.unwrap().unwrap())
        };
        assert!(fresh(&opened).await);
        world.advance(Duration::from_secs(1));
        house.room.ask_again(&world.ctx(Actor::Operator { id: None }), id).await.unwrap();
        assert!(!fresh(&opened).await);
        let confirm = |session: SessionId, text: &str| identity::ConfirmPassword {
            account: id,
            session,
            password: Secret::new(text.to_owned()),
        };
        let wrong = confirm(opened.session, OTHER);
        let wrong = house.room.confirm_password(&house.ctx(), wrong).await;
        assert!(matches!(wrong, Err(Error::PasswordWrong { .. })));
        let stolen = house.room.mint(opened.secret.expose(), &facts()).await.unwrap();
        let right = confirm(opened.session, PASSWORD);
        let renewed = house.room.confirm_password(&house.ctx(), right).await.unwrap().opened;
        assert!(fresh(&renewed).await);
        assert_eq!(renewed.ends_at, opened.ends_at);
        // a thief of the cookie is out, and of the signed token, too
        assert!(!house.lives(&opened).await);
        assert!(house.room.mint(opened.secret.expose(), &facts()).await.is_none());
        let sid = claims(&stolen.token).sid;
        let standing = house.hub.snapshot().revocations.standing(sid, id, world.now());
        assert_eq!(standing, Standing::Ended);
        // of all who hold the old session at one moment, one goes on
        let outcomes = eight(|_| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            let command = confirm(renewed.session, PASSWORD);
            async move { room.confirm_password(&ctx, command).await.map(|renewed| renewed.opened) }
        })
        .await;
        let ones: Vec<&Opened> = outcomes.iter().flatten().collect();
        assert_eq!(ones.len(), 1, "{outcomes:?}");
        let last = ones[0];
        let listed = house.room.sessions(&house.ctx(), id, None).await.unwrap();
        assert_eq!(listed.len(), 1);
        world.advance(Duration::from_secs(600));
        assert!(fresh(last).await);
        world.advance(Duration::from_secs(1));
        assert!(!fresh(last).await);
        // what was guessed inside is told as what was guessed at the door
        let told = house.events("identity.password_refused").await;
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].account(), told[0].origin().address), (Some(id), house.ctx().origin.address));
        assert_eq!(told[0].plain["client"], "browser");
        house.assert_log_holds().await;
    }

    async fn a_locked_account_has_no_session(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("lock@example.org").await;
        let opened = house.sign_in("lock@example.org", PASSWORD).await.unwrap();
        let operator = world.ctx(Actor::Operator { id: None });
        let lock = || LockAccount { account: id, reason: "a test".to_owned() };
        assert_eq!(house.room.lock_account(&operator, lock()).await.unwrap(), 1);
        assert!(!house.lives(&opened).await);
        let twice = house.room.lock_account(&operator, lock()).await;
        assert!(matches!(twice, Err(Error::State(_))));
        house.room.unlock_account(&operator, id).await.unwrap();
        assert!(!house.lives(&opened).await);
        assert!(house.sign_in("lock@example.org", PASSWORD).await.is_ok());
        house.assert_log_holds().await;
    }
}
