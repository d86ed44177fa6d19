//! Signing in: budgets, equal answers, equal costs.

use std::time::Duration;

use identity::{
    ChangePassword, Client, Error, IdentityConfig, LockAccount, PasswordConfig, SignIn,
    SignInFailure, StaffRole,
};
use kernel::{Actor, Refusal as _, Secret};
use web::feed::Minter as _;

use crate::house::{House, OTHER, PASSWORD, ROOMS, config, eight, sign_in};
use crate::session::facts;

/// What an outsider sees of a refusal.
fn seen(error: &Error) -> (String, &'static str, String) {
    (format!("{:?}", error.kind()), error.code(), error.refused().detail)
}

testkit::on_both! { ROOMS;
    // I1
    async fn every_refusal_looks_and_costs_the_same(world: &testkit::World) {
        let house = House::new(world);
        house.customer("right@example.org").await;
        house.sign_up("unverified@example.org").await.unwrap();
        let locked = house.customer("locked@example.org").await;
        let operator = world.ctx(Actor::Operator { id: None });
        let command = LockAccount { account: locked, reason: "a test".to_owned() };
        house.room.lock_account(&operator, command).await.unwrap();
        let cases = [
            ("nobody@example.org", PASSWORD, SignInFailure::UnknownAddress),
            ("right@example.org", OTHER, SignInFailure::WrongPassword),
            ("unverified@example.org", PASSWORD, SignInFailure::NotReady),
            ("locked@example.org", PASSWORD, SignInFailure::Locked),
            ("locked@example.org", OTHER, SignInFailure::WrongPassword),
        ];
        let mut answers = Vec::new();
        for (email, password, _) in cases {
            let before = house.room.hasher().done();
            let refused = house.sign_in(email, password).await.unwrap_err();
            assert_eq!(house.room.hasher().done() - before, 1, "{email}");
            answers.push(seen(&refused));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        let told = house.events("identity.login_failed").await;
        let mut reasons = Vec::new();
        for event in &told {
            let reason = event.parse::<identity::LoginFailed>().unwrap().reason;
            // persons unknown stand under the day's key, others under their own
            assert_eq!(event.account().is_none(), reason == SignInFailure::UnknownAddress);
            assert_eq!(event.origin().address, house.ctx().origin.address);
            reasons.push(reason);
        }
        reasons.sort_unstable();
        let mut expected = cases.map(|(_, _, reason)| reason);
        expected.sort_unstable();
        assert_eq!(reasons, expected);
    }

    // I4
    async fn guesses_at_one_account_are_slowed_down(world: &testkit::World) {
        let house = House::new(world);
        house.customer("target@example.org").await;
        let inside = house.sign_in("target@example.org", PASSWORD).await.unwrap();
        let mut limited = 0;
        for number in 0..20 {
            // each guess from another client
            let ctx = house.ctx_from(number);
            let guess = house.room.sign_in(&ctx, sign_in("target@example.org", OTHER)).await;
            limited += usize::from(matches!(guess, Err(Error::Limited { .. })));
        }
        assert_eq!(limited, 10);
        // who is inside stays inside, and can act with the password there
        assert!(house.lives(&inside).await);
        let command = ChangePassword {
            account: inside.account,
            session: inside.session,
            old: Secret::new(PASSWORD.to_owned()),
            new: Secret::new(OTHER.to_owned()),
        };
        house.room.change_password(&house.ctx(), command).await.unwrap();
        // one more is granted after a while
        world.advance(Duration::from_secs(90));
        assert!(house.sign_in("target@example.org", OTHER).await.is_ok());
    }

    // I4
    async fn guesses_at_the_shop_do_not_keep_operators_out(world: &testkit::World) {
        let house = House::new(world);
        house.staff("grace@example.org", &[StaffRole::Admin]).await;
        let mut limited = 0;
        for _ in 0..40 {
            let guess = house.sign_in("grace@example.org", OTHER).await;
            limited += usize::from(matches!(guess, Err(Error::Limited { .. })));
        }
        assert_eq!(limited, 30);
        // the same address of the same client, at the console
        let command = SignIn { client: Client::Console, ..sign_in("grace@example.org", PASSWORD) };
        assert!(house.room.sign_in(&house.ctx(), command).await.is_ok());
    }

    async fn an_unknown_address_is_slowed_down_just_the_same(world: &testkit::World) {
        let house = House::new(world);
        let mut waits = Vec::new();
        for number in 0..11 {
            let ctx = house.ctx_from(number);
            let guess = house.room.sign_in(&ctx, sign_in("nobody@example.org", OTHER)).await;
            if let Err(Error::Limited { retry_after_s }) = guess {
                waits.push(retry_after_s);
            }
        }
        assert_eq!(waits, [91]);
    }

    // I4
    async fn one_client_cannot_spray_over_many_accounts(world: &testkit::World) {
        let house = House::new(world);
        let mut limited = 0;
        for number in 0..40 {
            let email = format!("user{number}@example.org");
            let guess = house.sign_in(&email, "winter kettle on fire").await;
            limited += usize::from(matches!(guess, Err(Error::Limited { .. })));
        }
        assert_eq!(limited, 10);
        // another client is not held to it
        let command = sign_in("u@example.org", OTHER);
        let other = house.room.sign_in(&house.ctx_from(9), command).await;
        assert!(matches!(other, Err(Error::SignInRefused)));
    }

    async fn right_passwords_cost_no_budget(world: &testkit::World) {
        let house = House::new(world);
        house.customer("often@example.org").await;
        for _ in 0..40 {
            house.sign_in("often@example.org", PASSWORD).await.unwrap();
        }
    }

    async fn budgets_hold_when_eight_guess_at_once(world: &testkit::World) {
        let house = House::new(world);
        house.customer("raced@example.org").await;
        let mut limited = 0;
        for round in 0..2 {
            let outcomes = eight(|number| {
                let (room, ctx) = (house.room.clone(), house.ctx_from(round * 8 + number));
                async move { room.sign_in(&ctx, sign_in("raced@example.org", OTHER)).await }
            })
            .await;
            limited +=
                outcomes.iter().filter(|o| matches!(o, Err(Error::Limited { .. }))).count();
        }
        assert_eq!(limited, 6);
    }

    async fn a_hash_of_older_costs_is_made_anew(world: &testkit::World) {
        let old = House::new(world);
        old.customer("rehash@example.org").await;
        let password = PasswordConfig { passes: 2, ..config().password };
        let new = House::with(world, IdentityConfig { password, ..config() });
        let before = new.room.hasher().done();
        new.sign_in("rehash@example.org", PASSWORD).await.unwrap();
        assert_eq!(new.room.hasher().done() - before, 2);
        new.sign_in("rehash@example.org", PASSWORD).await.unwrap();
        assert_eq!(new.room.hasher().done() - before, 3);
        new.assert_log_holds().await;
    }

    async fn the_console_lets_in_staff_only(world: &testkit::World) {
        let house = House::new(world);
        house.customer("customer@example.org").await;
        house.staff("grace@example.org", &[StaffRole::Support]).await;
        let at_console =
            |email: &str| SignIn { client: Client::Console, ..sign_in(email, PASSWORD) };
        let refused = house.room.sign_in(&house.ctx(), at_console("customer@example.org")).await;
        assert!(matches!(refused, Err(Error::NotStaff)));
        let opened =
            house.room.sign_in(&house.ctx(), at_console("grace@example.org")).await.unwrap();
        let live = house.room.session_of_secret(&house.ctx(), opened.secret.expose()).await;
        assert_eq!(live.unwrap().unwrap().roles, [StaffRole::Support]);
        // a session of the console opens nothing in the shop, and becomes no token of the shop
        assert!(house.room.mint(opened.secret.expose(), &facts()).await.is_none());
        let mut browser = house.browser();
        let secret = opened.secret.expose().clone();
        browser.cookies.insert(identity::SESSION_COOKIE.to_owned(), secret);
        let page = browser.get("/auth/account").await;
        assert_eq!(page.location(), "/auth/sign-in?next=%2Fauth%2Faccount");
    }

    async fn eight_sign_ins_at_once_are_eight_sessions(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("eight@example.org").await;
        let outcomes = eight(|_| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            async move { room.sign_in(&ctx, sign_in("eight@example.org", PASSWORD)).await }
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(house.room.sessions(&house.ctx(), id, None).await.unwrap().len(), 8);
        house.assert_log_holds().await;
    }
}
