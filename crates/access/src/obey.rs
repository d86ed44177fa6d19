//! Obeying: a rule or a person asked for a client to be blocked or let in again; this room does it,
//! in the transaction in which it notes that it has read so far, and tells what it did.

use kernel::Timestamp;
use spine::{About, ActionKind, BoxFuture, Consumer, Error as SpineError, Event as _, Recorded};
use spine::{ResponseRequested, Subject, Tx};
use web::feed::Net;

use crate::block::Block;
use crate::error::Error;
use crate::events::{BlockSource, Obeyed, ResponseApplied};
use crate::room::Access;

/// Follows the log for [`ActionKind::BlockClient`] and [`ActionKind::UnblockClient`]. Dry runs are
/// left alone; budgets are the asking rule's.
#[derive(Clone, Debug)]
pub struct Responses {
    room: Access,
}

/// A requested reason is a rule's words; cut to what a block keeps.
const REASON_BYTES: usize = 500;

impl Responses {
    /// The consumer of this room.
    #[must_use]
    pub const fn new(room: Access) -> Self {
        Self { room }
    }

    async fn obey(
        &self,
        tx: &mut Tx,
        asked: &Recorded,
        request: &ResponseRequested,
    ) -> Result<(), Error> {
        let done = match (request.action, request.address) {
            (ActionKind::BlockClient, Some(address)) => {
                let net = Net::of_client(address);
                self.block(tx, net, request).await?
            }
            (ActionKind::UnblockClient, Some(address)) => {
                let lifted = self.room.unblock_in(tx, Net::of_client(address)).await?;
                if lifted { Obeyed::Unblocked } else { Obeyed::Nothing }
            }
            (ActionKind::BlockClient | ActionKind::UnblockClient, None) => Obeyed::Nothing,
            // Other rooms' business.
            (
                ActionKind::EndSessions
                | ActionKind::EndSession
                | ActionKind::StepUp
                | ActionKind::Alert,
                _,
            ) => return Ok(()),
        };
        let applied = ResponseApplied {
            action: request.action,
            done,
            rule: request.rule.clone(),
            request: asked.id,
            address: request.address,
            until: request.until,
        };
        tx.emit(About::unknown(tx.ctx().now, "response", *asked.id.as_bytes()), applied)?;
        Ok(())
    }

    async fn block(
        &self,
        tx: &mut Tx,
        net: Net,
        request: &ResponseRequested,
    ) -> Result<Obeyed, Error> {
        if self.room.protects(net).is_some() {
            return Ok(Obeyed::Protected);
        }
        if request.until.is_some_and(|until| until <= tx.ctx().now) {
            return Ok(Obeyed::Nothing);
        }
        let end = request.reason.floor_char_boundary(REASON_BYTES);
        let block = Block {
            net,
            until: request.until,
            reason: request.reason.get(..end).unwrap_or_default().to_owned(),
            rule: request.rule.clone(),
            source: BlockSource::Rule,
        };
        let blocked = self.room.block_in(tx, &block).await?.ok_or(Error::Raced)?;
        Ok(if blocked.extended { Obeyed::Extended } else { Obeyed::Blocked })
    }
}

/// Today, and the day that may begin before the transaction does.
fn days(now: Timestamp) -> [Subject; 2] {
    let soon = now.plus(std::time::Duration::from_secs(60));
    [Subject::Day(now.day()), Subject::Day(soon.day())]
}

impl Consumer for Responses {
    fn name(&self) -> &'static str {
        "access.responses"
    }

    fn kinds(&self) -> &'static [&'static str] {
        const KINDS: &[&str] = &[ResponseRequested::SPEC.kind];
        KINDS
    }

    fn prepare<'a>(&'a self, _: &'a [Recorded]) -> BoxFuture<'a, Result<(), SpineError>> {
        Box::pin(async move {
            let now = self.room.own_ctx().now;
            self.room.spine().sealer().resolve(&days(now)).await?;
            Ok(())
        })
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), SpineError>> {
        Box::pin(async move {
            for event in events {
                // None: erased meanwhile. Nobody can say any more whom to block.
                let Some(request) = event.parse::<ResponseRequested>() else { continue };
                if !request.dry_run {
                    self.obey(tx, event, &request).await.map_err(Error::into_spine)?;
                }
            }
            Ok(())
        })
    }
}
