//! The whole room: erasure, sweeping, mail that fails, what a dump of the database shows.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use identity::{AccountState, EraseAccount, Error, Mail, MailError, MailId, Mailer, SweptRows};
use kernel::Secret;
use spine::BoxFuture;

use crate::house::{House, OTHER, PASSWORD, ROOMS, eight};

/// A mail server that fails so many times, then takes everything.
struct Failing(AtomicU32, MailError);

impl Mailer for Failing {
    fn send<'a>(&'a self, _: MailId, _: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        let left = self.0.load(Ordering::SeqCst);
        self.0.store(left.saturating_sub(1), Ordering::SeqCst);
        Box::pin(std::future::ready(if left == 0 { Ok(()) } else { Err(self.1) }))
    }
}

testkit::on_both! { ROOMS;
    // I9
    async fn an_erased_person_is_found_by_nothing(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("erased.person@example.org").await;
        let opened = house.sign_in("erased.person@example.org", PASSWORD).await.unwrap();
        let app = house.app("erased.person@example.org").await;
        let command = |password: &str| EraseAccount {
            account: id,
            session: opened.session,
            password: Secret::new(password.to_owned()),
        };
        let wrong = house.room.erase_own(&house.ctx(), command(OTHER)).await;
        assert!(matches!(wrong, Err(Error::PasswordWrong { .. })));
        house.room.erase_own(&house.ctx(), command(PASSWORD)).await.unwrap();
        assert!(!house.lives(&opened).await);
        assert!(house.room.refresh(&house.ctx(), &app.refresh).await.is_err());
        let gone = house.room.account(id).await.unwrap();
        assert_eq!((gone.state, gone.email, gone.name), (AccountState::Erased, None, None));
        assert!(house.room.find_account("erased.person@example.org").await.unwrap().is_none());
        assert!(house.room.sessions(&house.ctx(), id, None).await.unwrap().is_empty());
        // the last letter still goes out, though the key is gone
        let letters = house.letters("erased.person@example.org").await;
        assert!(letters.last().unwrap().subject.contains("deleted"));
        // the log holds, and tells nothing about whom
        house.assert_log_holds().await;
        house.room.sweep(&house.ctx()).await.unwrap();
        let told = house.events("identity.").await;
        assert!(told.iter().all(|event| event.account() != Some(id)));
        house.assert_log_holds().await;
        // the address is free again, for a new person
        world.advance(Duration::from_secs(3_600));
        let new = house.customer("erased.person@example.org").await;
        assert_ne!(new, id);
        // asking again is no error
        house.room.erase(&house.ctx(), id).await.unwrap();
    }

    async fn eight_erasures_at_once_are_one(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("eight@example.org").await;
        let outcomes = eight(|_| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            async move { room.erase(&ctx, id).await }
        })
        .await;
        // one that read the row before and came after the key was gone is refused, and may ask
        // again
        assert!(outcomes.iter().any(Result::is_ok), "{outcomes:?}");
        house.room.erase(&house.ctx(), id).await.unwrap();
        assert_eq!(house.events("identity.account_erased").await.len(), 1);
        house.assert_log_holds().await;
    }

    // HOUSE: every secret and personal field goes through the vault
    async fn a_dump_shows_no_person_and_no_secret(world: &testkit::World) {
        let house = House::new(world);
        house.customer("needle.in.haystack@example.org").await;
        let opened = house.sign_in("needle.in.haystack@example.org", PASSWORD).await.unwrap();
        let app = house.app("needle.in.haystack@example.org").await;
        house.sign_in("needle.in.haystack@example.org", OTHER).await.unwrap_err();
        house.sign_in("needle.nobody@example.org", OTHER).await.unwrap_err();
        world.spine.sequence().await.unwrap();
        let dump = format!("{:?}", world.copy_database().await);
        let secrets = [opened.secret.expose().clone(), app.refresh.expose().clone()];
        let texts = ["needle.in", "needle.nobody", "203.0.113.7", "testkit", "argon2id", "Ada"];
        for needle in texts.into_iter().map(str::to_owned).chain(secrets) {
            let as_bytes = format!("{:?}", needle.as_bytes());
            let inner = as_bytes.trim_matches(['[', ']']);
            assert!(!dump.contains(&needle) && !dump.contains(inner), "{needle}");
        }
    }

    async fn a_letter_is_tried_again_and_given_up(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("mail@example.org").await.unwrap();
        let failing = Failing(AtomicU32::new(2), MailError::Later("a test"));
        let go = async |mailer: &Failing| {
            let delivered = house.room.deliver(&house.ctx(), mailer).await.unwrap();
            (delivered.sent, delivered.again, delivered.given_up)
        };
        assert_eq!(go(&failing).await, (0, 1, 0));
        assert_eq!(go(&failing).await, (0, 0, 0));
        world.advance(Duration::from_secs(13));
        assert_eq!(go(&failing).await, (0, 1, 0));
        world.advance(Duration::from_secs(26));
        assert_eq!(go(&failing).await, (1, 0, 0));
        assert_eq!(house.room.mail_waiting().await.unwrap().waiting, 0);
        house.sign_up("never@example.org").await.unwrap();
        let never = Failing(AtomicU32::new(9), MailError::Never("a test"));
        assert_eq!(go(&never).await, (0, 0, 1));
    }

    async fn eight_senders_send_a_letter_once(world: &testkit::World) {
        let house = House::new(world);
        for number in 0..4 {
            house.sign_up(&format!("letter{number}@example.org")).await.unwrap();
        }
        let outcomes = eight(|_| {
            let (room, ctx, outbox) = (house.room.clone(), house.ctx(), house.outbox.clone());
            async move { room.deliver(&ctx, &outbox).await.unwrap().sent }
        })
        .await;
        assert_eq!(outcomes.iter().sum::<usize>(), 4);
    }

    async fn an_address_that_is_never_verified_is_forgotten(world: &testkit::World) {
        let house = House::new(world);
        house.sign_up("stranger@example.org").await.unwrap();
        world.advance(Duration::from_secs(7 * 86_400));
        house.room.sweep(&house.ctx()).await.unwrap();
        assert!(house.room.find_account("stranger@example.org").await.unwrap().is_some());
        world.advance(Duration::from_secs(1));
        house.room.sweep(&house.ctx()).await.unwrap();
        assert!(house.room.find_account("stranger@example.org").await.unwrap().is_none());
        // the stranger hears nothing of it
        assert_eq!(house.letters("stranger@example.org").await.len(), 0);
        house.assert_log_holds().await;
    }

    async fn what_is_over_is_swept_and_told(world: &testkit::World) {
        let house = House::new(world);
        house.customer("sweep@example.org").await;
        house.app("sweep@example.org").await;
        let opened = house.sign_in("sweep@example.org", PASSWORD).await.unwrap();
        let nothing = house.room.sweep(&house.ctx()).await.unwrap();
        assert_eq!(nothing, SweptRows::default());
        house
            .room
            .end_sessions(&house.ctx(), opened.account, None, identity::EndReason::SignedOut)
            .await
            .unwrap();
        world.advance(Duration::from_secs(31 * 86_400));
        let swept = house.room.sweep(&house.ctx()).await.unwrap();
        assert_eq!(swept, SweptRows { tickets: 1, sessions: 2, half_way: 0 });
        assert_eq!(house.events("identity.swept").await.len(), 1);
        house.assert_log_holds().await;
    }
}
