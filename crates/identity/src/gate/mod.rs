//! The gate (I13): whoever proved a first factor comes through here, whichever door it was, and
//! nowhere else does a sign-in become a session.
//!
//! Where the account has a second factor, or its kind must have one, the sign-in is half-way: a
//! secret that opens nothing but the next step, for ten minutes. Guesses at the next step have a
//! budget for each account and method, whatever the number of sign-ins, clients and addresses; it is
//! spent for one method at a time, so that who guesses keeps nobody from the others.

pub(crate) mod http;
mod method;
pub(crate) mod store;

use std::time::Duration;

use kernel::{AccountId, Ctx, Secret, SessionId, Timestamp};
use spine::{About, Tx, args, transact};

pub use method::{Method, Methods};

use crate::account::{self, store::Account};
use crate::config::SecondFactor;
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::factor::{Code, FactorId, Proof};
use crate::mail::Letter;
use crate::refresh::AppTokens;
use crate::room::Identity;
use crate::session::{Client, EndReason, Entered, Opened, Renewed};
use crate::ticket::secret_hash;
use crate::totp::TotpKey;

kernel::id! {
    /// A sign-in that is half-way.
    pub(crate) PendingId = "pnd";
}

/// How long a sign-in may stay half-way.
const HALF_WAY: Duration = Duration::from_secs(600);

/// What an app is called that was added on the way in.
const FIRST_APP: &str = "Authenticator app";

/// Where a first factor led.
#[derive(Debug)]
#[must_use]
pub enum Admission<T> {
    /// Inside.
    Inside(T),
    /// Half-way: another factor is asked for.
    Pending(Pending),
}

impl<T> Admission<T> {
    /// What is inside; none half-way.
    #[must_use]
    pub fn inside(self) -> Option<T> {
        match self {
            Self::Inside(inside) => Some(inside),
            Self::Pending(_) => None,
        }
    }

    pub(crate) fn map<U>(self, inside: impl FnOnce(T) -> U) -> Admission<U> {
        match self {
            Self::Inside(found) => Admission::Inside(inside(found)),
            Self::Pending(pending) => Admission::Pending(pending),
        }
    }
}

/// A sign-in that is half-way.
#[derive(Debug)]
pub struct Pending {
    /// What goes on with it: for a cookie, or for an app to keep; never stored.
    pub secret: Secret<String>,
    /// Until when.
    pub ends_at: Timestamp,
    /// By what it can go on. None: the account must get a second factor first.
    pub methods: Vec<Method>,
}

/// What a sign-in that is half-way can go on by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// The methods. None: the account must get a second factor first.
    pub methods: Vec<Method>,
    /// How long the device may be trusted afterwards; none where it may not.
    pub remember: Option<Duration>,
}

/// A second factor for a sign-in that is half-way.
#[derive(Debug)]
pub struct ProveSecond {
    /// The secret of the sign-in.
    pub secret: Secret<String>,
    /// What signs in: the same as before.
    pub client: Client,
    /// The method.
    pub method: Method,
    /// The code as typed.
    pub code: Secret<String>,
    /// The token by which the account knows the device, where it shows one.
    pub device: Option<Secret<String>>,
    /// Whether the device is to be trusted from now on, where the policy allows it.
    pub remember: bool,
}

/// A second factor, for what asks for one in a session.
#[derive(Debug)]
pub struct StepUp {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// The code.
    pub code: Code,
}

/// The first code of an authenticator app, for a sign-in that may not go on without one.
#[derive(Debug)]
pub struct ProveFirst {
    /// The secret of the sign-in.
    pub secret: Secret<String>,
    /// What signs in: the same as before.
    pub client: Client,
    /// The factor that was begun.
    pub factor: FactorId,
    /// The code as typed.
    pub code: Secret<String>,
}

/// What comes after a proof.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Enter,
    /// Another factor, by one of these.
    Prove(Vec<Method>),
    /// Another factor, which the account does not have yet.
    Enrol,
}

