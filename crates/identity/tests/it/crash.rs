//! Dying between any two steps: what was not committed leaves nothing, what was is whole.
//!
//! Each verb is dropped after its first poll, its second, and so on until it comes through; after
//! each, the room must be as if the verb had not begun, or as if it had ended.

use identity::{AccountState, Error, ResetPassword};
use kernel::Secret;
use spine::Subject;

use crate::house::{DieAfter, House, OTHER, PASSWORD, ROOMS, sign_in, sign_up, verify};

/// Steps after which a verb has surely come through.
const POLLS_MAX: usize = 400;

testkit::on_both! { ROOMS;
    // I6
    async fn a_refresh_that_dies_anywhere_logs_nobody_out(world: &testkit::World) {
        let house = House::new(world);
        house.customer("die@example.org").await;
        let mut token = house.app("die@example.org").await.refresh;
        let mut came_through = false;
        for polls in 1..POLLS_MAX {
            let ctx = house.ctx();
            let refresh = house.room.refresh(&ctx, &token);
            let outcome = DieAfter::polls(polls, refresh).await;
            // the client saw nothing, and tries again with what it has
            let again = house.room.refresh(&house.ctx(), &token).await.unwrap().refresh;
            if let Some(first) = outcome {
                assert_eq!(first.unwrap().refresh.expose(), again.expose());
                came_through = true;
            }
            token = again;
            world.advance(std::time::Duration::from_secs(11));
            if came_through {
                break;
            }
        }
        assert!(came_through);
        assert!(house.events("identity.refresh_reused").await.is_empty());
        house.assert_log_holds().await;
    }

    async fn a_verification_that_dies_anywhere_is_whole_or_not_at_all(world: &testkit::World) {
        let house = House::new(world);
        let mut came_through = false;
        for polls in 1..POLLS_MAX {
            let email = format!("die{polls}@example.org");
            world.advance(std::time::Duration::from_secs(600));
            house.sign_up(&email).await.unwrap();
            let secret = house.link(&email).await;
            let ctx = house.ctx();
            let command = || verify(secret.clone());
            let outcome = DieAfter::polls(polls, house.room.verify_email(&ctx, command())).await;
            let may_sign_in = house.sign_in(&email, PASSWORD).await.is_ok();
            match house.room.verify_email(&ctx, command()).await {
                Ok(_) => assert!(!may_sign_in),
                Err(Error::LinkSpent) => assert!(may_sign_in),
                Err(other) => panic!("{other}"),
            }
            assert!(house.sign_in(&email, PASSWORD).await.is_ok());
            came_through = outcome.is_some();
            if came_through {
                break;
            }
        }
        assert!(came_through);
        house.assert_log_holds().await;
    }

    // I9
    async fn an_erasure_that_dies_anywhere_is_finished_by_the_sweep(world: &testkit::World) {
        let house = House::new(world);
        for polls in 1..POLLS_MAX {
            world.advance(std::time::Duration::from_secs(600));
            let id = house.customer(&format!("gone{polls}@example.org")).await;
            let ctx = house.ctx();
            let done = DieAfter::polls(polls, house.room.erase(&ctx, id)).await;
            if house.room.account(id).await.unwrap().state == AccountState::Erased {
                house.room.sweep(&ctx).await.unwrap();
                let receipt = world.vault.shred(Subject::Account(id)).await.unwrap();
                assert!(!receipt.now, "the key outlived the sweep");
            }
            if done.is_some() {
                break;
            }
        }
        house.assert_log_holds().await;
    }

    async fn a_sign_up_that_dies_anywhere_can_be_tried_again(world: &testkit::World) {
        let house = House::new(world);
        let mut came_through = false;
        for polls in 1..POLLS_MAX {
            let email = format!("up{polls}@example.org");
            world.advance(std::time::Duration::from_secs(600));
            let ctx = house.ctx();
            let first = house.room.sign_up(&ctx, sign_up(&email));
            came_through = DieAfter::polls(polls, first).await.is_some();
            house.sign_up(&email).await.unwrap();
            let secret = house.link(&email).await;
            house.room.verify_email(&ctx, verify(secret)).await.unwrap();
            assert!(house.sign_in(&email, PASSWORD).await.is_ok());
            if came_through {
                break;
            }
        }
        assert!(came_through);
        house.assert_log_holds().await;
    }

    // I8
    async fn a_reset_that_dies_anywhere_keeps_old_or_new(world: &testkit::World) {
        let house = House::new(world);
        let operator = world.ctx(kernel::Actor::Operator { id: None });
        let mut came_through = false;
        for polls in 1..POLLS_MAX {
            let email = format!("reset{polls}@example.org");
            world.advance(std::time::Duration::from_secs(600));
            let id = house.customer(&email).await;
            let opened = house.sign_in(&email, PASSWORD).await.unwrap();
            let link = house.room.reset_link(&operator, id).await.unwrap();
            let (_, token) = link.expose().split_once("?token=").unwrap();
            let command = ResetPassword {
                secret: Secret::new(token.to_owned()),
                password: Secret::new(OTHER.to_owned()),
            };
            let reset = house.room.reset_password(&operator, command);
            came_through = DieAfter::polls(polls, reset).await.is_some();
            let old = house.room.sign_in(&house.ctx(), sign_in(&email, PASSWORD)).await.is_ok();
            let new = house.room.sign_in(&house.ctx(), sign_in(&email, OTHER)).await.is_ok();
            assert!(old != new);
            assert_eq!(house.lives(&opened).await, old);
            if came_through {
                break;
            }
        }
        assert!(came_through);
        house.assert_log_holds().await;
    }

    // I9
    async fn an_erasure_that_dies_anywhere_is_finished_by_the_next(world: &testkit::World) {
        let house = House::new(world);
        let mut came_through = false;
        for polls in 1..POLLS_MAX {
            let email = format!("erase{polls}@example.org");
            world.advance(std::time::Duration::from_secs(600));
            let id = house.customer(&email).await;
            let ctx = house.ctx();
            came_through = DieAfter::polls(polls, house.room.erase(&ctx, id)).await.is_some();
            let account = house.room.account(id).await.unwrap();
            let active = account.state == AccountState::Active;
            let whole = account.email.is_some() == active;
            assert!(whole, "{account:?}");
            house.room.erase(&ctx, id).await.unwrap();
            assert_eq!(house.room.account(id).await.unwrap().email, None);
            if came_through {
                break;
            }
        }
        assert!(came_through);
        house.assert_log_holds().await;
    }
}
