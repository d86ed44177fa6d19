//! Accounts: who can sign in, of which kind, in which state.
//!
//! An account is found by a keyed digest of its e-mail address; the address and the name are sealed
//! under the person's own key, so that destroying the key erases them everywhere.

pub(crate) mod erase;
pub(crate) mod http;
mod profile;
pub(crate) mod store;

use kernel::{AccountId, Ctx, FieldProblem, Secret, Timestamp};
use serde::Serialize;

pub use erase::EraseAccount;
pub use profile::Rename;

use crate::email::Email;
use crate::error::Error;
use crate::room::Identity;
use crate::sealed::Cell;

spine::words! {
    /// What sort of person has the account. A person who is two has two accounts.
    pub AccountKind {
        /// Buys.
        Customer = "customer",
        /// Sells by showing, and is paid.
        Influencer = "influencer",
        /// Supplies.
        Wholesaler = "wholesaler",
        /// Works for the shop.
        Staff = "staff",
    }
}

spine::words! {
    /// What one of the staff may do.
    pub StaffRole {
        /// Everything, also to give roles.
        Admin = "admin",
        /// Helps account holders: finds, unlocks, ends sessions.
        Support = "support",
        /// Reads the log and proves it.
        Auditor = "auditor",
        /// Decides on content.
        Moderator = "moderator",
        /// Sees and approves money.
        Finance = "finance",
    }
}

spine::words! {
    /// Where an account is in its life.
    pub AccountState {
        /// Opened, its e-mail address not yet verified: nobody can sign in.
        Unverified = "unverified",
        /// In use.
        Active = "active",
        /// Locked by an operator: nobody can sign in.
        Locked = "locked",
        /// Erased: only the bare row is left.
        Erased = "erased",
    }
}

/// The most characters of a display name.
const NAME_CHARS_MAX: usize = 80;

/// A name to be called by: 1 to 80 characters, no control or direction characters.
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads a name as typed; runs of blanks become one.
    ///
    /// # Errors
    /// A [`FieldProblem`] for the field `name`.
    pub fn parse(typed: &str) -> Result<Self, FieldProblem> {
        let problem = |detail: &str| FieldProblem::new("name", detail);
        if typed.len() > 8 * NAME_CHARS_MAX {
            return Err(problem("The name may have at most 80 characters."));
        }
        let name = typed.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() {
            return Err(problem("A name is needed; any name will do."));
        }
        if name.chars().count() > NAME_CHARS_MAX {
            return Err(problem("The name may have at most 80 characters."));
        }
        // Characters that turn the direction of text can make a name look like another.
        let hidden = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        if name.chars().any(hidden) {
            return Err(problem("The name has characters that cannot be seen."));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DisplayName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DisplayName(..)")
    }
}

/// Staff roles as stored: words with commas between, in the order of their declaration.
pub(crate) fn roles_text(roles: &[StaffRole]) -> String {
    let given = StaffRole::ALL.iter().filter(|role| roles.contains(role));
    given.map(|role| role.as_str()).collect::<Vec<_>>().join(",")
}

/// Reads what [`roles_text`] wrote; unknown words give nothing.
pub(crate) fn roles_of(text: &str) -> Vec<StaffRole> {
    text.split(',').filter_map(StaffRole::parse).collect()
}

/// An account as a caller sees it, opened. `email` and `name` are personal data.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AccountView {
    /// The account.
    pub id: AccountId,
    /// Its kind.
    pub kind: AccountKind,
    /// Its state.
    pub state: AccountState,
    /// Its staff roles; empty for all but staff.
    pub roles: Vec<StaffRole>,
    /// The e-mail address; none once erased.
    pub email: Option<String>,
    /// The name; none once erased.
    pub name: Option<String>,
    /// When it was opened, microseconds since 1970.
    pub created_at: Timestamp,
}

pub(crate) const EMAIL: Cell = Cell { table: "identity_account", column: "email_sealed" };
pub(crate) const NAME: Cell = Cell { table: "identity_account", column: "name_sealed" };
const EXTERNAL: Cell = Cell { table: "identity_account", column: "external_sealed" };

