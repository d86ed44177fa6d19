//! A password becomes another inside a session.

use identity::{ChangePassword, Error, Opened};
use kernel::{Refusal as _, Secret};

use crate::house::{House, OTHER, PASSWORD, ROOMS, eight};

fn change(opened: &Opened, old: &str, new: &str) -> ChangePassword {
    ChangePassword {
        account: opened.account,
        session: opened.session,
        old: Secret::new(old.to_owned()),
        new: Secret::new(new.to_owned()),
    }
}

testkit::on_both! { ROOMS;
    // I8
    async fn a_new_password_ends_the_other_sessions(world: &testkit::World) {
        let house = House::new(world);
        house.customer("change@example.org").await;
        let here = house.sign_in("change@example.org", PASSWORD).await.unwrap();
        let there = house.sign_in("change@example.org", PASSWORD).await.unwrap();
        let wrong = house.room.change_password(&house.ctx(), change(&here, OTHER, OTHER)).await;
        assert_eq!(wrong.unwrap_err().refused().fields[0].field, "old");
        assert!(house.lives(&there).await);
        let command = change(&here, PASSWORD, OTHER);
        let renewed = house.room.change_password(&house.ctx(), command).await.unwrap().opened;
        // whoever changed it goes on; a thief of that very cookie does not
        assert!(house.lives(&renewed).await);
        assert!(!house.lives(&here).await);
        assert!(!house.lives(&there).await);
        let listed = house.room.sessions(&house.ctx(), here.account, None).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert!(house.sign_in("change@example.org", PASSWORD).await.is_err());
        assert!(house.sign_in("change@example.org", OTHER).await.is_ok());
        let letters = house.letters("change@example.org").await;
        assert!(letters.last().unwrap().subject.contains("was changed"));
        house.assert_log_holds().await;
    }

    async fn eight_changes_at_once_are_one(world: &testkit::World) {
        let house = House::new(world);
        house.customer("raced@example.org").await;
        let mut sessions = Vec::new();
        for _ in 0..8 {
            sessions.push(house.sign_in("raced@example.org", PASSWORD).await.unwrap());
        }
        let outcomes = eight(|number| {
            let (room, ctx) = (house.room.clone(), house.ctx());
            let new = format!("{OTHER} number {number}");
            let command = change(&sessions[usize::from(number)], PASSWORD, &new);
            async move {
                let renewed = room.change_password(&ctx, command).await;
                renewed.map(|renewed| (new, renewed.opened))
            }
        })
        .await;
        let changed: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(changed.len(), 1, "{outcomes:?}");
        let (new, renewed) = changed[0];
        assert!(house.lives(renewed).await);
        for session in &sessions {
            assert!(!house.lives(session).await);
        }
        assert!(house.sign_in("raced@example.org", new).await.is_ok());
        house.assert_log_holds().await;
    }

    // I8
    async fn an_app_that_changes_the_password_goes_on_with_new_tokens(world: &testkit::World) {
        let house = House::new(world);
        let account = house.customer("app@example.org").await;
        let app = house.app("app@example.org").await;
        let command = ChangePassword {
            account,
            session: app.session,
            old: Secret::new(PASSWORD.to_owned()),
            new: Secret::new(OTHER.to_owned()),
        };
        let renewed = house.room.change_password(&house.ctx(), command).await.unwrap();
        assert!(house.room.refresh(&house.ctx(), &app.refresh).await.is_err());
        let next = house.room.refresh(&house.ctx(), &renewed.refresh.unwrap()).await.unwrap();
        assert_eq!(next.session, renewed.opened.session);
        house.assert_log_holds().await;
    }

    // I4
    async fn guesses_inside_a_session_are_slowed_down(world: &testkit::World) {
        let house = House::new(world);
        house.customer("inside@example.org").await;
        let here = house.sign_in("inside@example.org", PASSWORD).await.unwrap();
        let mut limited = 0;
        for _ in 0..8 {
            let command = change(&here, "not the one at all", OTHER);
            let guess = house.room.change_password(&house.ctx(), command).await;
            limited += usize::from(matches!(guess, Err(Error::Limited { .. })));
        }
        assert_eq!(limited, 3);
    }
}
