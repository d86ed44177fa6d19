//! Signing up: an account is opened, and becomes active when its e-mail address is verified.
//!
//! The answer is the same, and costs the same, whether the address has an account or not; only the
//! owner of the mailbox learns which. The password is chosen behind the mailed link and nowhere
//! else: whoever types another's address knows nothing that will ever open the account, even where
//! its owner takes the link for the own. What was asked for (name, kind) travels sealed with it.

pub(crate) mod http;

use kernel::{AccountId, Ctx, FieldProblem, Secret};
use serde::{Deserialize, Serialize};
use spine::{About, Subject, args, transact};

use crate::account::{AccountKind, AccountState, DisplayName, parse_both, store};
use crate::email::Email;
use crate::error::Error;
use crate::events;
use crate::mail::Letter;
use crate::room::Identity;
use crate::ticket::{Issue, Purpose};

/// A visitor wants an account.
#[derive(Debug)]
pub struct SignUp {
    /// The kind of account.
    pub kind: AccountKind,
    /// The address as typed.
    pub email: String,
    /// The name as typed.
    pub name: String,
}

/// The link of a verification mail was opened, and a password chosen behind it.
#[derive(Debug)]
pub struct VerifyEmail {
    /// The secret in the link.
    pub secret: Secret<String>,
    /// The password as typed.
    pub password: Secret<String>,
}

/// What the link of one sign-up carries, sealed.
#[derive(Serialize, Deserialize)]
struct Asked {
    kind: AccountKind,
    /// Another kind that an operator is asked for.
    applied: Option<AccountKind>,
    name: String,
}

/// A sign-up whose fields hold.
struct Parsed {
    email: Email,
    name: DisplayName,
    kind: AccountKind,
    applied: Option<AccountKind>,
}

impl Parsed {
    fn asked(&self) -> Result<Secret<Vec<u8>>, Error> {
        let (kind, applied, name) = (self.kind, self.applied, self.name.as_str().to_owned());
        let bytes = serde_json::to_vec(&Asked { kind, applied, name });
        bytes.map(Secret::new).map_err(|_| Error::Broken("a sign-up is no JSON"))
    }
}

/// The budget of mails that sign-ups send to one address.
const MAIL_SIGN_UP: &str = "mail.sign_up";

impl Identity {
    /// Opens an account, or tells its owner that somebody tried to. The same answer for both.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong field; [`Error::Limited`] where one client asks too
    /// often.
    pub async fn sign_up(&self, ctx: &Ctx, command: SignUp) -> Result<(), Error> {
        let client = self.client_bucket(ctx, "open", &[], self.config().attempts.open);
        self.charge(ctx, &[client]).await?;
        let parsed = self.parse_sign_up(&command)?;
        let mut read = self.spine().read().await?;
        let index = self.email_index(&parsed.email);
        let known: Option<store::Account> = read.maybe(&store::FIND_BY_EMAIL, args![index]).await?;
        drop(read);
        match known {
            Some(account) => self.sign_up_again(ctx, &account, &parsed).await?,
            None if !self.may_mail(ctx, MAIL_SIGN_UP, &parsed.email).await? => {}
            None => self.sign_up_new(ctx, &parsed).await?,
        }
        self.mail_waits().notify_one();
        Ok(())
    }

    /// Reads every field, so that all problems are told at once.
    fn parse_sign_up(&self, command: &SignUp) -> Result<Parsed, Error> {
        let kind = self.kind_for(command.kind);
        match (kind, parse_both(&command.email, &command.name)) {
            (Ok((kind, applied)), Ok((email, name))) => Ok(Parsed { email, name, kind, applied }),
            (kind, both) => {
                let problems = kind.err().into_iter().chain(both.err().into_iter().flatten());
                Err(Error::Invalid(problems.collect()))
            }
        }
    }

    /// What somebody becomes who wants this kind, and what they apply to be (I11).
    fn kind_for(
        &self,
        wanted: AccountKind,
    ) -> Result<(AccountKind, Option<AccountKind>), FieldProblem> {
        let config = self.config();
        if wanted != AccountKind::Staff && config.sign_up_kinds.contains(&wanted) {
            return Ok((wanted, None));
        }
        if wanted != AccountKind::Staff && config.apply_kinds.contains(&wanted) {
            return Ok((AccountKind::Customer, Some(wanted)));
        }
        let detail = "Accounts of this kind are opened by the shop.".to_owned();
        Err(FieldProblem::new("kind", detail))
    }

