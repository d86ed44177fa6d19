//! A wish: made, listed and dropped by its owner (W1, W2).

mod store;

use kernel::{AccountId, Ctx, Limits, Timestamp};
use serde::Serialize;
use spine::{About, Place, Sealer as _, Subject, args, transact};

use crate::error::Error;
use crate::events;
use crate::room::Wishes;

pub(crate) use store::STATEMENTS;

/// Bytes of a wish at most.
const TEXT_BYTES_MAX: usize = 200;

kernel::id! {
    /// A wish.
    pub WishId = "wsh";
}

/// A wish to be made.
#[derive(Debug)]
pub struct Make {
    /// Whose.
    pub account: AccountId,
    /// What for, 1 to 200 bytes.
    pub text: String,
}

/// A wish as its owner sees it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Wish {
    /// Its id, `wsh_…`.
    pub id: WishId,
    /// What for.
    pub text: String,
    /// When it was made, in microseconds since 1970.
    pub made_at: Timestamp,
}

const fn cell(id: WishId) -> Place<'static> {
    Place { table: "wishes_wish", column: "text_sealed", row: *id.as_bytes() }
}

impl Wishes {
    /// Makes a wish.
    ///
    /// # Errors
    /// [`Error::Text`] where the text is empty or too long.
    pub async fn make(&self, ctx: &Ctx, command: Make) -> Result<WishId, Error> {
        let Make { account, text } = command;
        let text = text.trim();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(Error::Text);
        }
        let owner = Subject::Account(account);
        self.vault.resolve(&[owner]).await?;
        let id = WishId::generate(ctx.now, ctx.entropy());
        let sealed = self.vault.seal(owner, cell(id), text.as_bytes(), ctx.entropy())?;
        transact!(self.spine, ctx, tx => {
            let row = args![id.as_bytes(), account.as_bytes(), sealed.clone(), ctx.now];
            tx.change_one(&store::MAKE, row).await?;
            let about = About::thing_of(account, "wish", *id.as_bytes(), 1);
            tx.emit(about, events::Made { wish: id })?;
            Ok::<_, Error>(id)
        })
    }

    /// Drops a wish.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the account has no such wish, or dropped it before.
    pub async fn drop_wish(&self, ctx: &Ctx, account: AccountId, id: WishId) -> Result<(), Error> {
        self.vault.resolve(&[Subject::Account(account)]).await?;
        transact!(self.spine, ctx, tx => {
            let row = args![id.as_bytes(), account.as_bytes(), ctx.now];
            let dropped = tx.change_one(&store::DROP, row).await?.ok_or(Error::NotFound)?;
            let version = dropped.int("version")?;
            let about = About::thing_of(account, "wish", *id.as_bytes(), version);
            tx.emit(about, events::Dropped { wish: id })?;
            Ok::<_, Error>(())
        })
    }

    /// Each wish of an account, oldest first, after `after`.
    ///
    /// # Errors
    /// [`Error::Vault`] where one cannot be opened.
    pub async fn of(&self, account: AccountId, after: [u8; 16]) -> Result<Vec<Wish>, Error> {
        let owner = Subject::Account(account);
        self.vault.resolve(&[owner]).await?;
        let mut read = self.spine.read().await?;
        let page = args![account.as_bytes(), after, Limits::PAGE_ROWS];
        let rows: Vec<store::Stored> = read.all(&store::OF, page).await?;
        let opened = rows.into_iter().map(|row| {
            let text = self.vault.open(owner, cell(row.id), &row.text_sealed)?;
            let text = String::from_utf8(text).map_err(|_| Error::Broken)?;
            Ok(Wish { id: row.id, text, made_at: row.made_at })
        });
        opened.collect()
    }
}
