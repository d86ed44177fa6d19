//! Signing up and verifying an address.

use std::time::Duration;

use identity::{AccountKind, AccountState, Error, SignUp, VerifyEmail};
use kernel::{Refusal as _, Secret};

use crate::house::{House, OTHER, PASSWORD, ROOMS, eight, secret_in, sign_in, sign_up, verify};

testkit::on_both! { ROOMS;
    async fn a_customer_signs_up_verifies_and_signs_in(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("Ada@Example.org").await.unwrap();
        // I2: no password, no way in, before the link was used
        let early = house.sign_in("ada@example.org", PASSWORD).await;
        assert!(matches!(early, Err(Error::SignInRefused)));
        let secret = house.link("Ada@example.org").await;
        let id = house.verify(secret).await.unwrap();
        let opened = house.sign_in("ADA@example.org", PASSWORD).await.unwrap();
        assert_eq!(opened.account, id);
        assert!(house.lives(&opened).await);
        let account = house.room.account(id).await.unwrap();
        assert_eq!(account.email.as_deref(), Some("Ada@example.org"));
        assert_eq!(account.name.as_deref(), Some("Ada"));
        assert_eq!((account.kind, account.state), (AccountKind::Customer, AccountState::Active));
        // at one moment, the order of leaves is no promise
        let mut kinds = house.kinds().await;
        kinds.sort();
        assert_eq!(
            kinds,
            [
                "identity.email_verified",
                "identity.login_failed",
                "identity.login_succeeded",
                "identity.signed_up",
            ]
        );
        house.assert_log_holds().await;
    }

    // I1
    async fn a_known_and_an_unknown_address_cost_and_answer_the_same(world: &testkit::World) {
        let house = House::new(world);
        house.customer("known@example.org").await;
        let before = house.room.hasher().done();
        house.sign_up("known@example.org").await.unwrap();
        house.sign_up("unknown@example.org").await.unwrap();
        // nobody makes the house hash by typing an address
        assert_eq!(house.room.hasher().done(), before);
        let told = house.letters("known@example.org").await;
        assert_eq!(told.len(), 2);
        assert!(told[1].subject.contains("already"));
        // one letter each, so that a mail server's queue tells nothing
        assert_eq!(house.letters("unknown@example.org").await.len(), 1);
        // nothing was changed for the owner
        assert!(house.sign_in("known@example.org", PASSWORD).await.is_ok());
    }

    // I2: somebody signs up with another's address, and its owner takes the link for the own
    async fn whoever_began_a_sign_up_knows_nothing_that_opens_the_account(world: &testkit::World) {
        let house = House::new(world);
        let email = "victim@example.org";
        let command = SignUp { name: "Mallory".to_owned(), ..sign_up(email) };
        house.room.sign_up(&house.ctx_from(66), command).await.unwrap();
        house.sign_up(email).await.unwrap();
        let letters = house.letters(email).await;
        assert_eq!(letters.len(), 2);
        // the owner opens the stranger's letter, and chooses the password there
        let id = house.verify(secret_in(&letters[0])).await.unwrap();
        assert_eq!(house.sign_in(email, PASSWORD).await.unwrap().account, id);
        for guess in [OTHER, "", "Mallory"] {
            assert!(house.sign_in(email, guess).await.is_err(), "{guess}");
        }
        // the other link is spent with it: nobody chooses a second time
        let password = Secret::new(OTHER.to_owned());
        let again = VerifyEmail { secret: secret_in(&letters[1]), password };
        let spent = house.room.verify_email(&house.ctx(), again).await;
        assert!(matches!(spent, Err(Error::LinkSpent)));
        // no password stands in the house before one is chosen
        let dump = format!("{:?}", house.events("identity.signed_up").await);
        assert!(!dump.contains("password"));
    }

    async fn a_password_that_is_not_taken_leaves_the_link_good(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("weak@example.org").await.unwrap();
        let secret = house.link("weak@example.org").await;
        let password = Secret::new("password123".to_owned());
        let command = VerifyEmail { secret: secret.clone(), password };
        let weak = house.room.verify_email(&house.ctx(), command).await.unwrap_err();
        let fields: Vec<_> = weak.refused().fields.into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["password"]);
        house.room.look_at_verify(&house.ctx(), &secret).await.unwrap();
        house.verify(secret).await.unwrap();
        assert!(house.sign_in("weak@example.org", PASSWORD).await.is_ok());
    }

    // I5
    async fn a_link_works_once_for_its_time(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("late@example.org").await.unwrap();
        let secret = house.link("late@example.org").await;
        world.advance(Duration::from_secs(86_400));
        let late = house.verify(secret).await;
        assert!(matches!(late, Err(Error::LinkSpent)));
        house.sign_up("late@example.org").await.unwrap();
        let secret = house.link("late@example.org").await;
        world.advance(Duration::from_secs(86_400) - Duration::from_micros(1));
        let command = || verify(secret.clone());
        house.room.verify_email(&house.ctx(), command()).await.unwrap();
        let twice = house.room.verify_email(&house.ctx(), command()).await;
        assert!(matches!(twice, Err(Error::LinkSpent)));
        // a reset link is another purpose's
        let as_reset = house.room.look_at_reset(&house.ctx(), &secret).await;
        assert!(matches!(as_reset, Err(Error::LinkSpent)));
    }

    async fn one_link_raced_by_eight_verifies_once(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("race@example.org").await.unwrap();
        let secret = house.link("race@example.org").await;
        let outcomes = eight(|_| {
            let (room, ctx, secret) = (house.room.clone(), house.ctx(), secret.clone());
            async move { room.verify_email(&ctx, verify(secret)).await }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let refused = outcomes.iter().filter(|o| matches!(o, Err(Error::LinkSpent))).count();
        assert_eq!(refused, 7, "{outcomes:?}");
        assert_eq!(house.events("identity.email_verified").await.len(), 1);
        house.assert_log_holds().await;
    }

    async fn one_address_raced_by_eight_becomes_one_account(world: &testkit::World) {
        let house = House::new(world);
        let outcomes = eight(|number| {
            let (room, ctx) = (house.room.clone(), house.ctx_from(number));
            async move { room.sign_up(&ctx, sign_up("race@example.org")).await }
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(house.events("identity.signed_up").await.len(), 1);
        let secret = house.link("race@example.org").await;
        house.verify(secret).await.unwrap();
        assert!(house.sign_in("race@example.org", PASSWORD).await.is_ok());
        house.assert_log_holds().await;
    }

    async fn letters_to_one_address_are_limited_and_nobody_is_told(world: &testkit::World) {
        let house = House::new(world);
        for number in 0..6 {
            let ctx = house.ctx_from(number);
            house.room.sign_up(&ctx, sign_up("flood@example.org")).await.unwrap();
        }
        assert_eq!(house.letters("flood@example.org").await.len(), 3);
        world.advance(Duration::from_secs(600));
        house.sign_up("flood@example.org").await.unwrap();
        assert_eq!(house.letters("flood@example.org").await.len(), 4);
    }

    async fn one_client_cannot_open_accounts_without_end(world: &testkit::World) {
        let house = House::new(world);
        let mut limited = 0;
        for number in 0..25 {
            let email = format!("many{number}@example.org");
            match house.sign_up(&email).await {
                Ok(()) => {}
                Err(Error::Limited { retry_after_s }) => {
                    assert!((1..=31).contains(&retry_after_s));
                    limited += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(limited, 5);
    }
}

testkit::on_both! { ROOMS;
    async fn every_wrong_field_is_told_at_once(world: &testkit::World) {
        let house = House::new(world);
        let command = SignUp {
            kind: AccountKind::Staff,
            email: "nobody".to_owned(),
            name: " ".to_owned(),
        };
        let refused = house.room.sign_up(&house.ctx(), command).await.unwrap_err();
        let fields: Vec<_> = refused.refused().fields.into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["kind", "email", "name"]);
        assert!(house.kinds().await.is_empty());
        let nobody = house.room.sign_in(&house.ctx(), sign_in("a@example.org", PASSWORD)).await;
        assert!(matches!(nobody, Err(Error::SignInRefused)));
    }
}
