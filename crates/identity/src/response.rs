//! Obeying: what a rule of `watch` or a person at the console asks of this room is done here, once,
//! in the transaction that moves the cursor, and told as done.

use spine::{About, ActionKind, Asked, BoxFuture, Obeys, Tx, args};

use crate::account::{AccountState, store as account};
use crate::ending::Which;
use crate::error::Error;
use crate::events::{self, Obeyed};
use crate::room::Identity;
use crate::session::EndReason;

impl Obeys for Identity {
    type Error = Error;

    const NAME: &'static str = "identity.responses";
    const ACTIONS: &'static [ActionKind] =
        &[ActionKind::EndSessions, ActionKind::EndSession, ActionKind::StepUp];

    fn obey<'a>(&'a self, tx: &'a mut Tx, asked: &'a Asked) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Some(account) = asked.account else { return Ok(()) };
            let (done, count) = self.act(tx, asked).await?;
            let event = events::ResponseApplied { done, rule: asked.rule.clone(), count };
            // An erased person has no key to seal under; the house tells that nothing was to do.
            let about = match done {
                Obeyed::Nothing => About::house("account", [0; 16], 0),
                Obeyed::EndedSessions | Obeyed::EndedFamily | Obeyed::SteppedUp => {
                    About::account(account, 0)
                }
            };
            tx.emit(about, event)?;
            Ok(())
        })
    }
}

impl Identity {
    async fn act(&self, tx: &mut Tx, asked: &Asked) -> Result<(Obeyed, u64), Error> {
        const NOTHING: (Obeyed, u64) = (Obeyed::Nothing, 0);
        let ctx = tx.ctx().clone();
        let Some(id) = asked.account else { return Ok(NOTHING) };
        let row: Option<account::Account> = tx.maybe(&account::FIND, args![id.as_bytes()]).await?;
        if row.is_none_or(|row| row.state == AccountState::Erased) {
            return Ok(NOTHING);
        }
        match (asked.action, asked.session) {
            (ActionKind::EndSessions, _) => {
                let all = (id, Which::All);
                let count = self.end_all(tx, &ctx, all, EndReason::Response).await?;
                Ok((Obeyed::EndedSessions, count))
            }
            (ActionKind::EndSession, Some(session)) => {
                let ended = self.end_one(tx, &ctx, (id, session), EndReason::Response).await?;
                Ok(if ended { (Obeyed::EndedFamily, 1) } else { NOTHING })
            }
            (ActionKind::StepUp, _) => {
                let row = args![id.as_bytes(), ctx.now];
                let asked = tx.change_one(&account::ASK_AGAIN, row).await?.is_some();
                Ok(if asked { (Obeyed::SteppedUp, 1) } else { NOTHING })
            }
            // No session was named; another action is none of `ACTIONS`.
            _ => Ok(NOTHING),
        }
    }
}