    /// Whether one more mail may go to this address for this purpose. Each purpose has its own
    /// budget: sign-ups with a known address cannot keep a reset from its owner. Said to nobody: the
    /// answer stays the same.
    pub(crate) async fn may_mail(
        &self,
        ctx: &Ctx,
        purpose: &str,
        email: &Email,
    ) -> Result<bool, Error> {
        let budget = self.config().attempts.mail;
        let bucket = self.bucket(purpose, email.normal().as_bytes(), budget);
        match self.charge(ctx, &[bucket]).await {
            Ok(()) => Ok(true),
            Err(Error::Limited { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn sign_up_new(&self, ctx: &Ctx, parsed: &Parsed) -> Result<(), Error> {
        let id = AccountId::generate(ctx.now, ctx.entropy());
        self.vault().create(Subject::Account(id)).await?;
        let opened = self.open_unverified(ctx, id, parsed).await;
        if matches!(opened, Ok(None)) {
            return Ok(());
        }
        // Another sign-up with this address came first, or nothing was written: nobody has this
        // key.
        self.vault().shred(Subject::Account(id)).await?;
        match opened? {
            Some(known) => self.sign_up_again(ctx, &known, parsed).await,
            None => Ok(()),
        }
    }

    /// Opens the account; gives the one that came first, where there is one. It is read within the
    /// transaction that it refused: on SQLite its own commit may still be on the way, and readers
    /// would not see it yet.
    async fn open_unverified(
        &self,
        ctx: &Ctx,
        id: AccountId,
        parsed: &Parsed,
    ) -> Result<Option<store::Account>, Error> {
        let asked = parsed.asked()?;
        transact!(self.spine(), ctx, tx => {
            let row = args![
                id.as_bytes(),
                parsed.kind.as_str(),
                AccountState::Unverified.as_str(),
                "",
                self.email_index(&parsed.email),
                self.seal_email(ctx, id, &parsed.email)?,
                self.seal_name(ctx, id, &parsed.name)?,
                ctx.now,
                None::<i64>
            ];
            if tx.change_one(&store::OPEN, row).await?.is_none() {
                let index = self.email_index(&parsed.email);
                return Ok(Some(tx.one(&store::FIND_BY_EMAIL, args![index]).await?));
            }
            let issue = self.verify_issue(id, asked.expose());
            let secret = self.issue(&mut tx, ctx, issue).await?;
            let email = parsed.email.as_str().to_owned();
            tx.emit(About::account(id, 1), events::SignedUp { kind: parsed.kind, email })?;
            let letter = Letter::Verify { secret: &secret };
            self.write(&mut tx, ctx, (id, &parsed.email), letter).await?;
            Ok::<_, Error>(None)
        })
    }

    fn verify_issue<'a>(&self, account: AccountId, asked: &'a [u8]) -> Issue<'a> {
        let life_s = self.config().link.verify_s;
        Issue { account, purpose: Purpose::Verify, payload: Some(asked), life_s }
    }

    /// Tells the owner of a known address: by a link of its own where it is not verified yet, and
    /// by a plain notice where it is.
    async fn sign_up_again(
        &self,
        ctx: &Ctx,
        account: &store::Account,
        parsed: &Parsed,
    ) -> Result<(), Error> {
        if account.state == AccountState::Erased
            || !self.may_mail(ctx, MAIL_SIGN_UP, &parsed.email).await?
        {
            return Ok(());
        }
        let id = account.id;
        let verified = account.state != AccountState::Unverified;
        let asked = parsed.asked()?;
        self.resolve_account(id).await?;
        transact!(self.spine(), ctx, tx => {
            tx.emit(About::account(id, 0), events::SignUpRepeated { verified })?;
            let to = (id, &parsed.email);
            if verified {
                self.write(&mut tx, ctx, to, Letter::KnownAddress).await?;
            } else {
                let issue = self.verify_issue(id, asked.expose());
                let secret = self.issue(&mut tx, ctx, issue).await?;
                self.write(&mut tx, ctx, to, Letter::Verify { secret: &secret }).await?;
            }
            Ok::<_, Error>(())
        })
    }

    /// Whether a verification link is still good, for the page that asks for the password.
    ///
    /// # Errors
    /// [`Error::LinkSpent`].
    pub async fn look_at_verify(&self, ctx: &Ctx, secret: &Secret<String>) -> Result<(), Error> {
        self.ticket(ctx, Purpose::Verify, secret).await.map(|_| ())
    }

    /// Verifies an address by the secret of a mailed link: the account becomes active, with the
    /// password that is chosen here (I2). The link works once.
    ///
    /// # Errors
    /// [`Error::LinkSpent`]; [`Error::Invalid`] for a password that is not taken, and then the link
    /// stays good.
    pub async fn verify_email(&self, ctx: &Ctx, command: VerifyEmail) -> Result<AccountId, Error> {
        let ticket = self.ticket(ctx, Purpose::Verify, &command.secret).await?;
        let id = ticket.account;
        let mut read = self.spine().read().await?;
        let row: Option<store::Account> = read.maybe(&store::FIND, args![id.as_bytes()]).await?;
        drop(read);
        let unverified = |row: &store::Account| row.state == AccountState::Unverified;
        let row = row.filter(unverified).ok_or(Error::LinkSpent)?;
        self.resolve_account(id).await?;
        let asked: Asked = serde_json::from_slice(self.payload(&ticket)?.expose())
            .map_err(|_| Error::Broken("a sign-up's payload cannot be read"))?;
        let name = DisplayName::parse(&asked.name)?;
        let email = self.open_email(&row)?.ok_or(Error::LinkSpent)?;
        let chosen = self.choose(&command.password, &email)?;
        let hash = self.hasher().hash(ctx, &chosen).await?;
        transact!(self.spine(), ctx, tx => {
            self.spend(&mut tx, ctx, &ticket).await?;
            let sealed = self.seal_name(ctx, id, &name)?;
            let row = args![id.as_bytes(), asked.kind.as_str(), sealed, ctx.now];
            let row = tx.change_one(&store::VERIFY, row).await?.ok_or(Error::LinkSpent)?;
            let version = row.int("version").map_err(spine::Error::from)?;
            self.set_hash(&mut tx, ctx, id, &hash).await?;
            let event = events::EmailVerified { kind: asked.kind };
            tx.emit(About::account(id, version), event)?;
            if let Some(applied) = asked.applied {
                self.apply(&mut tx, ctx, id, applied).await?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(id)
    }
}
