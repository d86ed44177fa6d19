//! Alerts in the hands of people: why, acknowledge, close; and never a storm.

use kernel::Actor;
use watch::{AlertState, Error, Verdict, WatchConfig};

use crate::scene::*;

const BAD: &str = "198.51.100.9";

testkit::on_both! { ROOMS;
    async fn an_alert_says_why(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        let alert = alerts(&watch).await.remove(0);
        let why = watch.why(alert.id).await.unwrap();
        let details = why.details.unwrap();
        assert_eq!(details.address, Some(address(BAD)));
        assert_eq!((details.bad, details.threshold, details.window_s), (10, 10, 600));
        let ids: Vec<_> = why.events.iter().map(|event| event.id).collect();
        assert_eq!(ids, details.evidence);
        assert!(why.events.iter().all(|event| event.origin().address == Some(address(BAD))));
        assert_eq!(why.answers.len(), 1);
        assert_eq!(why.answers[0].alert, Some(alert.id));
        let unknown = watch::AlertId::from_bytes([1; 16]);
        assert!(matches!(watch.why(unknown).await, Err(Error::NotFound)));
    }

    async fn eight_who_close_an_alert_close_it_once(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        let id = alerts(&watch).await[0].id;
        let ctx = world.ctx(Actor::Operator { id: None });
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (watch, ctx) = (watch.clone(), ctx.clone());
            hands.spawn(async move { watch.acknowledge(&ctx, id).await });
        }
        assert!(hands.join_all().await.iter().all(Result::is_ok));
        let mut hands = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (watch, ctx) = (watch.clone(), ctx.clone());
            hands.spawn(async move { watch.close(&ctx, id, Verdict::FalseAlarm).await });
        }
        let closed = hands.join_all().await;
        assert_eq!(closed.iter().filter(|close| close.is_ok()).count(), 1, "{closed:?}");
        world.spine.sequence().await.unwrap();
        assert_eq!(events(world, "watch.alert_acknowledged").await, 1);
        assert_eq!(events(world, "watch.alert_closed").await, 1);
        let alert = alerts(&watch).await.remove(0);
        assert_eq!((alert.state, alert.verdict), (AlertState::Closed, Some(Verdict::FalseAlarm)));
        assert!(matches!(watch.acknowledge(&ctx, id).await, Err(Error::Closed)));
        // the attack goes on: a closed alert stays closed
        world.advance(std::time::Duration::from_secs(901));
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        let states: Vec<_> = alerts(&watch).await.into_iter().map(|alert| alert.state).collect();
        assert_eq!(states, [AlertState::Open, AlertState::Closed]);
    }

    // A5
    async fn many_attacks_are_no_storm_of_alerts(world: &testkit::World) {
        let watch = open(world, WatchConfig { alerts_per_hour: 3, ..acting() });
        for number in 0..6 {
            spray(world, &format!("198.{number}.100.9"), 10).await;
        }
        deliver(world, &watch).await;
        // three, and one that says that there are more; every client is answered all the same
        assert_eq!(alerts_of(&watch, "stuffing_client").await.len(), 4);
        assert_eq!(asked(world).await.len(), 6);
        let open = watch.alerts(Some(AlertState::Open), None, 2).await.unwrap();
        let rest = watch.alerts(Some(AlertState::Open), Some(open[1].id), 10).await.unwrap();
        assert_eq!((open.len(), rest.len()), (2, 2));
    }

    async fn more_firings_than_a_transaction_holds_stop_nothing(world: &testkit::World) {
        let set = watch::RuleConfig { threshold: Some(1), ..Default::default() };
        let mut config = acting();
        for rule in ["stuffing_client", "guessing_client", "guessing_account", "slow_account",
            "spraying_neighbours"] {
            config.rules.insert(rule.to_owned(), set.clone());
        }
        config.alerts_per_hour = 10_000;
        let watch = open(world, config);
        for number in 0..150 {
            let from = format!("198.{number}.100.9");
            fail(world, &from, Who::Nobody(&format!("{number}@shop.test"))).await;
        }
        deliver(world, &watch).await;
        assert_eq!(watch.tallies(world.now(), 1).await.unwrap()["stuffing_client"].fired, 150);
        assert_eq!(alerts(&watch).await.len(), 200);
    }

    async fn what_is_over_for_a_year_goes(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        assert_eq!(watch.retire().await.unwrap(), 0);
        world.advance(std::time::Duration::from_secs(366 * 86_400));
        assert_eq!(watch.retire().await.unwrap(), 2);
        assert_eq!(watch.retire().await.unwrap(), 0);
        assert!(alerts(&watch).await.is_empty() && answers(&watch).await.is_empty());
        world.spine.sequence().await.unwrap();
        assert_eq!(events(world, "watch.old_retired").await, 1);
    }
}
