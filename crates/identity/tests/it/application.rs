//! Applications: nobody becomes what sells by saying so (I11).

use identity::{AccountKind, ApplicationState, Decide, Error, IdentityConfig, SignUp, StaffRole};
use kernel::{AccountId, Actor};

use crate::house::{House, PASSWORD, ROOMS, config, eight, sign_up};

async fn applied(house: &House<'_>, email: &str, kind: AccountKind) -> AccountId {
    let command = SignUp { kind, ..sign_up(email) };
    house.room.sign_up(&house.ctx(), command).await.unwrap();
    let secret = house.link(email).await;
    house.verify(secret).await.unwrap()
}

fn decision(account: AccountId, approve: bool) -> Decide {
    Decide { account, approve, reason: "a test".to_owned() }
}

testkit::on_both! { ROOMS;
    // I11
    async fn who_wants_to_sell_is_a_customer_until_it_is_approved(world: &testkit::World) {
        let house = House::new(world);
        let operator = world.ctx(Actor::Operator { id: None });
        let id = applied(&house, "mara@example.org", AccountKind::Influencer).await;
        assert_eq!(house.room.account(id).await.unwrap().kind, AccountKind::Customer);
        let opened = house.sign_in("mara@example.org", PASSWORD).await.unwrap();
        assert_eq!(opened.kind, AccountKind::Customer);
        let waiting = house.room.applications(None, 10).await.unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].account, waiting[0].kind), (id, AccountKind::Influencer));
        let kind = house.room.decide(&operator, decision(id, true)).await.unwrap();
        assert_eq!(kind, AccountKind::Influencer);
        // the session of before says nothing of the new kind
        assert!(!house.lives(&opened).await);
        let opened = house.sign_in("mara@example.org", PASSWORD).await.unwrap();
        assert_eq!(opened.kind, AccountKind::Influencer);
        assert!(house.room.applications(None, 10).await.unwrap().is_empty());
        let again = house.room.decide(&operator, decision(id, false)).await;
        assert!(matches!(again, Err(Error::State(_))));
        let told = house.events("identity.application_decided").await;
        assert_eq!(told[0].plain["approved"], true);
        assert_eq!(told[0].sealed_text("reason"), Some("a test"));
        house.assert_log_holds().await;
    }

    async fn who_is_declined_stays_a_customer(world: &testkit::World) {
        let house = House::new(world);
        let operator = world.ctx(Actor::Operator { id: None });
        let id = applied(&house, "teo@example.org", AccountKind::Wholesaler).await;
        let opened = house.sign_in("teo@example.org", PASSWORD).await.unwrap();
        house.room.decide(&operator, decision(id, false)).await.unwrap();
        assert!(house.lives(&opened).await);
        assert_eq!(house.room.account(id).await.unwrap().kind, AccountKind::Customer);
        let asked = house.room.application(id).await.unwrap().unwrap();
        assert_eq!(asked.state, ApplicationState::Declined);
        // an erased person applies for nothing
        house.room.erase(&operator, id).await.unwrap();
        assert!(house.room.application(id).await.unwrap().is_none());
        house.assert_log_holds().await;
    }

    async fn eight_decisions_at_once_are_one(world: &testkit::World) {
        let house = House::new(world);
        let id = applied(&house, "raced@example.org", AccountKind::Influencer).await;
        let outcomes = eight(|number| {
            let (room, ctx) = (house.room.clone(), world.ctx(Actor::Operator { id: None }));
            async move { room.decide(&ctx, decision(id, number % 2 == 0)).await }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let told = house.events("identity.application_decided").await;
        assert_eq!(told.len(), 1);
        let became = house.room.account(id).await.unwrap().kind == AccountKind::Influencer;
        assert_eq!(told[0].plain["approved"], became);
        house.assert_log_holds().await;
    }

    async fn a_shop_may_open_a_kind_and_nobody_opens_staff(world: &testkit::World) {
        let all = vec![AccountKind::Influencer, AccountKind::Staff];
        let config = IdentityConfig {
            sign_up_kinds: all.clone(), apply_kinds: all, ..config()
        };
        let house = House::with(world, config);
        let id = applied(&house, "open@example.org", AccountKind::Influencer).await;
        assert_eq!(house.room.account(id).await.unwrap().kind, AccountKind::Influencer);
        assert!(house.room.applications(None, 10).await.unwrap().is_empty());
        for kind in [AccountKind::Staff, AccountKind::Wholesaler] {
            let command = SignUp { kind, ..sign_up("staff@example.org") };
            let refused = house.room.sign_up(&house.ctx(), command).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{kind}");
        }
        // an operator is none who applies
        let staff = house.staff("grace@example.org", &[StaffRole::Admin]).await;
        let operator = world.ctx(Actor::Operator { id: None });
        let nothing = house.room.decide(&operator, decision(staff, true)).await;
        assert!(matches!(nothing, Err(Error::State(_))));
    }
}
