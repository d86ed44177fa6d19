//! A forgotten password.

use std::time::Duration;

use identity::{Error, ForgotPassword, ResetPassword};
use kernel::Secret;

use crate::house::{House, OTHER, PASSWORD, ROOMS, eight};

fn forgot(email: &str) -> ForgotPassword {
    ForgotPassword { email: email.to_owned() }
}

fn reset(secret: &Secret<String>, password: &str) -> ResetPassword {
    ResetPassword { secret: secret.clone(), password: Secret::new(password.to_owned()) }
}

testkit::on_both! { ROOMS;
    // I8
    async fn a_reset_ends_every_session(world: &testkit::World) {
        let house = House::new(world);
        house.customer("reset@example.org").await;
        let browser = house.sign_in("reset@example.org", PASSWORD).await.unwrap();
        let app = house.app("reset@example.org").await;
        house.room.forgot_password(&house.ctx(), forgot("reset@example.org")).await.unwrap();
        let secret = house.link("reset@example.org").await;
        house.room.look_at_reset(&house.ctx(), &secret).await.unwrap();
        // a password that is not taken leaves the link good
        let weak = house.room.reset_password(&house.ctx(), reset(&secret, "password123")).await;
        assert!(matches!(weak, Err(Error::Invalid(_))));
        house.room.reset_password(&house.ctx(), reset(&secret, OTHER)).await.unwrap();
        assert!(!house.lives(&browser).await);
        assert!(house.room.refresh(&house.ctx(), &app.refresh).await.is_err());
        assert!(matches!(
            house.sign_in("reset@example.org", PASSWORD).await,
            Err(Error::SignInRefused)
        ));
        assert!(house.sign_in("reset@example.org", OTHER).await.is_ok());
        let subjects: Vec<_> = house
            .letters("reset@example.org")
            .await
            .into_iter()
            .map(|mail| mail.subject)
            .collect();
        assert_eq!(
            subjects,
            [
                "Confirm your e-mail address for Lantern Market",
                "Choose a new password for Lantern Market",
                "Your password for Lantern Market was changed",
            ]
        );
        house.assert_log_holds().await;
    }

    // I5, I8
    async fn a_reset_link_dies_with_a_change_of_the_password(world: &testkit::World) {
        let house = House::new(world);
        house.customer("seen@example.org").await;
        let here = house.sign_in("seen@example.org", PASSWORD).await.unwrap();
        house.room.forgot_password(&house.ctx(), forgot("seen@example.org")).await.unwrap();
        let seen = house.link("seen@example.org").await;
        let change = identity::ChangePassword {
            account: here.account,
            session: here.session,
            old: Secret::new(PASSWORD.to_owned()),
            new: Secret::new(OTHER.to_owned()),
        };
        house.room.change_password(&house.ctx(), change).await.unwrap();
        let thief = house.room.reset_password(&house.ctx(), reset(&seen, "eight tin lanterns")).await;
        assert!(matches!(thief, Err(Error::LinkSpent)));
        assert!(house.sign_in("seen@example.org", OTHER).await.is_ok());
        house.assert_log_holds().await;
    }

    async fn sign_ups_of_strangers_keep_no_reset_from_its_owner(world: &testkit::World) {
        let house = House::new(world);
        house.customer("kept@example.org").await;
        for _ in 0..8 {
            let _ = house.sign_up("kept@example.org").await;
        }
        let before = house.letters("kept@example.org").await.len();
        house.room.forgot_password(&house.ctx(), forgot("kept@example.org")).await.unwrap();
        let letters = house.letters("kept@example.org").await;
        assert_eq!(letters.len(), before + 1);
        assert!(letters.last().unwrap().subject.starts_with("Choose a new password"));
    }

    // I5
    async fn a_reset_link_works_once_for_half_an_hour(world: &testkit::World) {
        let house = House::new(world);
        house.customer("once@example.org").await;
        let ask = || async {
            house.room.forgot_password(&house.ctx(), forgot("once@example.org")).await.unwrap();
            house.link("once@example.org").await
        };
        let late = ask().await;
        world.advance(Duration::from_secs(1_800));
        let refused = house.room.reset_password(&house.ctx(), reset(&late, OTHER)).await;
        assert!(matches!(refused, Err(Error::LinkSpent)));
        let (one, other) = (ask().await, ask().await);
        world.advance(Duration::from_secs(1_800) - Duration::from_micros(1));
        let outcomes = eight(|_| {
            let (room, ctx, command) = (house.room.clone(), house.ctx(), reset(&other, OTHER));
            async move { room.reset_password(&ctx, command).await }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        // and the other open link is spent with it
        let refused = house.room.reset_password(&house.ctx(), reset(&one, PASSWORD)).await;
        assert!(matches!(refused, Err(Error::LinkSpent)));
        assert_eq!(house.events("identity.password_changed").await.len(), 1);
        house.assert_log_holds().await;
    }

    // I1
    async fn an_unknown_address_gets_no_mail_and_the_same_answer(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("unverified@example.org").await.unwrap();
        for email in ["nobody@example.org", "unverified@example.org"] {
            house.room.forgot_password(&house.ctx(), forgot(email)).await.unwrap();
        }
        assert!(house.letters("nobody@example.org").await.is_empty());
        // a link to an address that was never verified would verify it by another door
        assert_eq!(house.letters("unverified@example.org").await.len(), 1);
        let told = house.events("identity.reset_requested").await;
        assert!(told.iter().all(|event| event.account().is_none()));
        assert_eq!(told.len(), 2);
    }
}