impl Identity {
    /// The keyed digest that an address is found by.
    pub(crate) fn email_index(&self, email: &Email) -> [u8; 32] {
        self.vault().blind("identity.email", email.normal().as_bytes())
    }

    /// One account, opened.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub async fn account(&self, id: AccountId) -> Result<AccountView, Error> {
        let mut read = self.spine().read().await?;
        let row: Option<store::Account> =
            read.maybe(&store::FIND, spine::args![id.as_bytes()]).await?;
        let row = row.ok_or(Error::NotFound)?;
        self.resolve_account(id).await?;
        self.view(&row)
    }

    /// Opens a row whose key was resolved. An erased person's row shows no name and no address.
    pub(crate) fn view(&self, row: &store::Account) -> Result<AccountView, Error> {
        let open = |cell: Cell, sealed: &Option<Vec<u8>>| match sealed {
            Some(sealed) => self.open_text(row.id, cell, *row.id.as_bytes(), sealed).map(Some),
            None => Ok(None),
        };
        Ok(AccountView {
            id: row.id,
            kind: row.kind,
            state: row.state,
            roles: roles_of(&row.roles),
            email: open(EMAIL, &row.email_sealed)?,
            name: open(NAME, &row.name_sealed)?,
            created_at: row.created_at,
        })
    }

    /// Seals an address into its account's row.
    pub(crate) fn seal_email(
        &self,
        ctx: &Ctx,
        id: AccountId,
        email: &Email,
    ) -> Result<Vec<u8>, Error> {
        self.seal_text(ctx, id, EMAIL, *id.as_bytes(), email.as_str())
    }

    /// Seals a name into its account's row.
    pub(crate) fn seal_name(
        &self,
        ctx: &Ctx,
        id: AccountId,
        name: &DisplayName,
    ) -> Result<Vec<u8>, Error> {
        self.seal_text(ctx, id, NAME, *id.as_bytes(), name.as_str())
    }

    /// Seals the name that another system has for an account.
    pub(crate) fn seal_external(
        &self,
        ctx: &Ctx,
        id: AccountId,
        external: &str,
    ) -> Result<Vec<u8>, Error> {
        self.seal_text(ctx, id, EXTERNAL, *id.as_bytes(), external)
    }

    /// The address of an account whose key was resolved.
    pub(crate) fn open_email(&self, row: &store::Account) -> Result<Option<Email>, Error> {
        let Some(sealed) = &row.email_sealed else { return Ok(None) };
        let text = self.open_text(row.id, EMAIL, *row.id.as_bytes(), sealed)?;
        let parsed = Email::parse(&text);
        parsed.map(Some).map_err(|_| Error::Broken("a stored address cannot be read"))
    }
}

/// What a person who opens an account says: parsed field by field, so that all problems are told at
/// once.
pub(crate) fn parse_both(
    email: &str,
    name: &str,
) -> Result<(Email, DisplayName), Vec<FieldProblem>> {
    match (Email::parse(email), DisplayName::parse(name)) {
        (Ok(email), Ok(name)) => Ok((email, name)),
        (email, name) => Err(email.err().into_iter().chain(name.err()).collect()),
    }
}

/// A random secret for a link, a cookie or a token: 256 bits, base64url.
pub(crate) fn secret(ctx: &Ctx) -> Secret<String> {
    use base64::Engine as _;
    let bytes = Secret::new(ctx.random::<32>());
    Secret::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes.expose()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_tidied_or_refused() {
        assert_eq!(DisplayName::parse("  Ada   Lovelace ").unwrap().as_str(), "Ada Lovelace");
        for bad in ["", "   ", "ada\u{202e}nimda", "a\u{0}b", &"x".repeat(81)] {
            assert!(DisplayName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_read_back() {
        for kind in AccountKind::ALL {
            assert_eq!(AccountKind::parse(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_string(kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!(AccountKind::parse("Staff"), None);
    }

    proptest! {
        #[test]
        fn roles_read_back(roles in prop::collection::btree_set(
            prop::sample::select(StaffRole::ALL), 0..5,
        )) {
            let roles: Vec<StaffRole> = roles.into_iter().collect();
            prop_assert_eq!(roles_of(&roles_text(&roles)), roles);
        }
    }
}
