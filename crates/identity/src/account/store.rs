//! The SQL of accounts.

use kernel::{AccountId, Timestamp};
use spine::{FromRow, Row, StoreError, word_of};

use super::{AccountKind, AccountState};

spine::sql! {
    read FIND =
        "SELECT id, kind, state, roles, epoch, email_sealed, name_sealed, created_at \
         FROM identity_account WHERE id = $1";
    read FIND_BY_EMAIL =
        "SELECT id, kind, state, roles, epoch, email_sealed, name_sealed, created_at \
         FROM identity_account WHERE email_index = $1";
    read FIND_BY_EXTERNAL =
        "SELECT id, kind, state, roles, epoch, email_sealed, name_sealed, created_at \
         FROM identity_account WHERE external_index = $1";
    /// Pages through accounts by id; $2 filters by kind where it is not empty.
    read LIST =
        "SELECT id, kind, state, roles, epoch, email_sealed, name_sealed, created_at \
         FROM identity_account WHERE id > $1 AND ($2 = '' OR kind = $2) ORDER BY id LIMIT $3";
    read ERASED_SINCE =
        "SELECT id FROM identity_account WHERE erased_at > $1 ORDER BY erased_at LIMIT 1000";
    read COUNT_ADMINS =
        "SELECT COUNT(*) AS found FROM identity_account WHERE kind = 'staff' \
         AND state = 'active' AND substr(roles, 1, 5) = 'admin'";
    /// Accounts whose address was never verified, without a link that could still do so.
    read NEVER_VERIFIED =
        "SELECT id FROM identity_account a WHERE state = 'unverified' AND created_at < $1 \
         AND NOT EXISTS (SELECT 1 FROM identity_ticket t WHERE t.account = a.id \
         AND t.used_at IS NULL AND t.expires_at > $2) ORDER BY created_at LIMIT 20";
    /// Opens an account, unless its address has one.
    fact OPEN in identity_account =
        "INSERT INTO identity_account (id, version, kind, state, roles, epoch, email_index, \
         email_sealed, name_sealed, fresh_after, created_at, verified_at) \
         VALUES ($1, 1, $2, $3, $4, 1, $5, $6, $7, 0, $8, $9) \
         ON CONFLICT (email_index) DO NOTHING RETURNING id, version";
    fact VERIFY in identity_account =
        "UPDATE identity_account SET state = 'active', kind = $2, name_sealed = $3, \
         verified_at = $4, version = version + 1 \
         WHERE id = $1 AND state = 'unverified' RETURNING id, version";
    fact RENAME in identity_account =
        "UPDATE identity_account SET name_sealed = $2, version = version + 1 \
         WHERE id = $1 AND state = 'active' RETURNING id, version";
    fact LOCK in identity_account =
        "UPDATE identity_account SET state = 'locked', version = version + 1 \
         WHERE id = $1 AND state = 'active' RETURNING id, version";
    fact UNLOCK in identity_account =
        "UPDATE identity_account SET state = 'active', version = version + 1 \
         WHERE id = $1 AND state = 'locked' RETURNING id, version";
    fact GIVE_ROLES in identity_account =
        "UPDATE identity_account SET roles = $2, version = version + 1 \
         WHERE id = $1 AND kind = 'staff' AND state <> 'erased' RETURNING id, version";
    /// Names the account in another system, for an import.
    fact NAME_EXTERNAL in identity_account =
        "UPDATE identity_account SET external_index = $2, external_sealed = $3, \
         version = version + 1 WHERE id = $1 AND state <> 'erased' RETURNING id, version";
    /// Every session of an older epoch is over, also one that is being opened at this moment.
    fact NEXT_EPOCH in identity_account =
        "UPDATE identity_account SET epoch = epoch + 1, version = version + 1 \
         WHERE id = $1 RETURNING id, version, epoch";
    fact ASK_AGAIN in identity_account =
        "UPDATE identity_account SET fresh_after = $2, version = version + 1 \
         WHERE id = $1 AND state = 'active' AND fresh_after < $2 RETURNING id, version";
    /// Makes a customer what an operator approved.
    fact BECOME in identity_account =
        "UPDATE identity_account SET kind = $2, version = version + 1 \
         WHERE id = $1 AND kind = 'customer' AND state = 'active' RETURNING id, version";
    /// Holds the turn until the commit: whoever comes at the same moment waits, and then sees what
    /// was decided.
    upkeep TAKE_TURN in identity_turn =
        "INSERT INTO identity_turn (name, taken) VALUES ($1, 1) \
         ON CONFLICT (name) DO UPDATE SET taken = identity_turn.taken + 1";
    fact BLANK in identity_account =
        "UPDATE identity_account SET state = 'erased', roles = '', email_index = NULL, \
         email_sealed = NULL, name_sealed = NULL, external_index = NULL, external_sealed = NULL, \
         erased_at = $2, version = version + 1 WHERE id = $1 AND state <> 'erased' \
         RETURNING id, version";
}

/// An account's id.
pub(crate) struct Id(pub AccountId);

impl FromRow for Id {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.id16("id").map(AccountId::from_bytes).map(Self)
    }
}

/// A row of `identity_account`.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub id: AccountId,
    pub kind: AccountKind,
    pub state: AccountState,
    pub roles: String,
    pub epoch: i64,
    pub email_sealed: Option<Vec<u8>>,
    pub name_sealed: Option<Vec<u8>>,
    pub created_at: Timestamp,
}

impl FromRow for Account {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: AccountId::from_bytes(row.id16("id")?),
            kind: word_of(row, "kind")?,
            state: word_of(row, "state")?,
            roles: row.text("roles")?,
            epoch: row.int("epoch")?,
            email_sealed: row.opt_bytes("email_sealed")?,
            name_sealed: row.opt_bytes("name_sealed")?,
            created_at: row.time("created_at")?,
        })
    }
}
