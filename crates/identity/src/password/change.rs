//! A password becomes another inside a session, or is proved again there. Either way the session
//! goes on as its successor.
//!
//! Both have a budget of their own, so that guesses from outside never keep the owner from acting
//! inside a session that lives; a wrong one is told like a sign-in that was refused.

use kernel::{AccountId, Ctx, Secret, SessionId};
use spine::{About, args, transact};

use super::{Password, store};
use crate::account::store as account;
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::gate::Method;
use crate::mail::Letter;
use crate::room::Identity;
use crate::session::{Client, EndReason, Renewed, store as session};
use crate::ticket;

/// Another password, by its owner.
#[derive(Debug)]
pub struct ChangePassword {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// The present password.
    pub old: Secret<String>,
    /// The new one.
    pub new: Secret<String>,
}

/// The present password once more, for what is sensitive.
#[derive(Debug)]
pub struct ConfirmPassword {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// The present password.
    pub password: Secret<String>,
}

/// A password that was proved, with what its replacement is guarded by.
struct Proved {
    account: account::Account,
    version: i64,
    client: Client,
}

impl Identity {
    /// Checks the password of an account from inside one of its sessions.
    async fn prove(
        &self,
        ctx: &Ctx,
        (id, session): (AccountId, SessionId),
        (field, typed): (&'static str, &Secret<String>),
    ) -> Result<Proved, Error> {
        let typed = Password::typed(field, typed)?;
        let bucket = self.bucket("prove", session.as_bytes(), self.config().attempts.session);
        self.charge(ctx, &[bucket]).await?;
        let (right, proved) = match self.compare(&typed, (id, session), ctx).await {
            Ok(compared) => compared,
            Err(error) => {
                // Not judged: the attempt does not count.
                self.give_back(&[bucket]).await?;
                return Err(error);
            }
        };
        if !right {
            self.tell_refused(ctx, (id, session), proved.client).await?;
            return Err(Error::PasswordWrong { field });
        }
        self.give_back(&[bucket]).await?;
        Ok(proved)
    }

    /// Whether the password is the account's, and what its replacement is guarded by.
    async fn compare(
        &self,
        typed: &Password,
        (id, session): (AccountId, SessionId),
        ctx: &Ctx,
    ) -> Result<(bool, Proved), Error> {
        let mut read = self.spine().read().await?;
        let live: Option<session::Live> =
            read.maybe(&session::LIVE_BY_ID, args![session.as_bytes(), ctx.now]).await?;
        let account: Option<account::Account> =
            read.maybe(&account::FIND, args![id.as_bytes()]).await?;
        let stored: Option<store::Stored> = read.maybe(&store::FIND, args![id.as_bytes()]).await?;
        drop(read);
        let live = live.filter(|session::Live(live)| live.account == id);
        let client = live.ok_or(Error::SessionEnded)?.0.client;
        let (account, stored) = account.zip(stored).ok_or(Error::NotFound)?;
        self.resolve_account(id).await?;
        let hash = self.open_hash(id, &stored.hash_sealed)?;
        let right = self.hasher().verify(typed, &hash).await?.right;
        Ok((right, Proved { account, version: stored.version, client }))
    }

    async fn tell_refused(
        &self,
        ctx: &Ctx,
        (id, session): (AccountId, SessionId),
        client: Client,
    ) -> Result<(), Error> {
        transact!(self.spine(), ctx, tx => {
            let about = About::thing_of(id, "session", *session.as_bytes(), 0);
            tx.emit(about, events::PasswordRefused { client, session })?;
            Ok::<_, Error>(())
        })
    }

    /// Puts a new password in the place of the old one; every session of the account ends, and the
    /// person goes on in the successor of the one in which this was done.
    ///
    /// # Errors
    /// [`Error::PasswordWrong`], [`Error::Invalid`] for a new one that is not taken,
    /// [`Error::Limited`] after too many tries.
    pub async fn change_password(
        &self,
        ctx: &Ctx,
        command: ChangePassword,
    ) -> Result<Renewed, Error> {
        let ChangePassword { account: id, session, old, new } = command;
        let proved = self.prove(ctx, (id, session), ("old", &old)).await?;
        let email = self.open_email(&proved.account)?.ok_or(Error::NotFound)?;
        let chosen = self.choose(&new, &email)?;
        let hash = self.hasher().hash(ctx, &chosen).await?;
        let renewed = transact!(self.spine(), ctx, tx => {
            let at = (id, proved.version);
            if !self.replace_hash(&mut tx, ctx, at, &hash).await? {
                return Err(Error::PasswordWrong { field: "old" });
            }
            let reason = EndReason::PasswordChanged;
            let renewed = self.renew(&mut tx, ctx, (id, session), (reason, Method::Password)).await?;
            let which = Which::AllBut(renewed.opened.session);
            let ended = self.end_all(&mut tx, ctx, (id, which), reason).await?;
            // A link that somebody read in an earlier mail would undo what the owner did here.
            tx.change(&ticket::SPEND_ALL, args![id.as_bytes(), ctx.now]).await?;
            let how = events::PasswordChange::Changed;
            tx.emit(About::account(id, 0), events::PasswordChanged { how, ended })?;
            self.write(&mut tx, ctx, (id, &email), Letter::PasswordChanged).await?;
            Ok::<_, Error>(renewed)
        })?;
        self.mail_waits().notify_one();
        Ok(renewed)
    }

    /// Proves the password again: the successor of the session counts as fresh.
    ///
    /// # Errors
    /// [`Error::PasswordWrong`], [`Error::Limited`] after too many tries.
    pub async fn confirm_password(
        &self,
        ctx: &Ctx,
        command: ConfirmPassword,
    ) -> Result<Renewed, Error> {
        let ConfirmPassword { account: id, session: before, password } = command;
        let client = self.prove(ctx, (id, before), ("password", &password)).await?.client;
        if client == Client::App {
            // Pages are for browsers: an app would lose its successor's refresh token here.
            return Err(Error::SessionEnded);
        }
        transact!(self.spine(), ctx, tx => {
            let how = (EndReason::Renewed, Method::Password);
            let renewed = self.renew(&mut tx, ctx, (id, before), how).await?;
            let session = renewed.opened.session;
            let about = About::thing_of(id, "session", *session.as_bytes(), 1);
            tx.emit(about, events::PasswordConfirmed { client, session, before })?;
            Ok::<_, Error>(renewed)
        })
    }

    /// Proves the password for an act that asks for it each time.
    pub(crate) async fn prove_for(
        &self,
        ctx: &Ctx,
        of: (AccountId, SessionId),
        typed: &Secret<String>,
    ) -> Result<account::Account, Error> {
        Ok(self.prove(ctx, of, ("password", typed)).await?.account)
    }
}
