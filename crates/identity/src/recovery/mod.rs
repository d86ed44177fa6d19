//! A forgotten password: a link to the verified address, good once and for half an hour; with the
//! new password every session ends, because whoever needed the link may not be the only one inside.

pub(crate) mod http;

use kernel::{AccountId, Ctx, Secret};
use spine::{About, Subject, args, transact};

use crate::account::{AccountState, store as account};
use crate::email::Email;
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::mail::Letter;
use crate::room::Identity;
use crate::session::EndReason;
use crate::ticket::{Issue, Purpose};

/// Somebody forgot the password of this address.
#[derive(Clone, Debug)]
pub struct ForgotPassword {
    /// The address as typed.
    pub email: String,
}

/// The link of a mail was opened, and a new password chosen.
#[derive(Debug)]
pub struct ResetPassword {
    /// The secret in the link.
    pub secret: Secret<String>,
    /// The new password as typed.
    pub password: Secret<String>,
}

impl Identity {
    /// Sends a link, if the address belongs to an active account. The same answer whether or not.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no address; [`Error::Limited`] where one client asks too
    /// often.
    pub async fn forgot_password(&self, ctx: &Ctx, command: ForgotPassword) -> Result<(), Error> {
        let email = Email::parse(&command.email)?;
        let client = self.client_bucket(ctx, "open", &[], self.config().attempts.open);
        self.charge(ctx, &[client]).await?;
        let mut read = self.spine().read().await?;
        let known: Option<account::Account> =
            read.maybe(&account::FIND_BY_EMAIL, args![self.email_index(&email)]).await?;
        drop(read);
        if !self.may_mail(ctx, "mail.reset", &email).await? {
            return Ok(());
        }
        let known = known.filter(|account| account.state == AccountState::Active);
        self.request_reset(ctx, &email, known.map(|account| account.id)).await?;
        self.mail_waits().notify_one();
        Ok(())
    }

    async fn request_reset(
        &self,
        ctx: &Ctx,
        email: &Email,
        id: Option<AccountId>,
    ) -> Result<(), Error> {
        let about = match id {
            Some(id) => About::account(id, 0),
            None => About::unknown(ctx.now, "account", [0; 16]),
        };
        let subjects = [about.subject, Subject::Day(ctx.now.day())];
        self.vault().resolve(&subjects).await?;
        transact!(self.spine(), ctx, tx => {
            let event = events::ResetRequested {
                known: id.is_some(),
                email: email.as_str().to_owned(),
            };
            tx.emit(about, event)?;
            if let Some(id) = id {
                let secret = self.issue(&mut tx, ctx, self.reset_issue(id)).await?;
                let letter = Letter::Reset { secret: &secret };
                self.write(&mut tx, ctx, (id, email), letter).await?;
            }
            Ok::<_, Error>(())
        })
    }

    pub(crate) fn reset_issue(&self, account: AccountId) -> Issue<'static> {
        let life_s = self.config().link.reset_s;
        Issue { account, purpose: Purpose::Reset, payload: None, life_s }
    }

    /// Whether a reset link is still good, for the page that asks for the new password.
    ///
    /// # Errors
    /// [`Error::LinkSpent`].
    pub async fn look_at_reset(&self, ctx: &Ctx, secret: &Secret<String>) -> Result<(), Error> {
        self.ticket(ctx, Purpose::Reset, secret).await.map(|_| ())
    }

    /// Sets a new password by a mailed link. Every session of the account ends.
    ///
    /// # Errors
    /// [`Error::LinkSpent`]; [`Error::Invalid`] for a password that is not taken, and then the link
    /// stays good.
    pub async fn reset_password(
        &self,
        ctx: &Ctx,
        command: ResetPassword,
    ) -> Result<AccountId, Error> {
        let ticket = self.ticket(ctx, Purpose::Reset, &command.secret).await?;
        let id = ticket.account;
        let mut read = self.spine().read().await?;
        let row: Option<account::Account> =
            read.maybe(&account::FIND, args![id.as_bytes()]).await?;
        drop(read);
        let row = row.filter(|row| row.state == AccountState::Active).ok_or(Error::LinkSpent)?;
        self.resolve_account(id).await?;
        let email = self.open_email(&row)?.ok_or(Error::LinkSpent)?;
        let chosen = self.choose(&command.password, &email)?;
        let hash = self.hasher().hash(ctx, &chosen).await?;
        transact!(self.spine(), ctx, tx => {
            self.spend(&mut tx, ctx, &ticket).await?;
            self.set_hash(&mut tx, ctx, id, &hash).await?;
            let all = (id, Which::All);
            let ended = self.end_all(&mut tx, ctx, all, EndReason::PasswordChanged).await?;
            let how = events::PasswordChange::Reset;
            tx.emit(About::account(id, 0), events::PasswordChanged { how, ended })?;
            self.write(&mut tx, ctx, (id, &email), Letter::PasswordChanged).await?;
            Ok::<_, Error>(())
        })?;
        self.mail_waits().notify_one();
        Ok(id)
    }
}