/// What comes next for an account with methods of its own, under the rule for its kind.
fn next(rule: SecondFactor, proved: &Methods, own: &[Method]) -> Next {
    if proved.are_two() {
        return Next::Enter;
    }
    let choices = proved.beside(own);
    match (rule, choices.is_empty()) {
        (_, false) => Next::Prove(choices),
        (SecondFactor::Required, true) => Next::Enrol,
        (SecondFactor::Optional, true) => Next::Enter,
    }
}

impl Identity {
    /// The methods by which an account can prove more than its password, in their order.
    pub(crate) async fn own_methods(&self, id: AccountId) -> Result<Vec<Method>, Error> {
        let mut read = self.spine().read().await?;
        let own: Vec<store::Own> = read.all(&store::OWN, args![id.as_bytes()]).await?;
        let mut own: Vec<Method> = own.into_iter().map(|store::Own(method)| method).collect();
        own.sort_unstable();
        Ok(own)
    }

    /// Lets in who proved enough, or opens the way to the next step. `own` was read before; an
    /// account that got a factor since has another epoch, and its sign-in is refused.
    pub(crate) async fn admit(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: &Account,
        (client, proved, own): (Client, &Methods, &[Method]),
    ) -> Result<Admission<Entered>, Error> {
        let rule = self.config().policy.of(account.kind).second_factor;
        let methods = match next(rule, proved, own) {
            Next::Enter => {
                let opening = self.opening(ctx, account.kind, client, proved.clone());
                let entered = self.enter(tx, ctx, account, opening).await?;
                let entered = entered.ok_or(Error::SignInRefused)?;
                tell(tx, &entered.opened, client)?;
                return Ok(Admission::Inside(entered));
            }
            Next::Prove(methods) => methods,
            Next::Enrol => Vec::new(),
        };
        let pending = self.begin_pending(tx, ctx, account, (client, proved, methods)).await?;
        Ok(Admission::Pending(pending))
    }

    async fn begin_pending(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: &Account,
        (client, proved, methods): (Client, &Methods, Vec<Method>),
    ) -> Result<Pending, Error> {
        let id = PendingId::generate(ctx.now, ctx.entropy());
        let secret = account::secret(ctx);
        let ends_at = ctx.now.plus(HALF_WAY);
        let row = args![
            id.as_bytes(),
            account.id.as_bytes(),
            account.epoch,
            client.as_str(),
            proved.to_string(),
            secret_hash(secret.expose()),
            ctx.now,
            ends_at
        ];
        if tx.change_one(&store::BEGIN, row).await?.is_none() {
            return Err(Error::SignInRefused);
        }
        let about = About::thing_of(account.id, "sign_in", *id.as_bytes(), 1);
        tx.emit(about, events::SecondFactorAsked { client, enrols: methods.is_empty() })?;
        Ok(Pending { secret, ends_at, methods })
    }

    /// What a sign-in that is half-way can go on by.
    ///
    /// # Errors
    /// [`Error::SignInOver`] where there is none, whatever the cause.
    pub async fn look_at_pending(
        &self,
        ctx: &Ctx,
        secret: &Secret<String>,
        client: Client,
    ) -> Result<Choices, Error> {
        let pending = self.pending(ctx, secret, client).await?;
        let methods = pending.proved.beside(&self.own_methods(pending.account).await?);
        let kind = self.known(pending.account).await?.kind;
        Ok(Choices { methods, remember: self.trust_life(kind) })
    }

    /// The sign-in that a secret goes on with.
    pub(crate) async fn pending(
        &self,
        ctx: &Ctx,
        secret: &Secret<String>,
        client: Client,
    ) -> Result<store::Pending, Error> {
        let hash = secret_hash(secret.expose());
        let mut read = self.spine().read().await?;
        let found: Option<store::Pending> = read.maybe(&store::FIND, args![hash, ctx.now]).await?;
        found.filter(|pending| pending.client == client).ok_or(Error::SignInOver)
    }

