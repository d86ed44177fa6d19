//! Tickets: the links in our mails. A link carries a random secret of 256 bits that stands in the
//! database only as a digest; it works once, for one purpose, for a short time.
//!
//! A verification ticket carries what its own sign-up asked for (sealed), and only the ticket that
//! is used counts: whoever signed up first with another's address leaves nothing behind.

use aws_lc_rs::digest::{SHA256, digest};
use kernel::{AccountId, Ctx, Secret};
use spine::{FromRow, Row, StoreError, Tx, args};

use crate::account;
use crate::error::Error;
use crate::room::Identity;
use crate::sealed::Cell;

kernel::id! {
    /// A mailed link.
    pub(crate) TicketId = "tkt";
}

/// What a ticket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To verify an e-mail address.
    Verify,
    /// To choose a new password.
    Reset,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }
}

const PAYLOAD: Cell = Cell { table: "identity_ticket", column: "payload_sealed" };

/// An open ticket, found by its secret.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub id: TicketId,
    pub account: AccountId,
    payload_sealed: Option<Vec<u8>>,
}

impl FromRow for Ticket {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: TicketId::from_bytes(row.id16("id")?),
            account: AccountId::from_bytes(row.id16("account")?),
            payload_sealed: row.opt_bytes("payload_sealed")?,
        })
    }
}

/// A ticket to be issued.
pub(crate) struct Issue<'a> {
    pub account: AccountId,
    pub purpose: Purpose,
    /// What the ticket carries.
    pub payload: Option<&'a [u8]>,
    pub life_s: u64,
}

/// The digest that a random secret is stored and found by. A secret of 256 random bits needs no
/// salt.
pub(crate) fn secret_hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

impl Identity {
    /// Issues a ticket inside a transaction; the secret is for the mail and nowhere else.
    pub(crate) async fn issue(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        issue: Issue<'_>,
    ) -> Result<Secret<String>, Error> {
        let id = TicketId::generate(ctx.now, ctx.entropy());
        let secret = account::secret(ctx);
        let payload = match issue.payload {
            Some(payload) => {
                Some(self.seal(ctx, issue.account, PAYLOAD.at(*id.as_bytes()), payload)?)
            }
            None => None,
        };
        let ends = ctx.now.plus(std::time::Duration::from_secs(issue.life_s));
        let row = args![
            id.as_bytes(),
            issue.account.as_bytes(),
            issue.purpose.as_str(),
            secret_hash(secret.expose()),
            payload,
            ctx.now,
            ends
        ];
        tx.change(&ISSUE, row).await?;
        Ok(secret)
    }

    /// The open ticket of a secret.
    ///
    /// # Errors
    /// [`Error::LinkSpent`] where there is none, whatever the cause.
    pub(crate) async fn ticket(
        &self,
        ctx: &Ctx,
        purpose: Purpose,
        secret: &Secret<String>,
    ) -> Result<Ticket, Error> {
        let mut read = self.spine().read().await?;
        let hash = secret_hash(secret.expose());
        let ticket: Option<Ticket> =
            read.maybe(&PEEK, args![hash, purpose.as_str(), ctx.now]).await?;
        ticket.ok_or(Error::LinkSpent)
    }

    /// Uses a ticket up, and with it all other open tickets of its account.
    ///
    /// # Errors
    /// [`Error::LinkSpent`] where another use came first.
    pub(crate) async fn spend(&self, tx: &mut Tx, ctx: &Ctx, ticket: &Ticket) -> Result<(), Error> {
        if tx.change_one(&SPEND, args![ticket.id.as_bytes(), ctx.now]).await?.is_none() {
            return Err(Error::LinkSpent);
        }
        tx.change(&SPEND_ALL, args![ticket.account.as_bytes(), ctx.now]).await?;
        Ok(())
    }

    /// What a ticket carries; its account's key must be resolved.
    pub(crate) fn payload(&self, ticket: &Ticket) -> Result<Secret<Vec<u8>>, Error> {
        let sealed = ticket.payload_sealed.as_ref().ok_or(Error::LinkSpent)?;
        self.unseal(ticket.account, PAYLOAD.at(*ticket.id.as_bytes()), sealed)
    }
}

spine::sql! {
    read PEEK =
        "SELECT id, account, payload_sealed FROM identity_ticket \
         WHERE secret_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3";
    fact ISSUE in identity_ticket =
        "INSERT INTO identity_ticket (id, version, account, purpose, secret_hash, payload_sealed, \
         created_at, expires_at) VALUES ($1, 1, $2, $3, $4, $5, $6, $7) RETURNING id";
    fact SPEND in identity_ticket =
        "UPDATE identity_ticket SET used_at = $2, version = version + 1 \
         WHERE id = $1 AND used_at IS NULL AND expires_at > $2 RETURNING id";
    /// The account's other open tickets: none of them may work after one did.
    fact SPEND_ALL in identity_ticket =
        "UPDATE identity_ticket SET used_at = $2, version = version + 1 \
         WHERE account = $1 AND used_at IS NULL RETURNING id";
    fact ERASE in identity_ticket = "DELETE FROM identity_ticket WHERE account = $1 RETURNING id";
    fact SWEEP in identity_ticket =
        "DELETE FROM identity_ticket WHERE id IN (SELECT id FROM identity_ticket \
         WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING id";
}
