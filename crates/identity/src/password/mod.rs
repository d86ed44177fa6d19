//! Passwords: which are taken, how they are hashed and stored, how one becomes another.

mod breached;
mod change;
mod common;
mod hash;
mod memory;
mod phc;
mod policy;
pub(crate) mod store;

use kernel::{AccountId, Ctx, FieldProblem, Secret};
use spine::{Place, Tx, args};

pub use breached::{Breached, BreachedError, Built, ListForm, build_breached};
pub use change::{ChangePassword, ConfirmPassword};
pub use hash::Hasher;
pub(crate) use hash::{Place as HashingPlace, Verdict};
pub(crate) use policy::{About, Password};
pub use policy::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};

use crate::error::Error;
use crate::room::Identity;
use crate::sealed::Cell;

const LEAKED: &str = "This password is in lists of leaked passwords, which are tried first. Choose \
                      another one.";

const HASH: Cell = Cell { table: "identity_password", column: "hash_sealed" };

const fn place(account: AccountId) -> Place<'static> {
    HASH.at(*account.as_bytes())
}

impl Identity {
    /// Judges a new password for the person with this address.
    pub(crate) fn choose(
        &self,
        typed: &Secret<String>,
        email: &crate::email::Email,
    ) -> Result<Password, Error> {
        let about = About { email, site: &self.site().name };
        let chosen = Password::chosen("password", typed, &about)?;
        if let Some(leaks) = self.breached() {
            match leaks.contains(chosen.expose()) {
                Ok(true) => return Err(FieldProblem::new("password", LEAKED).into()),
                Ok(false) => {}
                // Nobody is kept out because a disk fails; what else is judged was judged.
                Err(error) => {
                    tracing::error!(%error, "the list of leaked passwords cannot be asked");
                }
            }
        }
        Ok(chosen)
    }

    /// Opens a stored hash; the account's key must be resolved.
    pub(crate) fn open_hash(
        &self,
        account: AccountId,
        sealed: &[u8],
    ) -> Result<Secret<String>, Error> {
        let bytes = self.unseal(account, place(account), sealed)?;
        let text = String::from_utf8(bytes.expose().clone());
        text.map(Secret::new).map_err(|_| Error::Broken("a stored password hash is no text"))
    }

    /// Stores a hash, whatever stood there before.
    pub(crate) async fn set_hash(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: AccountId,
        hash: &Secret<String>,
    ) -> Result<(), Error> {
        let sealed = self.seal(ctx, account, place(account), hash.expose().as_bytes())?;
        tx.change(&store::SET, args![account.as_bytes(), sealed, ctx.now]).await?;
        Ok(())
    }

    /// Stores a hash in the place of the one that was read at `version`. False where another came
    /// first.
    pub(crate) async fn replace_hash(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (account, version): (AccountId, i64),
        hash: &Secret<String>,
    ) -> Result<bool, Error> {
        let sealed = self.seal(ctx, account, place(account), hash.expose().as_bytes())?;
        let row = args![account.as_bytes(), version, sealed, ctx.now];
        Ok(tx.change_one(&store::REPLACE, row).await?.is_some())
    }
}
