//! The sender: takes letters one by one under a lease, and tries again ever more rarely.

use std::time::Duration;

use kernel::{AccountId, Ctx, Timestamp};
use spine::{Row, SealError, StoreError, Subject, args};

use super::{AGAIN, GIVE_UP, Mail, MailError, MailId, Mailer, SEALED, SENT, TAKE};
use crate::error::Error;
use crate::room::Identity;

/// How long a letter belongs to the node that took it: longer than any mail server's answer.
const LEASE: Duration = Duration::from_secs(120);
/// Letters sent in one go before the sender looks around.
const BATCH: usize = 100;
/// How long the sender waits for a ring before it looks by itself.
const LOOK: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const WAIT_MAX_S: u64 = 4 * 3_600;

/// What one go of the sender did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Letters that were sent.
    pub sent: usize,
    /// Letters that wait for another try.
    pub again: usize,
    /// Letters that were given up.
    pub given_up: usize,
}

/// A letter that was taken.
struct Taken {
    id: MailId,
    subject: Subject,
    sealed: Vec<u8>,
    tries: u32,
}

impl Taken {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let subject = match row.opt_int("day")? {
            Some(day) => Subject::Day(day),
            None => Subject::Account(AccountId::from_bytes(row.id16("account")?)),
        };
        Ok(Self {
            id: MailId::from_bytes(row.id16("id")?),
            subject,
            sealed: row.bytes("sealed")?,
            tries: u32::try_from(row.int("tries")?).unwrap_or(u32::MAX),
        })
    }
}

/// The wait before the next try: 10 s, doubled each time, at most 4 hours, and up to a quarter more
/// by chance, so that letters that failed together do not come together.
fn wait(tries: u32, chance: u8) -> Duration {
    let base_s = 10_u64.saturating_mul(1 << tries.min(20).saturating_sub(1)).min(WAIT_MAX_S);
    Duration::from_millis(base_s * 1_000 + base_s * 1_000 * u64::from(chance) / 1_024)
}

impl Identity {
    /// Sends letters whose turn it is, at most a hundred.
    ///
    /// # Errors
    /// As the database says; what the mail server says is not an error here.
    pub async fn deliver(&self, ctx: &Ctx, mailer: &dyn Mailer) -> Result<Delivered, Error> {
        let mut delivered = Delivered::default();
        for _ in 0..BATCH {
            // A slow server: the letter before may have taken minutes.
            let Some(taken) = self.take(self.now()).await? else { break };
            let outcome = match self.open_mail(&taken).await {
                Ok(mail) => mailer.send(taken.id, &mail).await,
                // Its reader was erased meanwhile.
                Err(
                    Error::Vault(vault::Error::Erased)
                    | Error::Seal(SealError::Erased | SealError::Forged)
                    | Error::Broken(_),
                ) => Err(MailError::Never("it cannot be opened any more")),
                // Keys that cannot be had now: it is another's turn once the lease is over.
                Err(error) => return Err(error),
            };
            self.note(ctx, &taken, outcome, &mut delivered).await?;
        }
        Ok(delivered)
    }

    async fn take(&self, now: Timestamp) -> Result<Option<Taken>, Error> {
        let mut upkeep = self.spine().upkeep().await?;
        let rows = upkeep.rows(&TAKE, args![now, now.plus(LEASE)]).await?;
        upkeep.commit().await?;
        let taken = rows.first().map(Taken::from_row).transpose();
        Ok(taken.map_err(spine::Error::from)?)
    }

    async fn open_mail(&self, taken: &Taken) -> Result<Mail, Error> {
        self.vault().resolve(&[taken.subject]).await?;
        let place = SEALED.at(*taken.id.as_bytes());
        let plain = self.sealer().open(taken.subject, place, &taken.sealed)?;
        serde_json::from_slice(&plain).map_err(|_| Error::Broken("a mail cannot be read"))
    }

    async fn note(
        &self,
        ctx: &Ctx,
        taken: &Taken,
        outcome: Result<(), MailError>,
        delivered: &mut Delivered,
    ) -> Result<(), Error> {
        let (id, now) = (taken.id.as_bytes(), self.now());
        let mut upkeep = self.spine().upkeep().await?;
        match outcome {
            Ok(()) => {
                upkeep.run(&SENT, args![id, now]).await?;
                delivered.sent += 1;
            }
            Err(MailError::Later(why)) if taken.tries < self.config().mail.tries_max => {
                let [chance] = ctx.random::<1>();
                let next = now.plus(wait(taken.tries, chance));
                upkeep.run(&AGAIN, args![id, next]).await?;
                tracing::warn!(mail = %taken.id, tries = taken.tries, why, "a mail waits");
                delivered.again += 1;
            }
            Err(error) => {
                upkeep.run(&GIVE_UP, args![id]).await?;
                tracing::error!(mail = %taken.id, tries = taken.tries, %error, "a mail given up");
                delivered.given_up += 1;
            }
        }
        upkeep.commit().await?;
        Ok(())
    }

    /// Sends letters for ever. The program runs this as one of its tasks and drops it to stop.
    pub async fn serve_mail(&self, mailer: &dyn Mailer) {
        loop {
            if let Err(error) = self.deliver(&self.own_ctx(), mailer).await {
                tracing::error!(%error, "the mail queue cannot be worked on");
            }
            // The ring is a hint, the look is the truth.
            let _rung = tokio::time::timeout(LOOK, self.mail_waits().notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        assert_eq!(wait(1, 0), Duration::from_secs(10));
        assert_eq!(wait(2, 0), Duration::from_secs(20));
        assert_eq!(wait(30, 0), Duration::from_secs(WAIT_MAX_S));
        assert!(wait(1, 255) > wait(1, 0) && wait(1, 255) < wait(2, 0));
    }
}
