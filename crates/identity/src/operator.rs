//! What operators do to accounts, at the console and at the command line: the same verbs for both,
//! each told as an event with who did it.

use kernel::{AccountId, Ctx, FieldProblem, Limits, Secret};
use spine::{About, Subject, Tx, args, transact};

use crate::account::{
    AccountKind, AccountState, AccountView, DisplayName, StaffRole, parse_both, roles_text, store,
};
use crate::email::Email;
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::mail::Letter;
use crate::room::Identity;
use crate::session::EndReason;
use crate::ticket;

/// An operator opens an account for somebody; its address counts as verified.
#[derive(Debug)]
pub struct OpenAccount {
    /// The kind.
    pub kind: AccountKind,
    /// The address as typed.
    pub email: String,
    /// The name as typed.
    pub name: String,
    /// Staff roles; empty for all but staff.
    pub roles: Vec<StaffRole>,
    /// The password; without one, a link to choose it is mailed.
    pub password: Option<Secret<String>>,
}

/// Which accounts to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListAccounts {
    /// Only this kind.
    pub kind: Option<AccountKind>,
    /// After this one; none for the first page.
    pub after: Option<AccountId>,
    /// Rows of a page, at most 200.
    pub rows: i64,
}

/// An operator locks an account.
#[derive(Clone, Debug)]
pub struct LockAccount {
    /// The account.
    pub account: AccountId,
    /// Why, for the log; sealed.
    pub reason: String,
}

pub(crate) fn version_of(row: &spine::Row) -> Result<i64, Error> {
    Ok(row.int("version").map_err(spine::Error::from)?)
}

impl Identity {
    /// Opens an account.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every wrong field; [`Error::Taken`].
    pub async fn open_account(&self, ctx: &Ctx, command: OpenAccount) -> Result<AccountId, Error> {
        let (email, name) = parse_both(&command.email, &command.name).map_err(Error::Invalid)?;
        if command.kind != AccountKind::Staff && !command.roles.is_empty() {
            let detail = "Only staff have roles.".to_owned();
            return Err(Error::field(FieldProblem::new("roles", detail)));
        }
        let hash = match &command.password {
            Some(password) => {
                let chosen = self.choose(password, &email)?;
                Some(self.hasher().hash(ctx, &chosen).await?)
            }
            None => None,
        };
        let id = AccountId::generate(ctx.now, ctx.entropy());
        self.vault().create(Subject::Account(id)).await?;
        let opened = self.open_active(ctx, (id, &command), (&email, &name), hash.as_ref()).await;
        if opened.is_err() {
            self.vault().shred(Subject::Account(id)).await?;
        }
        opened?;
        self.mail_waits().notify_one();
        Ok(id)
    }

    async fn open_active(
        &self,
        ctx: &Ctx,
        (id, command): (AccountId, &OpenAccount),
        (email, name): (&Email, &DisplayName),
        hash: Option<&Secret<String>>,
    ) -> Result<(), Error> {
        let roles = roles_text(&command.roles);
        transact!(self.spine(), ctx, tx => {
            let row = args![
                id.as_bytes(),
                command.kind.as_str(),
                AccountState::Active.as_str(),
                &roles,
                self.email_index(email),
                self.seal_email(ctx, id, email)?,
                self.seal_name(ctx, id, name)?,
                ctx.now,
                Some(ctx.now)
            ];
            if tx.change_one(&store::OPEN, row).await?.is_none() {
                return Err(Error::Taken);
            }
            if let Some(hash) = hash {
                self.set_hash(&mut tx, ctx, id, hash).await?;
            } else {
                let secret = self.issue(&mut tx, ctx, self.reset_issue(id)).await?;
                let letter = Letter::Invitation { secret: &secret };
                self.write(&mut tx, ctx, (id, email), letter).await?;
            }
            let event = events::AccountOpened {
                kind: command.kind,
                roles: roles.clone(),
                email: email.as_str().to_owned(),
            };
            tx.emit(About::account(id, 1), event)?;
            Ok::<_, Error>(())
        })
    }

