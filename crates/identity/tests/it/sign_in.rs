//! Signing in: budgets, equal answers, equal costs.

use std::time::Duration;

use identity::{
    AttemptConfig, Budget, ChangePassword, Client, Error, IdentityConfig, LockAccount,
    PasswordConfig, SignIn, SignInFailure, StaffRole,
};
use kernel::{AccountId, Actor, Refusal as _, Secret};
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
        // from one client
        assert_eq!(house.guess("target@example.org", &[66], 20).await, 10);
        // from wherever: 90 more in all, however many clients come
        let clients: Vec<u8> = (100..120).collect();
        assert_eq!(house.guess("target@example.org", &clients, 200).await, 110);
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

    // I4: the most that anybody can guess at one account in a day, as SECURITY.md says
    async fn guesses_of_a_day_are_bounded(world: &testkit::World) {
        let password = PasswordConfig { wait_max_ms: 60_000, ..config().password };
        let budget = |burst, refill_s| Budget { burst, refill_s };
        // the same as by default, but for the hour instead of the day
        let attempts = AttemptConfig {
            account: budget(10, 360), client: budget(1_000, 1), ..AttemptConfig::default()
        };
        let house = House::with(world, IdentityConfig { password, attempts, ..config() });
        house.customer("day@example.org").await;
        let mut judged = 0;
        for round in 0..60_u8 {
            for client in 0..3 {
                let from = [round.wrapping_mul(4).wrapping_add(client)];
                judged += 1 - house.guess("day@example.org", &from, 1).await;
            }
            world.advance(Duration::from_secs(60));
        }
        // burst + span / refill
        assert_eq!(judged, 10 + 3_600 / 360 - 1);
    }

    // I4
    async fn strangers_cannot_keep_the_owner_out_of_a_known_browser(world: &testkit::World) {
        let house = House::new(world);
        let email = "owner@example.org";
        let id = house.customer(email).await;
        let token = house.room.device_token(&house.ctx(), id).await.unwrap();
        // the attacker is behind the owner's own address, too
        assert!(house.guess(email, &[], 40).await > 0);
        let clients: Vec<u8> = (100..140).collect();
        assert!(house.guess(email, &clients, 300).await > 200);
        let known = |token: &Secret<String>| SignIn {
            device: Some(token.clone()), ..sign_in(email, PASSWORD)
        };
        let shut = house.sign_in(email, PASSWORD).await;
        assert!(matches!(shut, Err(Error::Limited { .. })), "{shut:?}");
        let inside = house.room.sign_in(&house.ctx(), known(&token)).await.unwrap();
        assert!(inside.inside().is_some());
        // not with a token of another account, an altered one, or one that is too old
        let other = house.customer("other@example.org").await;
        let other = house.room.device_token(&house.ctx(), other).await.unwrap();
        let mut altered = token.expose().clone();
        altered.replace_range(3..4, if altered.as_bytes()[3] == b'A' { "B" } else { "A" });
        for token in [other, Secret::new(altered), Secret::new(String::new())] {
            let refused = house.room.sign_in(&house.ctx(), known(&token)).await;
            assert!(matches!(refused, Err(Error::Limited { .. })), "{refused:?}");
        }
        // whoever stole the token has ten guesses, and then a stranger's
        let thief = house.ctx_from(9);
        let mut limited = 0;
        for _ in 0..20 {
            let guess = SignIn { password: Secret::new(OTHER.to_owned()), ..known(&token) };
            let guess = house.room.sign_in(&thief, guess).await;
            limited += usize::from(matches!(guess, Err(Error::Limited { .. })));
        }
        assert_eq!(limited, 10);
        world.advance(Duration::from_secs(180 * 86_400 + 1));
        assert!(house.guess(email, &[], 40).await > 0);
        let old = house.room.sign_in(&house.ctx(), known(&token)).await;
        assert!(matches!(old, Err(Error::Limited { .. })), "{old:?}");
    }

    // I4
    async fn devices_of_an_earlier_password_are_strangers(world: &testkit::World) {
        let house = House::new(world);
        let email = "owner@example.org";
        let account = house.customer(email).await;
        let token = house.room.device_token(&house.ctx(), account).await.unwrap();
        let known = |password: &str| SignIn {
            device: Some(token.clone()), ..sign_in(email, password)
        };
        let clients: Vec<u8> = (100..140).collect();
        assert!(house.guess(email, &clients, 300).await == 200);
        let opened = house.room.sign_in(&house.ctx(), known(PASSWORD)).await.unwrap();
        let opened = opened.inside().unwrap();
        let change = ChangePassword {
            account,
            session: opened.session,
            old: Secret::new(PASSWORD.to_owned()),
            new: Secret::new(OTHER.to_owned()),
        };
        house.room.change_password(&house.ctx(), change).await.unwrap();
        let stranger = house.room.sign_in(&house.ctx(), known(OTHER)).await;
        assert!(matches!(stranger, Err(Error::Limited { .. })), "{stranger:?}");
        let nobody = AccountId::from_bytes([9; 16]);
        let nobody = house.room.device_token(&house.ctx(), nobody).await;
        assert!(matches!(nobody, Err(Error::NotFound)), "{nobody:?}");
    }

    // I4: one network that guesses does not keep an owner on another out, known or not
    async fn one_attacker_does_not_keep_a_new_browser_out(world: &testkit::World) {
        let house = House::new(world);
        house.customer("new@example.org").await;
        assert_eq!(house.guess("new@example.org", &[66], 40).await, 30);
        assert!(house.sign_in("new@example.org", PASSWORD).await.is_ok());
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
        for _ in 0..11 {
            let guess = house.sign_in("nobody@example.org", OTHER).await;
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
        for _ in 0..2 {
            let outcomes = eight(|_| {
                let (room, ctx) = (house.room.clone(), house.ctx());
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
        // nobody learns there that the address has an account, nor that the password was right
        let mut answers = Vec::new();
        for (email, password) in [
            ("customer@example.org", PASSWORD),
            ("customer@example.org", OTHER),
            ("grace@example.org", OTHER),
            ("nobody@example.org", PASSWORD),
        ] {
            let before = house.room.hasher().done();
            let password = Secret::new(password.to_owned());
            let command = SignIn { password, ..at_console(email) };
            let refused = house.room.sign_in(&house.ctx(), command).await.unwrap_err();
            assert_eq!(house.room.hasher().done() - before, 1, "{email}");
            answers.push(seen(&refused));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        let told = house.events("identity.login_failed").await;
        let reasons = told.iter().map(|event| event.parse::<identity::LoginFailed>().unwrap());
        assert!(reasons.map(|event| event.reason).any(|reason| reason == SignInFailure::NotStaff));
        // and a right password of a customer is charged like any guess
        for _ in 0..8 {
            house.room.sign_in(&house.ctx(), at_console("customer@example.org")).await.unwrap_err();
        }
        let spent = house.room.sign_in(&house.ctx(), at_console("customer@example.org")).await;
        assert!(matches!(spent, Err(Error::Limited { .. })));
        let opened =
            house.room.sign_in(&house.ctx(), at_console("grace@example.org")).await.unwrap();
        let opened = opened.inside().unwrap();
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
