//! Obeying: a rule or a person asked for a client to be blocked or let in again; this room does it,
//! in the transaction in which it notes that it has read so far, and tells what it did.

use spine::{About, ActionKind, Asked, BoxFuture, Obeys, Tx};
use web::feed::Net;

use crate::block::Block;
use crate::error::Error;
use crate::events::{BlockSource, Obeyed, ResponseApplied};
use crate::room::Access;

/// A requested reason is a rule's words; cut to what a block keeps.
const REASON_BYTES: usize = 500;

impl Obeys for Access {
    type Error = Error;

    const NAME: &'static str = "access.responses";
    const ACTIONS: &'static [ActionKind] = &[ActionKind::BlockClient, ActionKind::UnblockClient];

    fn obey<'a>(&'a self, tx: &'a mut Tx, asked: &'a Asked) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let net = asked.address.map(Net::of_client);
            let done = match (asked.action, net) {
                (ActionKind::BlockClient, Some(net)) => self.block_as_asked(tx, net, asked).await?,
                (ActionKind::UnblockClient, Some(net)) => {
                    let lifted = self.unblock_in(tx, net).await?;
                    if lifted { Obeyed::Unblocked } else { Obeyed::Nothing }
                }
                // No address was named; another action is none of `ACTIONS`.
                _ => Obeyed::Nothing,
            };
            let applied = ResponseApplied {
                action: asked.action,
                done,
                rule: asked.rule.clone(),
                request: asked.request,
                address: asked.address,
                until: asked.until,
            };
            let request = *asked.request.as_bytes();
            tx.emit(About::unknown(tx.ctx().now, "response", request), applied)?;
            Ok(())
        })
    }
}

impl Access {
    async fn block_as_asked(&self, tx: &mut Tx, net: Net, asked: &Asked) -> Result<Obeyed, Error> {
        if self.protects(net).is_some() {
            return Ok(Obeyed::Protected);
        }
        if asked.until.is_some_and(|until| until <= tx.ctx().now) {
            return Ok(Obeyed::Nothing);
        }
        let end = asked.reason.floor_char_boundary(REASON_BYTES);
        let block = Block {
            net,
            until: asked.until,
            reason: asked.reason.get(..end).unwrap_or_default().to_owned(),
            rule: asked.rule.clone(),
            source: BlockSource::Rule,
        };
        let blocked = self.block_in(tx, &block).await?.ok_or(Error::Raced)?;
        Ok(if blocked.extended { Obeyed::Extended } else { Obeyed::Blocked })
    }
}