    /// The account with this address, for operators.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no address; as the database or the vault says.
    pub async fn find_account(&self, email: &str) -> Result<Option<AccountView>, Error> {
        let index = self.email_index(&Email::parse(email)?);
        let mut read = self.spine().read().await?;
        let row: Option<store::Account> = read.maybe(&store::FIND_BY_EMAIL, args![index]).await?;
        drop(read);
        let Some(row) = row else { return Ok(None) };
        self.resolve_account(row.id).await?;
        self.view(&row).map(Some)
    }

    /// One page of accounts, in the order of their opening.
    ///
    /// # Errors
    /// As the database or the vault says.
    pub async fn list_accounts(&self, command: ListAccounts) -> Result<Vec<AccountView>, Error> {
        let after = command.after.map_or([0; 16], |id| *id.as_bytes());
        let kind = command.kind.map_or("", AccountKind::as_str);
        let rows = command.rows.clamp(1, Limits::PAGE_ROWS);
        let mut read = self.spine().read().await?;
        let found: Vec<store::Account> = read.all(&store::LIST, args![after, kind, rows]).await?;
        drop(read);
        let subjects: Vec<Subject> = found.iter().map(|row| Subject::Account(row.id)).collect();
        self.vault().resolve(&subjects).await?;
        found.iter().map(|row| self.view(row)).collect()
    }

    /// Locks an account: nobody signs in, and every session ends.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] where it is not active.
    pub async fn lock_account(&self, ctx: &Ctx, command: LockAccount) -> Result<u64, Error> {
        let id = command.account;
        let row = self.known(id).await?;
        transact!(self.spine(), ctx, tx => {
            let before = self.administrators(&mut tx, row.kind).await?;
            let locked = tx.change_one(&store::LOCK, args![id.as_bytes()]).await?;
            locked.ok_or(Error::State("not active"))?;
            self.keep_an_administrator(&mut tx, before).await?;
            let all = (id, Which::All);
            let ended = self.end_all(&mut tx, ctx, all, EndReason::AccountLocked).await?;
            // No link from before opens the account once it is unlocked.
            tx.change(&ticket::SPEND_ALL, args![id.as_bytes(), ctx.now]).await?;
            let reason = command.reason.clone();
            tx.emit(About::account(id, 0), events::AccountLocked { ended, reason })?;
            Ok::<_, Error>(ended)
        })
    }

    /// Unlocks an account.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] where it is not locked.
    pub async fn unlock_account(&self, ctx: &Ctx, id: AccountId) -> Result<(), Error> {
        self.known(id).await?;
        transact!(self.spine(), ctx, tx => {
            let row = tx.change_one(&store::UNLOCK, args![id.as_bytes()]).await?;
            let version = version_of(&row.ok_or(Error::State("not locked"))?)?;
            tx.emit(About::account(id, version), events::AccountUnlocked {})?;
            Ok::<_, Error>(())
        })
    }

    /// Gives one of the staff exactly these roles; their sessions end, so that no token says more.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] for an account that is none of the staff.
    pub async fn set_roles(
        &self,
        ctx: &Ctx,
        id: AccountId,
        roles: &[StaffRole],
    ) -> Result<(), Error> {
        let kind = self.known(id).await?.kind;
        let roles = roles_text(roles);
        transact!(self.spine(), ctx, tx => {
            let before = self.administrators(&mut tx, kind).await?;
            let row = tx.change_one(&store::GIVE_ROLES, args![id.as_bytes(), &roles]).await?;
            let version = version_of(&row.ok_or(Error::State("not one of the staff"))?)?;
            self.keep_an_administrator(&mut tx, before).await?;
            let all = (id, Which::All);
            self.end_all(&mut tx, ctx, all, EndReason::Operator).await?;
            let event = events::RolesChanged { roles: roles.clone() };
            tx.emit(About::account(id, version), event)?;
            Ok::<_, Error>(())
        })
    }

