//! What the owner of an account may change about it without more ado.

use kernel::{AccountId, Ctx};
use spine::{About, args, transact};

use super::{DisplayName, store};
use crate::error::Error;
use crate::events;
use crate::room::Identity;

/// Another name.
#[derive(Clone, Debug)]
pub struct Rename {
    /// The account.
    pub account: AccountId,
    /// The name as typed.
    pub name: String,
}

impl Identity {
    /// Gives an account another name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is not taken; [`Error::NotFound`].
    pub async fn rename(&self, ctx: &Ctx, command: Rename) -> Result<(), Error> {
        let name = DisplayName::parse(&command.name)?;
        let id = command.account;
        self.resolve_account(id).await?;
        transact!(self.spine(), ctx, tx => {
            let sealed = self.seal_name(ctx, id, &name)?;
            let row = tx.change_one(&store::RENAME, args![id.as_bytes(), sealed]).await?;
            let version = row.ok_or(Error::NotFound)?.int("version").map_err(spine::Error::from)?;
            tx.emit(About::account(id, version), events::ProfileChanged {})?;
            Ok::<_, Error>(())
        })
    }
}
