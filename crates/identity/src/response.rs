//! Obeying: what a rule of `watch` or a person at the console asks of this room is done here, once,
//! in the transaction that moves the cursor, and told as done.

use kernel::{AccountId, SessionId};
use spine::{
    About, ActionKind, BoxFuture, Consumer, Event as _, Recorded, ResponseRequested, Tx, args,
};

use crate::account::store as account;
use crate::ending::Which;
use crate::error::Error;
use crate::events::{self, Obeyed};
use crate::room::Identity;
use crate::session::EndReason;

/// The consumer that obeys.
#[derive(Clone, Debug)]
pub struct Responses(pub Identity);

/// What is asked of this room, as far as it concerns it.
enum Asked {
    EndSessions(AccountId),
    EndSession(AccountId, SessionId),
    StepUp(AccountId),
}

impl Asked {
    fn of(request: &ResponseRequested) -> Option<Self> {
        if request.dry_run {
            return None;
        }
        let account = request.account?;
        match request.action {
            ActionKind::EndSessions => Some(Self::EndSessions(account)),
            ActionKind::EndSession => {
                request.session.map(|session| Self::EndSession(account, session))
            }
            ActionKind::StepUp => Some(Self::StepUp(account)),
            // The edge's and the people's.
            ActionKind::BlockClient | ActionKind::UnblockClient | ActionKind::Alert => None,
        }
    }

    const fn account(&self) -> AccountId {
        match self {
            Self::EndSessions(account) | Self::EndSession(account, _) | Self::StepUp(account) => {
                *account
            }
        }
    }
}

impl Responses {
    async fn obey(&self, tx: &mut Tx, request: &ResponseRequested) -> Result<(), Error> {
        let Some(asked) = Asked::of(request) else { return Ok(()) };
        let (done, count) = self.act(tx, &asked).await?;
        let event = events::ResponseApplied { done, rule: request.rule.clone(), count };
        // An erased person has no key to seal under; the house tells that there was nothing to do.
        let about = match done {
            Obeyed::Nothing => About::house("account", [0; 16], 0),
            Obeyed::EndedSessions | Obeyed::EndedFamily | Obeyed::SteppedUp => {
                About::account(asked.account(), 0)
            }
        };
        tx.emit(about, event)?;
        Ok(())
    }

    async fn act(&self, tx: &mut Tx, asked: &Asked) -> Result<(Obeyed, u64), Error> {
        let ctx = tx.ctx().clone();
        let room = &self.0;
        let id = asked.account();
        let row: Option<account::Account> = tx.maybe(&account::FIND, args![id.as_bytes()]).await?;
        let alive = row.is_some_and(|row| row.state != crate::account::AccountState::Erased);
        if !alive {
            return Ok((Obeyed::Nothing, 0));
        }
        match asked {
            Asked::EndSessions(id) => {
                let all = (*id, Which::All);
                let count = room.end_all(tx, &ctx, all, EndReason::Response).await?;
                Ok((Obeyed::EndedSessions, count))
            }
            Asked::EndSession(id, session) => {
                let of = (*id, *session);
                let ended = room.end_one(tx, &ctx, of, EndReason::Response).await?;
                Ok(if ended { (Obeyed::EndedFamily, 1) } else { (Obeyed::Nothing, 0) })
            }
            Asked::StepUp(id) => {
                let row = args![id.as_bytes(), ctx.now];
                let asked = tx.change_one(&account::ASK_AGAIN, row).await?.is_some();
                Ok(if asked { (Obeyed::SteppedUp, 1) } else { (Obeyed::Nothing, 0) })
            }
        }
    }
}

impl Consumer for Responses {
    fn name(&self) -> &'static str {
        "identity.responses"
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[ResponseRequested::SPEC.kind]
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), spine::Error>> {
        Box::pin(async move {
            for event in events {
                let Some(request) = event.parse::<ResponseRequested>() else { continue };
                match self.obey(tx, &request).await {
                    Ok(()) => {}
                    Err(Error::Spine(error)) => return Err(error),
                    Err(Error::Seal(error)) => return Err(error.into()),
                    Err(error) => {
                        tracing::error!(%error, rule = request.rule, "a response was not obeyed");
                    }
                }
            }
            Ok(())
        })
    }
}
