//! Answers are obeyed once; one that is refused leaves nothing behind and holds up no other.

use kernel::{AccountId, Kind, Refusal, Refused};
use spine::{
    About, ActionKind, Asked, BoxFuture, Obedience, Obeys, ResponseRequested, Subject, Tx,
};
use testkit::{World, on_both};

use crate::thing::{ROOMS, ThingCounted, count_things, make_in};

/// Makes a thing for each answer, and then refuses where the rule is called so.
struct Room;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("refused")]
    Refused,
    #[error("the spine fails")]
    Spine(#[from] spine::Error),
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        match self {
            Self::Refused => Refused::new(Kind::Conflict, "demo.refused", "Not now."),
            Self::Spine(error) => error.refused(),
        }
    }
}

impl Obeys for Room {
    type Error = Error;

    const NAME: &'static str = "demo.responses";
    const ACTIONS: &'static [ActionKind] = &[ActionKind::StepUp];

    fn obey<'a>(&'a self, tx: &'a mut Tx, asked: &'a Asked) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            make_in(tx, asked.account.unwrap(), &asked.rule).await;
            if asked.rule == "refused" {
                return Err(Error::Refused);
            }
            tx.emit(About::house("thing", [0; 16], 0), ThingCounted { count: 1 })?;
            Ok(())
        })
    }
}

async fn ask(world: &World, account: AccountId, rule: &str, dry_run: bool) {
    let asked = ResponseRequested::new(ActionKind::StepUp, rule, "a test");
    world.ask(ResponseRequested { account: Some(account), dry_run, ..asked }).await;
}

on_both! { ROOMS;
    async fn what_is_refused_is_not_half_done(world: &World) {
        let anna = world.person().await;
        world.vault.resolve(&[Subject::House]).await.unwrap();
        for (rule, dry_run) in [("obeyed", false), ("refused", false), ("dry", true), ("also", false)] {
            ask(world, anna, rule, dry_run).await;
        }
        let block = ResponseRequested::new(ActionKind::BlockClient, "another room's", "a test");
        world.ask(ResponseRequested { account: Some(anna), ..block }).await;
        let obedience = Obedience::new(Room);
        // The first try meets the refusal and is undone whole; the second goes on without it.
        let met = world.spine.consume(&obedience).await.unwrap_err();
        assert!(matches!(met, spine::Error::Room { .. }), "{met}");
        world.spine.consume(&obedience).await.unwrap();
        world.spine.consume(&obedience).await.unwrap();
        assert_eq!(count_things(world).await, 2);
        assert_eq!(world.told("demo.thing_counted").await.len(), 2);
        world.check_log().await;
    }
}
