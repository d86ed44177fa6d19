//! Backup codes: ten, shown once, for the day on which the phone is lost. Each works once.
//!
//! A code has 50 random bits and stands in the database as a keyed digest only, bound to its
//! account: who has the database and not the key can try none.

pub(crate) mod store;

use kernel::{AccountId, Ctx, Secret, SessionId};
use spine::{About, Tx, args, transact};

use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::factor::{Code, Proof};
use crate::mail::Letter;
use crate::room::Identity;
use crate::session::EndReason;

kernel::id! {
    /// A backup code.
    pub(crate) BackupCodeId = "bck";
}

const CODES: usize = 10;
const CODE_CHARS: usize = 10;
/// Crockford's base32: no letter that looks like another.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// New codes in the place of the old ones.
#[derive(Debug)]
pub struct NewBackupCodes {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// A code of any factor, also one of the old ones.
    pub code: Code,
}

/// A code as it was shown, whatever was typed between its letters; none for what cannot be one.
fn normal(typed: &str) -> Option<String> {
    // One that was typed with care has a dash and perhaps blanks.
    if typed.len() > 4 * CODE_CHARS {
        return None;
    }
    let letters = typed.chars().filter(|c| !c.is_whitespace() && *c != '-');
    let letters = letters.map(|c| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    });
    let code: String = letters.collect();
    let is_code = code.len() == CODE_CHARS && code.bytes().all(|letter| ALPHABET.contains(&letter));
    is_code.then_some(code)
}

/// A random code, `XXXXX-XXXXX`.
fn generate(ctx: &Ctx) -> String {
    let letters = ctx.random::<CODE_CHARS>().map(|byte| {
        let letter = ALPHABET.get(usize::from(byte % 32)).copied();
        char::from(letter.unwrap_or(b'0'))
    });
    let (first, second) = letters.split_at(CODE_CHARS / 2);
    first.iter().chain(&['-']).chain(second).collect()
}

impl Identity {
    fn backup_code_hash(&self, account: AccountId, normal: &str) -> [u8; 32] {
        let bound = [account.as_bytes().as_slice(), normal.as_bytes()].concat();
        self.vault().blind("identity.backup_code", &bound)
    }

    /// How many codes an account has left.
    pub(crate) async fn backup_codes_left(&self, account: AccountId) -> Result<u32, Error> {
        let mut read = self.spine().read().await?;
        let left: Option<store::Count> =
            read.maybe(&store::LEFT, args![account.as_bytes()]).await?;
        Ok(left.map_or(0, |count| count.0))
    }

    pub(crate) async fn judge_backup_code(
        &self,
        account: AccountId,
        typed: &Secret<String>,
    ) -> Result<Option<Proof>, Error> {
        let Some(code) = normal(typed.expose()) else { return Ok(None) };
        let hash = self.backup_code_hash(account, &code);
        let mut read = self.spine().read().await?;
        let found: Option<store::Count> =
            read.maybe(&store::FIND, args![account.as_bytes(), hash]).await?;
        Ok(found.is_some_and(|count| count.0 > 0).then_some(Proof::BackupCode { hash }))
    }

    /// Makes codes for an account that has none; gives none where it has some.
    pub(crate) async fn first_backup_codes(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: AccountId,
    ) -> Result<Vec<Secret<String>>, Error> {
        let store::Count(left) = tx.one(&store::LEFT, args![account.as_bytes()]).await?;
        if left > 0 {
            return Ok(Vec::new());
        }
        self.make_backup_codes(tx, ctx, account).await
    }

    async fn make_backup_codes(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: AccountId,
    ) -> Result<Vec<Secret<String>>, Error> {
        tx.change(&store::ERASE, args![account.as_bytes()]).await?;
        let mut codes = Vec::with_capacity(CODES);
        for _ in 0..CODES {
            let id = BackupCodeId::generate(ctx.now, ctx.entropy());
            let code = generate(ctx);
            let hash = self.backup_code_hash(account, &code.replace('-', ""));
            let row = args![id.as_bytes(), account.as_bytes(), hash, ctx.now];
            tx.change(&store::ADD, row).await?;
            codes.push(Secret::new(code));
        }
        let count = u32::try_from(CODES).unwrap_or(u32::MAX);
        tx.emit(About::account(account, 0), events::BackupCodesMade { count })?;
        Ok(codes)
    }

    /// Makes new codes; the old ones are good no more. Shown once.
    ///
    /// # Errors
    /// [`Error::CodeWrong`], [`Error::Limited`]; [`Error::State`] where the account has no second
    /// factor that they could stand in for.
    pub async fn new_backup_codes(
        &self,
        ctx: &Ctx,
        command: NewBackupCodes,
    ) -> Result<Vec<Secret<String>>, Error> {
        let NewBackupCodes { account: id, session, code } = command;
        let rows = self.factor_rows(id).await?;
        if rows.iter().all(|row| row.confirmed_at.is_none()) {
            return Err(Error::State("without a second factor"));
        }
        let account = self.known(id).await?;
        let email = self.open_email(&account)?;
        let proof = self.check_code(ctx, &account, (code.method, &code.code, None)).await?;
        let codes = transact!(self.spine(), ctx, tx => {
            self.use_up(&mut tx, ctx, id, &proof).await?;
            let codes = self.make_backup_codes(&mut tx, ctx, id).await?;
            let others = (id, Which::AllBut(session));
            self.end_all(&mut tx, ctx, others, EndReason::FactorChanged).await?;
            if let Some(email) = &email {
                self.write(&mut tx, ctx, (id, email), Letter::BackupCodesMade).await?;
            }
            Ok::<_, Error>(codes)
        })?;
        self.mail_waits().notify_one();
        Ok(codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_was_typed() {
        for typed in ["ABCDE-01234", "abcde01234", " abcde - o12 34", "ABCDEOI234", "abcdeol234"] {
            assert_eq!(normal(typed).as_deref(), Some("ABCDE01234"), "{typed}");
        }
        let long = "A".repeat(1_000_000);
        for typed in ["", "ABCDE-0123", "ABCDE-012345", "ABCDE-0123U", "ABCDE-0123é", &long] {
            assert_eq!(normal(typed), None, "{typed:.20}");
        }
    }
}
