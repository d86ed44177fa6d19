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
        house.room.change_password(&house.ctx(), change(&here, PASSWORD, OTHER)).await.unwrap();
        assert!(house.lives(&here).await);
        assert!(!house.lives(&there).await);
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
            async move { room.change_password(&ctx, command).await.map(|()| new) }
        })
        .await;
        let changed: Vec<_> = outcomes.iter().flatten().collect();
        assert_eq!(changed.len(), 1, "{outcomes:?}");
        assert!(house.sign_in("raced@example.org", changed[0]).await.is_ok());
        let mut lives = 0;
        for session in &sessions {
            lives += usize::from(house.lives(session).await);
        }
        assert_eq!(lives, 1);
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