    /// Proves a second factor in a browser: the sign-in is whole.
    ///
    /// # Errors
    /// [`Error::SignInOver`] where it is not half-way any more, [`Error::CodeWrong`] for whatever is
    /// wrong with the code, [`Error::Limited`] after too many.
    pub async fn prove_second(&self, ctx: &Ctx, command: ProveSecond) -> Result<Opened, Error> {
        Ok(self.finish_pending(ctx, command).await?.opened)
    }

    /// The same for the shop's app.
    ///
    /// # Errors
    /// As [`Identity::prove_second`].
    pub async fn prove_second_app(
        &self,
        ctx: &Ctx,
        command: ProveSecond,
    ) -> Result<AppTokens, Error> {
        let entered = self.finish_pending(ctx, command).await?;
        self.tokens_of(ctx, entered).await
    }

    /// Begins an authenticator app for an account that must have a second factor and has none.
    ///
    /// # Errors
    /// [`Error::SignInOver`] where that is not so.
    pub async fn enrol_pending(
        &self,
        ctx: &Ctx,
        secret: &Secret<String>,
        client: Client,
    ) -> Result<TotpKey, Error> {
        let pending = self.enrolling(ctx, secret, client).await?;
        self.begin_totp(ctx, pending.account, FIRST_APP).await
    }

    /// The key that [`Identity::enrol_pending`] made, to be shown once more.
    ///
    /// # Errors
    /// [`Error::SignInOver`], [`Error::NotFound`].
    pub async fn enrolled_pending(
        &self,
        ctx: &Ctx,
        (secret, client): (&Secret<String>, Client),
        factor: FactorId,
    ) -> Result<TotpKey, Error> {
        let pending = self.enrolling(ctx, secret, client).await?;
        self.begun_totp(pending.account, factor).await
    }

    async fn enrolling(
        &self,
        ctx: &Ctx,
        secret: &Secret<String>,
        client: Client,
    ) -> Result<store::Pending, Error> {
        let pending = self.pending(ctx, secret, client).await?;
        let own = self.own_methods(pending.account).await?;
        if own.is_empty() { Ok(pending) } else { Err(Error::SignInOver) }
    }

    /// Proves the first code of the app that was begun: the account has its second factor, and the
    /// sign-in is whole. Every other session ends. Gives the backup codes, to be shown once.
    ///
    /// # Errors
    /// As [`Identity::prove_second`], [`Error::NotFound`] where no app was begun.
    pub async fn prove_first(
        &self,
        ctx: &Ctx,
        command: ProveFirst,
    ) -> Result<(Opened, Vec<Secret<String>>), Error> {
        let ProveFirst { secret, client, factor, code } = command;
        let pending = self.enrolling(ctx, &secret, client).await?;
        let proved = pending.proved.and(Method::Totp).ok_or(Error::SignInOver)?;
        let account = self.known(pending.account).await?;
        let email = self.open_email(&account)?;
        let id = account.id;
        let step = self.first_code(ctx, (id, factor), &code).await?;
        let inside = transact!(self.spine(), ctx, tx => {
            let entered = self.finish(&mut tx, ctx, &account, (&pending, Method::Totp, &proved));
            let opened = entered.await?.opened;
            let codes = self.activate(&mut tx, ctx, (id, factor), step).await?;
            let others = (id, Which::AllBut(opened.session));
            let ended = self.end_all(&mut tx, ctx, others, EndReason::FactorChanged).await?;
            let about = About::thing_of(id, "factor", *factor.as_bytes(), 2);
            tx.emit(about, events::FactorAdded { method: Method::Totp, ended })?;
            if let Some(email) = &email {
                self.write(&mut tx, ctx, (id, email), Letter::FactorAdded).await?;
            }
            Ok::<_, Error>((opened, codes))
        })?;
        self.mail_waits().notify_one();
        Ok(inside)
    }

