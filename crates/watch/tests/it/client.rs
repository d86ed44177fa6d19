//! Rules that count by client: stuffing and spraying, and the honest people beside them.

use std::time::Duration;

use kernel::Actor;
use spine::ActionKind;
use watch::{AlertState, Severity, WatchConfig};

use crate::scene::*;

const BAD: &str = "198.51.100.9";

testkit::on_both! { ROOMS;
    // A5, A7: one attack, one answer, one alert
    async fn a_spray_over_thirty_accounts_is_answered_once(world: &testkit::World) {
        let watch = open(world, acting());
        let victim = world.person().await;
        fail(world, BAD, Who::Known(victim)).await;
        spray(world, BAD, 29).await;
        deliver(world, &watch).await;
        let requested = requested(world).await;
        assert_eq!(requested.len(), 1);
        let block = &requested[0];
        assert_eq!((block.action, block.address), (ActionKind::BlockClient, Some(address(BAD))));
        assert_eq!(block.until, Some(world.now().plus(Duration::from_secs(900))));
        assert_eq!((block.rule.as_str(), block.dry_run), ("stuffing_client", false));
        // it goes on: nothing more is asked for
        spray(world, BAD, 30).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 1, "{:?}", answers(&watch).await);
        let alerts = alerts_of(&watch, "stuffing_client").await;
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].severity, alerts[0].state), (Severity::High, AlertState::Open));
        let tallies = watch.tallies(world.now(), 24).await.unwrap();
        assert_eq!((tallies["stuffing_client"].asked, tallies["stuffing_client"].fired), (1, 1));
    }

    async fn one_subscriber_of_ipv6_is_one_client(world: &testkit::World) {
        let watch = open(world, acting());
        for host in 1..=12 {
            let from = format!("2001:db8:7:9::{host:x}");
            fail(world, &from, Who::Nobody(&format!("{host}@shop.test"))).await;
        }
        deliver(world, &watch).await;
        let blocked: Vec<_> = asked(world).await.into_iter().map(|(action, ..)| action).collect();
        assert_eq!(blocked, [ActionKind::BlockClient]);
    }

    async fn a_network_whose_hosts_share_the_work_is_seen(world: &testkit::World) {
        let watch = open(world, acting());
        for host in 1..=45 {
            let from = format!("198.51.100.{host}");
            fail(world, &from, Who::Nobody(&format!("{host}@shop.test"))).await;
        }
        deliver(world, &watch).await;
        assert_eq!(alerts_of(&watch, "spraying_neighbours").await.len(), 1);
        // a street is not blocked
        assert!(asked(world).await.is_empty());
    }

    async fn an_honest_office_behind_one_address_is_left_alone(world: &testkit::World) {
        let watch = open(world, acting());
        for number in 0..30 {
            let person = world.person().await;
            if number % 5 == 0 {
                fail(world, "203.0.113.50", Who::Known(person)).await;
            }
            if number % 10 != 5 {
                succeed(world, "203.0.113.50", person).await;
            }
            world.advance(Duration::from_secs(10));
        }
        deliver(world, &watch).await;
        assert!(alerts(&watch).await.is_empty());
        assert!(answers(&watch).await.is_empty());
    }

    // A3: somebody got in
    async fn a_sprayer_who_gets_in_is_thrown_out_of_that_account(world: &testkit::World) {
        let watch = open(world, acting());
        let (victim, bystander) = (world.person().await, world.person().await);
        spray(world, BAD, 8).await;
        succeed(world, BAD, victim).await;
        succeed(world, "203.0.113.50", bystander).await;
        deliver(world, &watch).await;
        let mut asked = asked(world).await;
        asked.sort_by_key(|(action, ..)| format!("{action:?}"));
        let ends = (ActionKind::EndSessions, Some(victim), None);
        let proof = (ActionKind::StepUp, Some(victim), None);
        assert_eq!(asked, [ends, proof]);
        let alerts = alerts_of(&watch, "takeover_spray").await;
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].severity, Severity::Critical);
    }

    async fn the_edge_tells_of_floods_and_the_worst_client_is_turned_away(world: &testkit::World) {
        use web::feed::{Observation, Observed};
        let watch = open(world, acting());
        let rule = "limit.login".to_owned();
        let client = address(BAD);
        let seen = |count| Observed {
            seen: vec![Observation { client, rule: rule.clone(), second: 1, count }],
            dropped: 0,
        };
        assert_eq!(watch.observe(&seen(10)).await.unwrap(), 0);
        assert_eq!(watch.observe(&seen(3_000)).await.unwrap(), 1);
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        watch.observe(&seen(3_000)).await.unwrap();
        deliver(world, &watch).await;
        assert_eq!(asked(world).await, [(ActionKind::BlockClient, None, Some(client))]);
    }

    async fn failures_at_the_operators_door_are_another_matter(world: &testkit::World) {
        let watch = open(world, acting());
        for number in 0..5 {
            let email = format!("{number}@shop.test");
            fail_at(world, BAD, Who::Nobody(&email), "console").await;
        }
        deliver(world, &watch).await;
        assert_eq!(alerts_of(&watch, "operator_failures").await.len(), 1);
        assert_eq!(alerts(&watch).await.len(), 1);
    }

    // what would fire on history, and nothing else
    async fn a_replay_tells_what_would_have_fired_and_does_nothing(world: &testkit::World) {
        let watch = open(world, acting());
        let from = world.now();
        spray(world, BAD, 30).await;
        world.advance(Duration::from_secs(3_600));
        spray(world, "198.51.100.200", 11).await;
        world.spine.sequence().await.unwrap();
        world.advance(Duration::from_secs(1));
        let run = async |config: WatchConfig, from, to| {
            watch.replay(&config, from, to).await.unwrap()
        };
        let found = run(acting(), from, world.now()).await;
        assert_eq!((found.events, found.cut), (41, false));
        let stuffing = &found.rules[0];
        assert_eq!((stuffing.rule, stuffing.fired, stuffing.keys), ("stuffing_client", 2, 2));
        assert_eq!(stuffing.first[0].trail.len(), 10);
        let later = from.plus(Duration::from_secs(1_800));
        assert_eq!(run(acting(), later, world.now()).await.rules[0].fired, 1);
        let set = watch::RuleConfig { threshold: Some(20), ..Default::default() };
        let stricter = acting_with("stuffing_client", set);
        assert_eq!(run(stricter, from, world.now()).await.rules[0].fired, 1);
        assert!(alerts(&watch).await.is_empty());
        assert_eq!(events(world, "watch.").await, 0);
    }

    async fn a_person_asks_through_the_same_door(world: &testkit::World) {
        let watch = open(world, acting());
        let ctx = world.ctx(Actor::Operator { id: None });
        let ask = watch::Ask {
            action: ActionKind::BlockClient,
            account: None,
            session: None,
            address: Some(address(BAD)),
            until: Some(world.now().plus(Duration::from_secs(60))),
            reason: "seen in the logs of the shop".to_owned(),
        };
        watch.ask(&ctx, ask.clone()).await.unwrap();
        let endless = watch::Ask { until: None, ..ask.clone() };
        let silent = watch::Ask { reason: " ".to_owned(), ..ask.clone() };
        let nobody = watch::Ask {
            action: ActionKind::EndSessions,
            account: Some(kernel::AccountId::from_bytes([9; 16])),
            ..ask
        };
        for wrong in [endless, silent, nobody] {
            let refused = watch.ask(&ctx, wrong).await;
            assert!(matches!(refused, Err(watch::Error::Invalid(_))), "{refused:?}");
        }
        world.spine.sequence().await.unwrap();
        let requested = requested(world).await;
        assert_eq!(requested.len(), 1);
        assert_eq!(requested[0].rule, watch::BY_A_PERSON);
        assert_eq!(answers(&watch).await.len(), 1);
    }
}
