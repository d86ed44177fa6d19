//! Second factors: which an account has, how a code is judged, and how one is taken away.
//!
//! A code is judged against everything that the account has of its method, charged before it is
//! looked at, and used up in the transaction of what it allows: of two who show one code at one
//! moment, one is refused. With each factor that comes or goes, every other session of the account
//! ends, because none of them proved it.

pub(crate) mod http;
pub(crate) mod store;

use kernel::{AccountId, Ctx, Secret, SessionId, Timestamp};
use serde::Serialize;
use spine::{About, Tx, args, transact};

use crate::account::{AccountState, store::Account};
use crate::attempt::Bucket;
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::gate::Method;
use crate::mail::Letter;
use crate::room::Identity;
use crate::sealed::Cell;
use crate::session::EndReason;
use crate::{backup_code, totp};

kernel::id! {
    /// A second factor of an account.
    pub FactorId = "fac";
}

/// The most factors of one account.
pub(crate) const FACTORS_MAX: usize = 5;

pub(crate) const NAME: Cell = Cell { table: "identity_factor", column: "name_sealed" };
pub(crate) const SECRET: Cell = Cell { table: "identity_factor", column: "secret_sealed" };

/// A second factor in its owner's list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FactorView {
    /// The factor.
    pub id: FactorId,
    /// What it is.
    pub method: Method,
    /// What its owner calls it.
    pub name: String,
    /// When it was added, microseconds since 1970.
    pub added_at: Timestamp,
    /// When it was last used, microseconds since 1970.
    pub used_at: Option<Timestamp>,
}

/// The second factors of an account.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Factors {
    /// One by one, oldest first.
    pub factors: Vec<FactorView>,
    /// Backup codes that were not used yet.
    pub backup_codes_left: u32,
}

/// A factor is to be taken away.
#[derive(Debug)]
pub struct RemoveFactor {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// The factor.
    pub factor: FactorId,
    /// A code of any factor, also of this one.
    pub code: Code,
}

/// A code as typed, of the method that the person chose.
#[derive(Debug)]
pub struct Code {
    /// The method.
    pub method: Method,
    /// The code.
    pub code: Secret<String>,
}

/// A code that is right, to be used up.
#[derive(Debug)]
pub(crate) enum Proof {
    Totp { factor: FactorId, step: i64 },
    BackupCode { hash: [u8; 32] },
}

impl Identity {
    /// Everything that an account has, also what was not confirmed yet.
    pub(crate) async fn factor_rows(&self, id: AccountId) -> Result<Vec<store::Factor>, Error> {
        let mut read = self.spine().read().await?;
        Ok(read.all(&store::LIST, args![id.as_bytes()]).await?)
    }

