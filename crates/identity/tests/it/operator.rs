//! What operators do, and what this room does when it is asked for a response.

use identity::{
    AccountKind, AccountState, Error, ListAccounts, LockAccount, Obeyed, OpenAccount,
    ResetPassword, ResponseApplied, StaffRole,
};
use kernel::{Actor, Ctx, Secret};
use spine::{ActionKind, ResponseRequested, Subject, transact};

use crate::house::{House, OTHER, PASSWORD, ROOMS, eight};

fn operator(house: &House<'_>) -> Ctx {
    house.world.ctx(Actor::Operator { id: None })
}

fn asked(action: ActionKind) -> ResponseRequested {
    ResponseRequested::new(action, "test.rule", "a test")
}

async fn ask(house: &House<'_>, request: ResponseRequested) {
    house.world.ask(request).await;
    let obedience = spine::Obedience::new(house.room.clone());
    house.world.spine.consume(&obedience).await.unwrap();
}

async fn applied(house: &House<'_>) -> Vec<(Obeyed, u64)> {
    let events = house.events("identity.response_applied").await;
    let parsed = events.iter().map(|event| event.parse::<ResponseApplied>().unwrap());
    parsed.map(|event| (event.done, event.count)).collect()
}

testkit::on_both! { ROOMS;
    async fn an_invited_account_chooses_its_password(world: &testkit::World) {
        let house = House::new(world);
        let command = || OpenAccount {
            kind: AccountKind::Wholesaler,
            email: "supply@example.org".to_owned(),
            name: "Supply".to_owned(),
            roles: Vec::new(),
            password: None,
        };
        let id = house.room.open_account(&operator(&house), command()).await.unwrap();
        let taken = house.room.open_account(&operator(&house), command()).await;
        assert!(matches!(taken, Err(Error::Taken)));
        assert!(house.sign_in("supply@example.org", PASSWORD).await.is_err());
        let secret = house.link("supply@example.org").await;
        let password = Secret::new(PASSWORD.to_owned());
        let command = ResetPassword { secret, password };
        house.room.reset_password(&house.ctx(), command).await.unwrap();
        assert_eq!(house.sign_in("supply@example.org", PASSWORD).await.unwrap().account, id);
        let found = house.room.find_account("Supply@Example.org").await.unwrap().unwrap();
        assert_eq!((found.id, found.kind), (id, AccountKind::Wholesaler));
        assert!(house.room.find_account("nobody@example.org").await.unwrap().is_none());
        house.assert_log_holds().await;
    }

    async fn eight_operators_open_one_account(world: &testkit::World) {
        let house = House::new(world);
        let outcomes = eight(|_| {
            let (room, ctx) = (house.room.clone(), operator(&house));
            let command = OpenAccount {
                kind: AccountKind::Customer,
                email: "raced@example.org".to_owned(),
                name: "Raced".to_owned(),
                roles: Vec::new(),
                password: None,
            };
            async move { room.open_account(&ctx, command).await }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(Error::Taken))), "{outcomes:?}");
        house.assert_log_holds().await;
    }

    async fn accounts_are_listed_page_by_page(world: &testkit::World) {
        let house = House::new(world);
        for number in 0..5 {
            world.advance(std::time::Duration::from_secs(60));
            house.customer(&format!("page{number}@example.org")).await;
        }
        house.staff("staff@example.org", &[StaffRole::Admin]).await;
        let customers = |after| ListAccounts { kind: Some(AccountKind::Customer), after, rows: 3 };
        let first = house.room.list_accounts(customers(None)).await.unwrap();
        let last = first.last().map(|account| account.id);
        let second = house.room.list_accounts(customers(last)).await.unwrap();
        assert_eq!((first.len(), second.len()), (3, 2));
        assert_eq!(first[0].email.as_deref(), Some("page0@example.org"));
        assert_eq!(second[1].email.as_deref(), Some("page4@example.org"));
    }

    async fn roles_that_change_end_the_sessions(world: &testkit::World) {
        let house = House::new(world);
        let id = house.staff("grace@example.org", &[StaffRole::Admin, StaffRole::Finance]).await;
        house.staff("other@example.org", &[StaffRole::Admin]).await;
        let opened = house.sign_in("grace@example.org", PASSWORD).await.unwrap();
        house.room.set_roles(&operator(&house), id, &[StaffRole::Support]).await.unwrap();
        assert!(!house.lives(&opened).await);
        assert_eq!(house.room.account(id).await.unwrap().roles, [StaffRole::Support]);
        let customer = house.customer("ada@example.org").await;
        let refused = house.room.set_roles(&operator(&house), customer, &[StaffRole::Admin]).await;
        assert!(matches!(refused, Err(Error::State(_))));
    }

    async fn the_last_administrator_stays(world: &testkit::World) {
        let house = House::new(world);
        let id = house.staff("grace@example.org", &[StaffRole::Admin, StaffRole::Support]).await;
        let lock = || LockAccount { account: id, reason: "a test".to_owned() };
        let locked = house.room.lock_account(&operator(&house), lock()).await.map(|_| ());
        let demoted = house.room.set_roles(&operator(&house), id, &[StaffRole::Support]).await;
        let erased = house.room.erase(&operator(&house), id).await;
        for refused in [locked, demoted, erased] {
            assert!(matches!(refused, Err(Error::State(_))), "{refused:?}");
        }
        assert!(house.sign_in("grace@example.org", PASSWORD).await.is_ok());
        house.staff("second@example.org", &[StaffRole::Admin]).await;
        house.room.lock_account(&operator(&house), lock()).await.unwrap();
        house.assert_log_holds().await;
    }

    // I12: each takes the role of another, at one moment
    async fn eight_who_demote_each_other_leave_an_administrator(world: &testkit::World) {
        let house = House::new(world);
        let mut admins = Vec::new();
        for number in 0..8 {
            let email = format!("admin{number}@example.org");
            admins.push(house.staff(&email, &[StaffRole::Admin]).await);
        }
        let outcomes = eight(|number| {
            let (room, ctx) = (house.room.clone(), operator(&house));
            let id = admins[usize::from(number)];
            async move {
                match number % 3 {
                    0 => room.set_roles(&ctx, id, &[StaffRole::Support]).await,
                    1 => {
                        let reason = "a test".to_owned();
                        room.lock_account(&ctx, LockAccount { account: id, reason }).await.map(|_| ())
                    }
                    _ => room.erase(&ctx, id).await,
                }
            }
        })
        .await;
        let refused = outcomes.iter().filter(|o| matches!(o, Err(Error::State(_)))).count();
        assert_eq!(refused, 1, "{outcomes:?}");
        let mut left = 0;
        for id in admins {
            let view = house.room.account(id).await.unwrap();
            let admin = view.roles.contains(&StaffRole::Admin);
            left += usize::from(view.state == AccountState::Active && admin);
        }
        assert_eq!(left, 1);
        house.assert_log_holds().await;
    }

    async fn an_import_finds_its_accounts_again(world: &testkit::World) {
        let house = House::new(world);
        let one = house.customer("one@example.org").await;
        let two = house.customer("two@example.org").await;
        house.room.name_external(&operator(&house), one, "shop-4711").await.unwrap();
        let taken = house.room.name_external(&operator(&house), two, "shop-4711").await;
        assert!(matches!(taken, Err(Error::Taken)));
        let found = house.room.find_external("shop-4711").await.unwrap().unwrap();
        assert_eq!(found.id, one);
        assert!(house.room.find_external("shop-1").await.unwrap().is_none());
        house.assert_log_holds().await;
    }

    async fn a_handed_over_link_resets(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("link@example.org").await;
        let link = house.room.reset_link(&operator(&house), id).await.unwrap();
        let (base, token) = link.expose().split_once("?token=").unwrap();
        assert_eq!(base, "https://shop.test/auth/reset");
        let command = ResetPassword {
            secret: Secret::new(token.to_owned()),
            password: Secret::new(OTHER.to_owned()),
        };
        house.room.reset_password(&house.ctx(), command).await.unwrap();
        assert!(house.sign_in("link@example.org", OTHER).await.is_ok());
    }

    async fn responses_are_obeyed_once_and_told(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("watched@example.org").await;
        let browser = house.sign_in("watched@example.org", PASSWORD).await.unwrap();
        let app = house.app("watched@example.org").await;
        let dry = ResponseRequested {
            dry_run: true, account: Some(id), ..asked(ActionKind::EndSessions)
        };
        ask(&house, dry).await;
        assert!(house.lives(&browser).await);
        let one = ResponseRequested {
            account: Some(id), session: Some(app.session), ..asked(ActionKind::EndSession)
        };
        ask(&house, one).await;
        assert!(house.lives(&browser).await);
        assert!(house.room.refresh(&house.ctx(), &app.refresh).await.is_err());
        world.advance(std::time::Duration::from_secs(1));
        ask(&house, ResponseRequested { account: Some(id), ..asked(ActionKind::StepUp) }).await;
        let live = house.room.session_of_secret(&house.ctx(), browser.secret.expose()).await;
        assert!(!house.room.is_fresh(&house.ctx(), &live.unwrap().unwrap()));
        let all = ResponseRequested { account: Some(id), ..asked(ActionKind::EndSessions) };
        ask(&house, all).await;
        assert!(!house.lives(&browser).await);
        assert_eq!(
            applied(&house).await,
            [(Obeyed::EndedFamily, 1), (Obeyed::SteppedUp, 1), (Obeyed::EndedSessions, 1)]
        );
        // asking again moves nothing twice
        house.world.spine.consume(&spine::Obedience::new(house.room.clone())).await.unwrap();
        assert_eq!(applied(&house).await.len(), 3);
        house.assert_log_holds().await;
    }

    async fn a_response_about_somebody_erased_does_nothing(world: &testkit::World) {
        let house = House::new(world);
        let id = house.customer("gone@example.org").await;
        let ctx = house.world.ctx(Actor::System("watch"));
        world.vault.resolve(&[Subject::Account(id)]).await.unwrap();
        let request = ResponseRequested { account: Some(id), ..asked(ActionKind::EndSessions) };
        transact!(world.spine, &ctx, tx => {
            request.clone().request(&mut tx)?;
            Ok::<_, spine::Error>(())
        })
        .unwrap();
        world.spine.sequence().await.unwrap();
        house.room.erase(&operator(&house), id).await.unwrap();
        world.spine.consume(&spine::Obedience::new(house.room.clone())).await.unwrap();
        assert_eq!(house.room.account(id).await.unwrap().state, AccountState::Erased);
        house.assert_log_holds().await;
    }
}
