//! Sealing and opening the cells of this room's tables: the few lines that every noun needs and that
//! must not differ between them.

use kernel::{AccountId, Ctx, Secret};
use spine::{Place, Subject};

use crate::error::Error;
use crate::room::Identity;

/// A sealed column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub table: &'static str,
    pub column: &'static str,
}

impl Cell {
    /// The cell in one row.
    pub(crate) const fn at(self, row: [u8; 16]) -> Place<'static> {
        Place { table: self.table, column: self.column, row }
    }
}

impl Identity {
    /// Fetches one person's key, and the day's, so that the act may seal.
    pub(crate) async fn resolve_account(&self, id: AccountId) -> Result<(), Error> {
        self.vault().resolve(&[Subject::Account(id)]).await?;
        Ok(())
    }

    /// Seals bytes under a person's key.
    pub(crate) fn seal(
        &self,
        ctx: &Ctx,
        id: AccountId,
        place: Place<'_>,
        plain: &[u8],
    ) -> Result<Vec<u8>, Error> {
        Ok(self.sealer().seal(Subject::Account(id), place, plain, ctx.entropy())?)
    }

    /// Opens what [`Identity::seal`] made.
    pub(crate) fn unseal(
        &self,
        id: AccountId,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Secret<Vec<u8>>, Error> {
        Ok(Secret::new(self.sealer().open(Subject::Account(id), place, sealed)?))
    }

    /// Seals a text.
    pub(crate) fn seal_text(
        &self,
        ctx: &Ctx,
        id: AccountId,
        cell: Cell,
        row: [u8; 16],
        text: &str,
    ) -> Result<Vec<u8>, Error> {
        self.seal(ctx, id, cell.at(row), text.as_bytes())
    }

    /// Opens a text.
    pub(crate) fn open_text(
        &self,
        id: AccountId,
        cell: Cell,
        row: [u8; 16],
        sealed: &[u8],
    ) -> Result<String, Error> {
        let bytes = self.unseal(id, cell.at(row), sealed)?;
        String::from_utf8(bytes.expose().clone())
            .map_err(|_| Error::Broken("a sealed text is no text"))
    }
}
