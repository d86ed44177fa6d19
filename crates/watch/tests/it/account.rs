//! Rules that count by account: slow and spread attacks, guesses, stolen tokens. The owner keeps
//! the door open through all of them.

use std::time::Duration;

use kernel::SessionId;
use spine::{About, ActionKind, Subject};
use watch::Severity;

use crate::scene::*;

spine::events! {
    room = "vault";
    /// As the binary tells of the keyholder.
    KeysOpened = "keys_opened" {
        plain { opened: u64 } sealed {} retain_days = 1, ocsf = 6003
    }
}

testkit::on_both! { ROOMS;
    // A3
    async fn low_and_slow_steps_the_account_up_and_locks_nobody_out(world: &testkit::World) {
        let watch = open(world, acting());
        let victim = world.person().await;
        for number in 0..40 {
            let from = format!("203.{number}.113.7");
            fail(world, &from, Who::Known(victim)).await;
            world.advance(Duration::from_secs(900));
            if number % 10 == 9 {
                deliver(world, &watch).await;
            }
        }
        assert_eq!(asked(world).await, [(ActionKind::StepUp, Some(victim), None)]);
        let alerts = alerts_of(&watch, "slow_account").await;
        assert_eq!((alerts.len(), alerts[0].subject), (1, Subject::Account(victim)));
        // the owner signs in: nothing is held against them
        succeed(world, "192.0.2.44", victim).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 1);
    }

    async fn an_address_that_nobody_has_is_told_and_not_answered(world: &testkit::World) {
        let watch = open(world, acting());
        for number in 0..16 {
            fail(world, &format!("203.{number}.113.7"), Who::Nobody("Ghost@Shop.test")).await;
        }
        deliver(world, &watch).await;
        assert_eq!(alerts_of(&watch, "slow_account").await.len(), 1);
        assert!(answers(&watch).await.is_empty());
    }

    async fn a_guess_that_was_right_ends_the_sessions(world: &testkit::World) {
        let watch = open(world, acting());
        let victim = world.person().await;
        for _ in 0..12 {
            fail(world, "198.51.100.9", Who::Known(victim)).await;
        }
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        succeed(world, "198.51.100.9", victim).await;
        deliver(world, &watch).await;
        let mut actions: Vec<_> =
            asked(world).await.into_iter().map(|(action, ..)| action).collect();
        actions.sort_by_key(|action| format!("{action:?}"));
        assert_eq!(actions, [ActionKind::EndSessions, ActionKind::StepUp]);
    }

    // a thief of a cookie guesses inside the session: the same to the rules as at the door
    async fn guesses_inside_a_session_count_as_sign_ins_do(world: &testkit::World) {
        let watch = open(world, acting());
        let victim = world.person().await;
        for number in 0..12 {
            if number % 2 == 0 {
                refuse(world, "198.51.100.9", victim, "browser").await;
            } else {
                fail(world, "198.51.100.9", Who::Known(victim)).await;
            }
        }
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        confirm(world, "198.51.100.9", victim).await;
        deliver(world, &watch).await;
        let ends = |(action, ..): &(ActionKind, _, _)| *action == ActionKind::EndSessions;
        assert!(asked(world).await.iter().any(ends));
        for _ in 0..5 {
            refuse(world, "198.51.100.10", victim, "console").await;
        }
        deliver(world, &watch).await;
        assert_eq!(alerts_of(&watch, "operator_failures").await.len(), 1);
    }

    async fn a_stolen_refresh_token_ends_its_sign_in_and_is_told(world: &testkit::World) {
        let watch = open(world, acting());
        let victim = world.person().await;
        let session = SessionId::generate(world.now(), world.entropy.as_ref());
        let about = About::thing_of(victim, "session", *session.as_bytes(), 0);
        tell(world, "198.51.100.9", about, RefreshReused { behind: 2, session }).await;
        deliver(world, &watch).await;
        let requested = requested(world).await;
        assert_eq!(requested.len(), 1);
        assert_eq!(requested[0].action, ActionKind::EndSession);
        assert_eq!((requested[0].account, requested[0].session), (Some(victim), Some(session)));
        assert_eq!(alerts_of(&watch, "refresh_reused").await.len(), 1);
    }

    async fn forged_events_wake_somebody(world: &testkit::World) {
        let watch = open(world, acting());
        let about = About::house("log", [1; 16], 0);
        tell(world, "192.0.2.1", about, spine::ForgedEventsFound { count: 3 }).await;
        deliver(world, &watch).await;
        let alerts = alerts(&watch).await;
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].severity, alerts[0].subject), (Severity::Critical, Subject::House));
    }

    async fn keys_that_are_opened_fast_wake_somebody(world: &testkit::World) {
        let watch = open(world, acting());
        let about = About::house("keyholder", [0; 16], 0);
        // a busy restart of core, and quiet minutes
        for opened in [12_000, 6_000, 0, 6_000, 5_999] {
            tell(world, "192.0.2.1", about, KeysOpened { opened }).await;
            world.advance(Duration::from_secs(60));
        }
        deliver(world, &watch).await;
        assert_eq!(alerts(&watch).await.len(), 0);
        tell(world, "192.0.2.1", about, KeysOpened { opened: 1 }).await;
        deliver(world, &watch).await;
        let alerts = alerts(&watch).await;
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].severity, alerts[0].subject), (Severity::Critical, Subject::House));
    }

    async fn who_knows_a_password_and_guesses_the_code_is_told(world: &testkit::World) {
        let watch = open(world, acting());
        let (victim, owner) = (world.person().await, world.person().await);
        for number in 0..5 {
            let from = format!("203.{number}.113.7");
            tell(world, &from, About::account(victim, 0), SecondFactorRefused { method: "totp".to_owned() }).await;
            // Another who mistypes now and then.
            if number < 4 {
                tell(world, "198.51.100.9", About::account(owner, 0), SecondFactorRefused { method: "totp".to_owned() }).await;
            }
            world.advance(Duration::from_secs(600));
        }
        deliver(world, &watch).await;
        let told = alerts_of(&watch, "second_factor_guessed").await;
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].severity, told[0].subject), (Severity::High, Subject::Account(victim)));
        assert_eq!(requested(world).await.len(), 0);
    }

    // A8
    async fn nothing_of_an_erased_person_stays_readable(world: &testkit::World) {
        let watch = open(world, acting());
        let (gone, stays) = (world.person().await, world.person().await);
        for number in 0..16 {
            fail(world, &format!("203.{number}.113.7"), Who::Known(gone)).await;
        }
        fail(world, "198.51.100.9", Who::Known(gone)).await;
        fail(world, "198.51.100.9", Who::Known(stays)).await;
        spray(world, "198.51.100.9", 8).await;
        deliver(world, &watch).await;
        let slow = alerts_of(&watch, "slow_account").await.remove(0);
        let stuffing = alerts_of(&watch, "stuffing_client").await.remove(0);
        assert!(watch.why(slow.id).await.unwrap().details.is_some());
        erase(world, gone).await;
        deliver(world, &watch).await;
        let why = watch.why(slow.id).await.unwrap();
        assert_eq!((why.details, why.alert.subject), (None, Subject::House));
        assert!(why.answers.iter().all(|answer| answer.account.is_none()));
        // evidence of an attack by a client: the erased person's event is there, and says nothing
        let why = watch.why(stuffing.id).await.unwrap();
        assert_eq!(why.events.len(), 10);
        let readable = why.events.iter().filter(|e| matches!(e.sealed, spine::Opened::Whole(_)));
        assert_eq!(readable.count(), 9);
        assert!(why.events.iter().all(|event| event.account() != Some(gone)));
        assert_eq!(events(world, "watch.persons_blanked").await, 1);
        // and a person can still close what stands
        let ctx = world.ctx(kernel::Actor::Operator { id: None });
        watch.close(&ctx, slow.id, watch::Verdict::Attack).await.unwrap();
    }

    // an erasure that comes between the attack and its delivery stops nothing
    async fn an_attack_on_somebody_just_erased_is_no_obstacle(world: &testkit::World) {
        let watch = open(world, acting());
        let gone = world.person().await;
        for number in 0..16 {
            fail(world, &format!("203.{number}.113.7"), Who::Known(gone)).await;
        }
        erase(world, gone).await;
        spray(world, "198.51.100.9", 12).await;
        deliver(world, &watch).await;
        assert_eq!(alerts(&watch).await.len(), 1);
        assert_eq!(asked(world).await.len(), 1);
    }

    // A8: more erasures than a transaction holds
    async fn many_erasures_at_once_are_all_completed(world: &testkit::World) {
        let set = watch::RuleConfig { threshold: Some(1), ..Default::default() };
        let mut config = acting();
        for rule in ["guessing_account", "slow_account", "takeover_guess"] {
            config.rules.insert(rule.to_owned(), set.clone());
        }
        config.alerts_per_hour = 10_000;
        let watch = open(world, config);
        let mut gone = Vec::new();
        for number in 0..90 {
            let person = world.person().await;
            let from = format!("203.{number}.113.7");
            fail(world, &from, Who::Known(person)).await;
            succeed(world, &from, person).await;
            gone.push(person);
        }
        deliver(world, &watch).await;
        for person in gone {
            erase(world, person).await;
        }
        deliver(world, &watch).await;
        while watch.retire().await.unwrap() > 0 {}
        let left = alerts(&watch).await;
        assert!(left.len() > 180, "{}", left.len());
        assert!(left.iter().all(|alert| !matches!(alert.subject, Subject::Account(_))));
        assert!(answers(&watch).await.iter().all(|answer| answer.account.is_none()));
    }
}