    /// Names an account in the system that it was imported from, so that a later import finds it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Taken`] where another account has this name there.
    pub async fn name_external(
        &self,
        ctx: &Ctx,
        id: AccountId,
        external: &str,
    ) -> Result<(), Error> {
        self.known(id).await?;
        let index = self.vault().blind("identity.external", external.as_bytes());
        transact!(self.spine(), ctx, tx => {
            let sealed = self.seal_external(ctx, id, external)?;
            let row = tx.change_one(&store::NAME_EXTERNAL, args![id.as_bytes(), index, sealed]);
            let row = match row.await {
                Err(spine::Error::Store(spine::StoreError::Unique)) => return Err(Error::Taken),
                row => row?.ok_or(Error::NotFound)?,
            };
            let version = version_of(&row)?;
            tx.emit(About::account(id, version), events::ProfileChanged {})?;
            Ok::<_, Error>(())
        })
    }

    /// The account that another system knows by this name.
    ///
    /// # Errors
    /// As the database or the vault says.
    pub async fn find_external(&self, external: &str) -> Result<Option<AccountView>, Error> {
        let index = self.vault().blind("identity.external", external.as_bytes());
        let mut read = self.spine().read().await?;
        let row: Option<store::Account> =
            read.maybe(&store::FIND_BY_EXTERNAL, args![index]).await?;
        drop(read);
        let Some(row) = row else { return Ok(None) };
        self.resolve_account(row.id).await?;
        self.view(&row).map(Some)
    }

    /// A link to choose a new password, to be handed over by the operator.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] where the account is not active.
    pub async fn reset_link(&self, ctx: &Ctx, id: AccountId) -> Result<Secret<String>, Error> {
        if self.known(id).await?.state != AccountState::Active {
            return Err(Error::State("not active"));
        }
        let secret = transact!(self.spine(), ctx, tx => {
            let secret = self.issue(&mut tx, ctx, self.reset_issue(id)).await?;
            tx.emit(About::account(id, 0), events::ResetLinkMade {})?;
            Ok::<_, Error>(secret)
        })?;
        let base = &self.site().public_url;
        Ok(Secret::new(format!("{base}/auth/reset?token={}", secret.expose())))
    }

    /// Asks an account to prove its password again before anything sensitive.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn ask_again(&self, ctx: &Ctx, id: AccountId) -> Result<(), Error> {
        self.known(id).await?;
        transact!(self.spine(), ctx, tx => {
            let row = tx.change_one(&store::ASK_AGAIN, args![id.as_bytes(), ctx.now]).await?;
            let version = version_of(&row.ok_or(Error::State("not active"))?)?;
            tx.emit(About::account(id, version), events::StepUpAsked {})?;
            Ok::<_, Error>(())
        })
    }

    /// How many administrators there are before a change to an account of this kind; none where it
    /// can be none of them. Until the commit nobody else changes one: of two who demote each other
    /// at one moment, the second sees what the first did (I12).
    pub(crate) async fn administrators(
        &self,
        tx: &mut Tx,
        kind: AccountKind,
    ) -> Result<Option<i64>, Error> {
        if kind != AccountKind::Staff {
            return Ok(None);
        }
        tx.upkeep(&store::TAKE_TURN, args!["administrators"]).await?;
        let Found(found) = tx.one(&store::COUNT_ADMINS, args![]).await?;
        Ok(Some(found))
    }

    /// Refuses a change, made in this transaction, that takes the last administrator away.
    pub(crate) async fn keep_an_administrator(
        &self,
        tx: &mut Tx,
        before: Option<i64>,
    ) -> Result<(), Error> {
        if before.unwrap_or_default() == 0 {
            return Ok(());
        }
        let Found(left) = tx.one(&store::COUNT_ADMINS, args![]).await?;
        if left == 0 { Err(Error::State("the last administrator")) } else { Ok(()) }
    }

    /// The account's row, with its key fetched.
    pub(crate) async fn known(&self, id: AccountId) -> Result<store::Account, Error> {
        let mut read = self.spine().read().await?;
        let row: Option<store::Account> = read.maybe(&store::FIND, args![id.as_bytes()]).await?;
        let row = row.filter(|row| row.state != AccountState::Erased).ok_or(Error::NotFound)?;
        self.resolve_account(id).await?;
        Ok(row)
    }
}

struct Found(i64);

impl spine::FromRow for Found {
    fn from_row(row: &spine::Row) -> Result<Self, spine::StoreError> {
        row.int("found").map(Self)
    }
}
