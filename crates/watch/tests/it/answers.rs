//! What an answer of a rule must pass: allow list, dry run, the off switch, the budget; and its
//! end.

use std::time::Duration;

use kernel::Actor;
use watch::{AnswerState, Error, RuleConfig, WatchConfig};

use crate::scene::*;

const BAD: &str = "198.51.100.9";

async fn states(watch: &watch::Watch) -> Vec<AnswerState> {
    let mut all: Vec<_> = answers(watch).await.into_iter().map(|answer| answer.state).collect();
    // answers of one moment have no order
    all.sort_unstable();
    all
}

testkit::on_both! { ROOMS;
    // A7
    async fn a_new_rule_only_tells_what_it_would_do(world: &testkit::World) {
        let watch = open(world, WatchConfig::default());
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        assert_eq!(requested(world).await.len(), 1);
        assert_eq!(states(&watch).await, [AnswerState::DryRun]);
        let told = &answers(&watch).await[0];
        assert_eq!(told.address, Some(address(BAD)));
        assert_eq!(alerts(&watch).await.len(), 1);
        // after its first days it acts
        world.advance(Duration::from_secs(7 * 86_400));
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 1);
    }

    async fn an_operator_may_keep_a_rule_in_dry_run(world: &testkit::World) {
        let set = RuleConfig { dry_run: Some(true), ..RuleConfig::default() };
        let watch = open(world, acting_with("stuffing_client", set));
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        assert_eq!(states(&watch).await, [AnswerState::DryRun]);
    }

    // A6
    async fn the_switch_stops_what_was_not_yet_delivered(world: &testkit::World) {
        let watch = open(world, acting());
        let ctx = world.ctx(Actor::Operator { id: None });
        spray(world, BAD, 12).await;
        watch.stop_all_answers(&ctx, "a rule is wrong").await.unwrap();
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        assert_eq!(states(&watch).await, [AnswerState::Stopped]);
        assert_eq!(alerts(&watch).await.len(), 1);
        assert_eq!(events(world, "watch.answer_withheld").await, 1);
        assert!(matches!(watch.stop_all_answers(&ctx, "again").await, Err(Error::Already(_))));
        watch.resume(&ctx, "mended").await.unwrap();
        assert!(!watch.switch().await.unwrap().stopped);
        spray(world, "198.51.100.10", 12).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 1);
    }

    // A6: whoever turned the switch knows that no later commit answers
    async fn the_switch_and_an_answer_do_not_pass_each_other(world: &testkit::World) {
        let watch = open(world, acting());
        let ctx = world.ctx(Actor::Operator { id: None });
        for round in 0..6 {
            spray(world, &format!("198.51.{round}.9"), 12).await;
            world.spine.sequence().await.unwrap();
            let before = asked(world).await.len();
            let (delivered, stopped) = tokio::join!(
                world.spine.consume(&watch),
                watch.stop_all_answers(&ctx, "race")
            );
            stopped.unwrap();
            if delivered.is_err() {
                world.spine.consume(&watch).await.unwrap();
            }
            world.spine.sequence().await.unwrap();
            let asked = asked(world).await.len() - before;
            // either it was asked before the switch, or it was withheld; never both, never after
            let last = answers(&watch).await[0].state;
            assert_eq!(asked == 1, last == AnswerState::Asked, "{last}");
            assert_eq!(asked == 0, last == AnswerState::Stopped, "{last}");
            watch.resume(&ctx, "next round").await.unwrap();
        }
    }

    async fn eight_who_turn_the_switch_turn_it_once(world: &testkit::World) {
        let watch = open(world, acting());
        let ctx = world.ctx(Actor::Operator { id: None });
        let mut turns = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (watch, ctx) = (watch.clone(), ctx.clone());
            turns.spawn(async move { watch.stop_all_answers(&ctx, "now").await });
        }
        let turned = turns.join_all().await;
        assert_eq!(turned.iter().filter(|turn| turn.is_ok()).count(), 1, "{turned:?}");
        world.spine.sequence().await.unwrap();
        assert_eq!(events(world, "watch.answers_stopped").await, 1);
    }

    async fn a_spent_budget_leaves_the_alert(world: &testkit::World) {
        let set = RuleConfig { budget_per_hour: Some(2), ..RuleConfig::default() };
        let watch = open(world, acting_with("stuffing_client", set));
        for number in 0..4 {
            spray(world, &format!("198.{number}.100.9"), 10).await;
        }
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 2);
        use AnswerState::{Asked, OverBudget};
        assert_eq!(states(&watch).await, [Asked, Asked, OverBudget, OverBudget]);
        assert_eq!(alerts_of(&watch, "stuffing_client").await.len(), 4);
        world.advance(Duration::from_secs(3_600));
        spray(world, "198.9.100.9", 10).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 3);
    }

    async fn a_budget_of_nothing_is_alerts_only(world: &testkit::World) {
        let set = RuleConfig { budget_per_hour: Some(0), ..RuleConfig::default() };
        let watch = open(world, acting_with("stuffing_client", set));
        spray(world, BAD, 10).await;
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        assert_eq!(alerts(&watch).await.len(), 1);
    }

    async fn who_is_on_the_allow_list_is_not_blocked(world: &testkit::World) {
        let allow = vec!["198.51.100.0/24".parse().unwrap()];
        let watch = open(world, WatchConfig { allow, ..acting() });
        spray(world, BAD, 10).await;
        deliver(world, &watch).await;
        assert!(asked(world).await.is_empty());
        assert_eq!(states(&watch).await, [AnswerState::Allowed]);
    }

    // A7, A5
    async fn an_answer_ends_and_an_attack_that_goes_on_is_answered_again(world: &testkit::World) {
        let watch = open(world, acting());
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        let until = answers(&watch).await[0].until.unwrap();
        assert_eq!(until, world.now().plus(Duration::from_secs(900)));
        world.advance(Duration::from_secs(840));
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 1);
        world.advance(Duration::from_secs(61));
        spray(world, BAD, 12).await;
        deliver(world, &watch).await;
        assert_eq!(asked(world).await.len(), 2);
        let alerts = alerts_of(&watch, "stuffing_client").await;
        assert_eq!((alerts.len(), alerts[0].times), (1, 2));
        assert_eq!(events(world, "watch.alert_repeated").await, 1);
    }
}