    /// Makes a sign-in that is half-way whole.
    async fn finish(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: &Account,
        (pending, method, proved): (&store::Pending, Method, &Methods),
    ) -> Result<Entered, Error> {
        let client = pending.client;
        let row = args![pending.id.as_bytes(), ctx.now];
        tx.change_one(&store::FINISH, row).await?.ok_or(Error::SignInOver)?;
        let about = About::thing_of(account.id, "sign_in", *pending.id.as_bytes(), 2);
        tx.emit(about, events::SecondFactorProved { client, method })?;
        let opening = self.opening(ctx, account.kind, client, proved.clone());
        let entered = self.enter(tx, ctx, account, opening).await?.ok_or(Error::SignInOver)?;
        tell(tx, &entered.opened, client)?;
        Ok(entered)
    }

    /// Proves a second factor inside a session: the session's successor has proved it, and is fresh.
    ///
    /// # Errors
    /// [`Error::CodeWrong`], [`Error::Limited`]; [`Error::SessionEnded`] where the session is over.
    pub async fn step_up(&self, ctx: &Ctx, command: StepUp) -> Result<Renewed, Error> {
        let StepUp { account: id, session: before, code: Code { method, code } } = command;
        let account = self.known(id).await?;
        let email = self.open_email(&account)?;
        let proof = self.check_code(ctx, &account, (method, &code, None)).await?;
        let renewed = transact!(self.spine(), ctx, tx => {
            self.use_up(&mut tx, ctx, id, &proof).await?;
            let how = (EndReason::Renewed, method);
            let renewed = self.renew(&mut tx, ctx, (id, before), how).await?;
            let session = renewed.opened.session;
            let about = About::thing_of(id, "session", *session.as_bytes(), 1);
            let client = renewed.client;
            tx.emit(about, events::SteppedUp { client, method, session, before })?;
            if let (Proof::BackupCode { .. }, Some(email)) = (&proof, &email) {
                self.write(&mut tx, ctx, (id, email), Letter::BackupCodeUsed).await?;
            }
            Ok::<_, Error>(renewed)
        })?;
        self.mail_waits().notify_one();
        Ok(renewed)
    }

    async fn finish_pending(&self, ctx: &Ctx, command: ProveSecond) -> Result<Entered, Error> {
        let ProveSecond { secret, client, method, code, device, remember } = command;
        let pending = self.pending(ctx, &secret, client).await?;
        let proved = pending.proved.and(method).ok_or(Error::CodeWrong)?;
        let account = self.known(pending.account).await?;
        let email = self.open_email(&account)?;
        let proof = self.check_code(ctx, &account, (method, &code, device.as_ref())).await?;
        let entered = transact!(self.spine(), ctx, tx => {
            self.use_up(&mut tx, ctx, account.id, &proof).await?;
            if let (Proof::BackupCode { .. }, Some(email)) = (&proof, &email) {
                self.write(&mut tx, ctx, (account.id, email), Letter::BackupCodeUsed).await?;
            }
            let entered = self.finish(&mut tx, ctx, &account, (&pending, method, &proved)).await?;
            let trust = match remember {
                true => self.begin_trust(&mut tx, ctx, &account, client).await?,
                false => None,
            };
            Ok::<_, Error>(entered.with_trust(trust))
        })?;
        self.mail_waits().notify_one();
        Ok(entered)
    }
}

fn tell(tx: &mut Tx, opened: &Opened, client: Client) -> Result<(), Error> {
    let about = About::thing_of(opened.account, "session", *opened.session.as_bytes(), 1);
    let event = events::LoginSucceeded { client, kind: opened.kind, session: opened.session };
    tx.emit(about, event)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_second_factor_proves_it_and_who_must_have_one_gets_it() {
        use SecondFactor::{Optional, Required};
        let password = Methods::of(Method::Password);
        let own = [Method::Totp, Method::BackupCode];
        for rule in [Optional, Required] {
            assert_eq!(next(rule, &password, &own), Next::Prove(own.to_vec()));
            let both = password.and(Method::Totp).unwrap();
            assert_eq!(next(rule, &both, &own), Next::Enter);
            // What was proved first is none of the choices.
            let code = Methods::of(Method::BackupCode);
            assert_ne!(next(Required, &code, &own), Next::Enter);
        }
        assert_eq!(next(Optional, &password, &[]), Next::Enter);
        assert_eq!(next(Required, &password, &[]), Next::Enrol);
    }
}