    /// The second factors of an account.
    ///
    /// # Errors
    /// As the database or the vault says.
    pub async fn factors(&self, id: AccountId) -> Result<Factors, Error> {
        let rows = self.factor_rows(id).await?;
        // Of an erased person there is neither a row nor a key.
        if !rows.is_empty() {
            self.resolve_account(id).await?;
        }
        let mut factors = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(added_at) = row.confirmed_at else { continue };
            let name = self.open_text(id, NAME, *row.id.as_bytes(), &row.name_sealed)?;
            let (id, method, used_at) = (row.id, row.method, row.used_at);
            factors.push(FactorView { id, method, name, added_at, used_at });
        }
        Ok(Factors { factors, backup_codes_left: self.backup_codes_left(id).await? })
    }

    /// Judges a code under its budget.
    ///
    /// # Errors
    /// [`Error::CodeWrong`] whatever is wrong with it; [`Error::Limited`].
    pub(crate) async fn check_code(
        &self,
        ctx: &Ctx,
        account: &Account,
        (method, code, device): (Method, &Secret<String>, Option<&Secret<String>>),
    ) -> Result<Proof, Error> {
        let bucket = self.code_bucket(ctx, account.id, (method, device)).await?;
        self.charge(ctx, &[bucket]).await?;
        let judged = match self.judge_code(ctx, account.id, (method, code)).await {
            Ok(judged) => judged,
            Err(error) => {
                // Not judged: the attempt does not count.
                self.give_back(&[bucket]).await?;
                return Err(error);
            }
        };
        let Some(proof) = judged else {
            transact!(self.spine(), ctx, tx => {
                let about = About::account(account.id, 0);
                tx.emit(about, events::SecondFactorRefused { method })?;
                Ok::<_, Error>(())
            })?;
            return Err(Error::CodeWrong);
        };
        self.give_back(&[bucket]).await?;
        Ok(proof)
    }

    /// Guesses of strangers at one method of an account share one budget; a device that the account
    /// knows has its own.
    async fn code_bucket(
        &self,
        ctx: &Ctx,
        id: AccountId,
        (method, device): (Method, Option<&Secret<String>>),
    ) -> Result<Bucket, Error> {
        let budget = self.config().attempts.second;
        let strangers = self.bucket(&format!("second.{method}"), id.as_bytes(), budget);
        let Some(token) = device else { return Ok(strangers) };
        let owner = self.device_owner(id).await?;
        let known = owner.and_then(|owner| self.known_device(ctx, owner, token));
        let Some(known) = known else { return Ok(strangers) };
        let what = [id.as_bytes().as_slice(), &known].concat();
        Ok(self.bucket(&format!("second.{method}.device"), &what, budget))
    }

    async fn judge_code(
        &self,
        ctx: &Ctx,
        id: AccountId,
        (method, code): (Method, &Secret<String>),
    ) -> Result<Option<Proof>, Error> {
        match method {
            // Never asked for here.
            Method::Password | Method::TrustedDevice => Ok(None),
            Method::Totp => {
                let rows = self.factor_rows(id).await?;
                self.resolve_account(id).await?;
                for row in rows.iter().filter(|row| row.confirmed_at.is_some()) {
                    let key = self.totp_key(id, row)?;
                    let step = key.step_of(code, ctx.now).filter(|step| *step > row.last_step);
                    if let Some(step) = step {
                        return Ok(Some(Proof::Totp { factor: row.id, step }));
                    }
                }
                Ok(None)
            }
            Method::BackupCode => self.judge_backup_code(id, code).await,
        }
    }

    /// Uses a code up, inside the transaction of what it allows.
    ///
    /// # Errors
    /// [`Error::CodeWrong`] where somebody else did so since it was judged.
    pub(crate) async fn use_up(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        id: AccountId,
        proof: &Proof,
    ) -> Result<(), Error> {
        let used = match proof {
            Proof::Totp { factor, step } => {
                let row = args![factor.as_bytes(), id.as_bytes(), *step, ctx.now];
                tx.change_one(&store::USE, row).await?
            }
            Proof::BackupCode { hash } => {
                let row = args![id.as_bytes(), *hash, ctx.now];
                tx.change_one(&backup_code::store::USE, row).await?
            }
        };
        if used.is_none() {
            return Err(Error::CodeWrong);
        }
        if matches!(proof, Proof::BackupCode { .. }) {
            let left: backup_code::store::Count =
                tx.one(&backup_code::store::LEFT, args![id.as_bytes()]).await?;
            tx.emit(About::account(id, 0), events::BackupCodeUsed { left: left.0 })?;
        }
        Ok(())
    }

    /// Takes a factor away; with the last one the backup codes go too. The other sessions end.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::CodeWrong`], [`Error::Limited`]; [`Error::LastFactor`] where
    /// accounts of this kind must have one.
    pub async fn remove_factor(&self, ctx: &Ctx, command: RemoveFactor) -> Result<(), Error> {
        let RemoveFactor { account: id, session, factor, code } = command;
        let account = self.known(id).await?;
        let rows = self.factor_rows(id).await?;
        let mut confirmed = rows.iter().filter(|row| row.confirmed_at.is_some());
        let row = confirmed.clone().find(|row| row.id == factor).ok_or(Error::NotFound)?;
        let is_last = confirmed.all(|other| other.id == factor);
        if is_last && self.config().policy.of(account.kind).second_factor.is_required() {
            return Err(Error::LastFactor);
        }
        let email = self.open_email(&account)?;
        let proof = self.check_code(ctx, &account, (code.method, &code.code, None)).await?;
        transact!(self.spine(), ctx, tx => {
            self.use_up(&mut tx, ctx, id, &proof).await?;
            let gone = args![factor.as_bytes(), id.as_bytes()];
            tx.change_one(&store::REMOVE, gone).await?.ok_or(Error::NotFound)?;
            if is_last {
                tx.change(&backup_code::store::ERASE, args![id.as_bytes()]).await?;
            }
            let others = (id, Which::AllBut(session));
            let ended = self.end_all(&mut tx, ctx, others, EndReason::FactorChanged).await?;
            let about = About::thing_of(id, "factor", *factor.as_bytes(), 0);
            tx.emit(about, events::FactorRemoved { method: row.method, ended })?;
            if let Some(email) = &email {
                self.write(&mut tx, ctx, (id, email), Letter::FactorRemoved).await?;
            }
            Ok::<_, Error>(())
        })?;
        self.mail_waits().notify_one();
        Ok(())
    }

    /// Takes every second factor of an account away, for an owner who has lost them all: an
    /// operator's act. Every session ends; the owner is written to.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::State`] where the account has none.
    pub async fn reset_factors(&self, ctx: &Ctx, id: AccountId, reason: &str) -> Result<(), Error> {
        let account = self.known(id).await?;
        let email = self.open_email(&account)?;
        transact!(self.spine(), ctx, tx => {
            let gone = tx.change(&store::ERASE, args![id.as_bytes()]).await?.len();
            let codes = tx.change(&backup_code::store::ERASE, args![id.as_bytes()]).await?.len();
            if gone + codes == 0 {
                return Err(Error::State("without a second factor"));
            }
            let all = (id, Which::All);
            let ended = self.end_all(&mut tx, ctx, all, EndReason::FactorChanged).await?;
            let count = u32::try_from(gone).unwrap_or(u32::MAX);
            let reason = reason.to_owned();
            tx.emit(About::account(id, 0), events::FactorsReset { count, ended, reason })?;
            let known = email.as_ref().filter(|_| account.state != AccountState::Unverified);
            if let Some(email) = known {
                self.write(&mut tx, ctx, (id, email), Letter::FactorRemoved).await?;
            }
            Ok::<_, Error>(())
        })?;
        self.mail_waits().notify_one();
        Ok(())
    }

    /// The opened key of a factor; the account's key must be resolved.
    pub(crate) fn totp_key(&self, id: AccountId, row: &store::Factor) -> Result<totp::Key, Error> {
        let place = SECRET.at(*row.id.as_bytes());
        totp::Key::read(&self.unseal(id, place, &row.secret_sealed)?)
    }
}
