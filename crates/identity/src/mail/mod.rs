//! Mail: queued in the transaction of what it tells, sent afterwards, tried again until it is given
//! up.
//!
//! A letter is sealed under its reader's key while it waits (the last one to an erased person,
//! under the day's), so that the queue holds no address and no link in the clear. Sending may
//! happen twice where a node dies between the server's yes and the note of it: every letter bears
//! that.

mod letter;
mod outbox;
mod send;
mod smtp;

use kernel::{AccountId, Ctx};
use serde::{Deserialize, Serialize};
use spine::{BoxFuture, FromRow, Row, StoreError, Subject, Tx, args};

pub(crate) use letter::Letter;
pub(crate) use outbox::http;
pub use outbox::{Kept, Outbox};
pub use send::Delivered;
pub use smtp::{SmtpFiles, SmtpMailer};

use crate::email::Email;
use crate::error::Error;
use crate::room::Identity;
use crate::sealed::Cell;

kernel::id! {
    /// A letter.
    pub MailId = "mai";
}

const SEALED: Cell = Cell { table: "identity_mail", column: "sealed" };

/// A letter, ready to be sent. Personal data; `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// The reader's address.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The body as HTML.
    pub html: String,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail(..)")
    }
}

/// Why a letter was not sent. Log-safe: no address, no text of the server that may hold one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Another try may succeed.
    #[error("the mail server does not take it now: {0}")]
    Later(&'static str),
    /// No try will succeed.
    #[error("the mail server never takes it: {0}")]
    Never(&'static str),
}

/// Where letters go.
pub trait Mailer: Send + Sync {
    /// Sends one letter.
    ///
    /// # Errors
    /// [`MailError`], which says whether to try again.
    fn send<'a>(&'a self, id: MailId, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>>;
}

/// How many letters wait, or were given up, for metrics and `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Letters that wait.
    pub waiting: i64,
    /// Since when the oldest waits, microseconds since 1970; 0 where none does.
    pub oldest_at: i64,
    /// Letters that were given up, as long as they are kept.
    pub given_up: i64,
}

impl FromRow for Waiting {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            waiting: row.int("waiting")?,
            oldest_at: row.int("oldest_at")?,
            given_up: row.int("given_up")?,
        })
    }
}

impl Identity {
    /// Queues a letter to an account, inside the transaction of what it tells.
    pub(crate) async fn write(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (account, email): (AccountId, &Email),
        letter: Letter<'_>,
    ) -> Result<(), Error> {
        self.queue(tx, ctx, (Subject::Account(account), email), letter).await
    }

    /// Queues the last letter to a person whose key is about to be destroyed.
    pub(crate) async fn write_last(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        email: &Email,
        letter: Letter<'_>,
    ) -> Result<(), Error> {
        self.queue(tx, ctx, (Subject::Day(ctx.now.day()), email), letter).await
    }

    async fn queue(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (subject, email): (Subject, &Email),
        letter: Letter<'_>,
    ) -> Result<(), Error> {
        let id = MailId::generate(ctx.now, ctx.entropy());
        let mail = letter.mail(self.site(), email)?;
        let plain = serde_json::to_vec(&mail).map_err(|_| Error::Broken("a mail is no JSON"))?;
        let place = SEALED.at(*id.as_bytes());
        let sealed = self.sealer().seal(subject, place, &plain, ctx.entropy())?;
        let (account, day) = match subject {
            Subject::Account(account) => (*account.as_bytes(), None),
            Subject::Day(day) => ([0; 16], Some(day)),
            Subject::House => ([0; 16], None),
        };
        let row = args![id.as_bytes(), account, letter.name(), day, sealed, ctx.now];
        tx.upkeep(&QUEUE, row).await?;
        Ok(())
    }

    /// How many letters wait, and how many were given up.
    ///
    /// # Errors
    /// As the database says.
    pub async fn mail_waiting(&self) -> Result<Waiting, Error> {
        let mut read = self.spine().read().await?;
        Ok(read.one(&WAITING, args![]).await?)
    }
}

spine::sql! {
    upkeep QUEUE in identity_mail =
        "INSERT INTO identity_mail (id, account, template, day, sealed, state, tries, next_at, \
         lease_until, created_at) VALUES ($1, $2, $3, $4, $5, 'waiting', 0, $6, 0, $6)";
    /// Takes the next letter whose turn it is, for as long as the lease says.
    upkeep TAKE in identity_mail =
        "UPDATE identity_mail SET lease_until = $2, tries = tries + 1 WHERE id = \
         (SELECT id FROM identity_mail WHERE state = 'waiting' AND next_at <= $1 \
         AND lease_until <= $1 ORDER BY next_at LIMIT 1) \
         AND state = 'waiting' AND lease_until <= $1 \
         RETURNING id, account, day, sealed, tries";
    upkeep SENT in identity_mail =
        "UPDATE identity_mail SET state = 'sent', sent_at = $2 WHERE id = $1";
    upkeep AGAIN in identity_mail =
        "UPDATE identity_mail SET next_at = $2, lease_until = 0 WHERE id = $1";
    upkeep GIVE_UP in identity_mail = "UPDATE identity_mail SET state = 'given_up' WHERE id = $1";
    upkeep ERASE in identity_mail = "DELETE FROM identity_mail WHERE account = $1";
    upkeep SWEEP in identity_mail =
        "DELETE FROM identity_mail WHERE created_at < $1 AND state <> 'waiting'";
    read WAITING =
        "SELECT COUNT(*) AS waiting, COALESCE(MIN(created_at), 0) AS oldest_at, \
         (SELECT COUNT(*) FROM identity_mail WHERE state = 'given_up') AS given_up \
         FROM identity_mail WHERE state = 'waiting'";
}
