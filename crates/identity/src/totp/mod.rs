//! Codes of an authenticator app (TOTP, RFC 6238): how one is added, and which step a code is of.
//!
//! A key is shown once, to be scanned or typed into the app, and counts from the moment a code of it
//! was proved. Its codes hold for thirty seconds, and one step before and after; which were used is
//! the factor's to know (`last_step`).

use kernel::{AccountId, Ctx, Secret, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use spine::{About, Tx, args, transact};
use totp_rs::{Algorithm, Builder, Totp};

use crate::account::DisplayName;
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::factor::{FACTORS_MAX, FactorId, NAME, SECRET, store};
use crate::gate::Method;
use crate::mail::Letter;
use crate::room::Identity;
use crate::session::EndReason;

/// 160 bits, as RFC 4226 section 4 recommends.
const KEY_BYTES: usize = 20;
const STEP_S: u64 = 30;

/// A key with what its codes are made by, as sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    algorithm: String,
    digits: u8,
    key: Vec<u8>,
}

impl Sealed {
    fn open(opened: &Secret<Vec<u8>>) -> Result<Self, Error> {
        serde_json::from_slice(opened.expose()).map_err(|_| UNREADABLE)
    }

    fn builder(self) -> Result<Builder, Error> {
        let algorithm = match self.algorithm.as_str() {
            "SHA1" => Algorithm::SHA1,
            "SHA256" => Algorithm::SHA256,
            "SHA512" => Algorithm::SHA512,
            _ => return Err(UNREADABLE),
        };
        let builder = Builder::new().with_algorithm(algorithm).with_digits(self.digits);
        Ok(builder.with_secret(self.key).with_step_duration(STEP_S).with_skew(1))
    }
}

const UNREADABLE: Error = Error::Broken("a sealed TOTP key cannot be read");

/// A key that can judge codes.
pub(crate) struct Key(Totp);

impl Key {
    /// Reads what was sealed.
    pub(crate) fn read(opened: &Secret<Vec<u8>>) -> Result<Self, Error> {
        Sealed::open(opened)?.builder()?.build().map(Self).map_err(|_| UNREADABLE)
    }

    /// The step that a code is of, within one of now; none for any other text.
    pub(crate) fn step_of(&self, code: &Secret<String>, now: Timestamp) -> Option<i64> {
        // Apps show codes in groups.
        let digits: String = code.expose().chars().filter(|c| !c.is_whitespace()).collect();
        let is_code = digits.len() == usize::from(self.0.digits())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_code {
            return None;
        }
        let step = self.0.check(&digits, u64::try_from(now.seconds()).ok()?)?;
        i64::try_from(step).ok()
    }
}

/// A key to be taken into an app. Shown to its owner, and nowhere else.
#[derive(Debug)]
pub struct TotpKey {
    /// The factor that it becomes with its first code.
    pub factor: FactorId,
    /// To be typed: base32 (RFC 4648).
    pub key: Secret<String>,
    /// To be scanned: `otpauth://totp/…`.
    pub uri: Secret<String>,
}

/// The first code of a key that was begun.
#[derive(Debug)]
pub struct ConfirmTotp {
    /// The account.
    pub account: AccountId,
    /// The session in which the person sits.
    pub session: SessionId,
    /// The factor.
    pub factor: FactorId,
    /// The code as typed.
    pub code: Secret<String>,
}

impl Identity {
    /// Makes a key for an account, in the place of any that was begun and not confirmed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no name; [`Error::State`] where the account has as many as it
    /// may.
    pub async fn begin_totp(
        &self,
        ctx: &Ctx,
        account: AccountId,
        name: &str,
    ) -> Result<TotpKey, Error> {
        let name = DisplayName::parse(name)?;
        let rows = self.factor_rows(account).await?;
        if rows.iter().filter(|row| row.confirmed_at.is_some()).count() >= FACTORS_MAX {
            return Err(Error::State("full: it has five second factors"));
        }
        self.resolve_account(account).await?;
        let factor = FactorId::generate(ctx.now, ctx.entropy());
        let key = ctx.random::<KEY_BYTES>().to_vec();
        let sealed = Sealed { algorithm: "SHA1".to_owned(), digits: 6, key };
        let sealed = Secret::new(
            serde_json::to_vec(&sealed).map_err(|_| Error::Broken("a TOTP key is no JSON"))?,
        );
        let row_id = *factor.as_bytes();
        transact!(self.spine(), ctx, tx => {
            tx.change(&store::FORGET_BEGUN, args![account.as_bytes()]).await?;
            let row = args![
                factor.as_bytes(),
                account.as_bytes(),
                Method::Totp.as_str(),
                self.seal_text(ctx, account, NAME, row_id, name.as_str())?,
                self.seal(ctx, account, SECRET.at(row_id), sealed.expose())?,
                ctx.now
            ];
            tx.change(&store::BEGIN, row).await?;
            let about = About::thing_of(account, "factor", row_id, 1);
            tx.emit(about, events::FactorBegun { method: Method::Totp })?;
            Ok::<_, Error>(())
        })?;
        self.begun_totp(account, factor).await
    }

    /// The key that was begun and not confirmed yet, to be shown once more.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub async fn begun_totp(&self, account: AccountId, factor: FactorId) -> Result<TotpKey, Error> {
        let row = self.begun(account, factor).await?;
        let email = self.open_email(&self.known(account).await?)?;
        let email = email.as_ref().map_or("account", |email| email.as_str());
        let sealed = self.unseal(account, SECRET.at(*factor.as_bytes()), &row.secret_sealed)?;
        let sealed = Sealed::open(&sealed)?;
        let key = Secret::new(totp_rs::Secret::from(sealed.key.as_slice()).to_base32());
        // A colon parts the issuer from the account in the label.
        let (issuer, name) = (self.site().name.replace(':', " "), email.replace(':', " "));
        let made = sealed.builder()?.with_issuer(Some(issuer)).with_account_name(name).build();
        let uri = made.and_then(|made| made.to_url()).map_err(|_| UNREADABLE)?;
        Ok(TotpKey { factor, key, uri: Secret::new(uri) })
    }

    async fn begun(&self, account: AccountId, factor: FactorId) -> Result<store::Factor, Error> {
        let rows = self.factor_rows(account).await?;
        let begun = |row: &store::Factor| row.id == factor && row.confirmed_at.is_none();
        self.resolve_account(account).await?;
        rows.into_iter().find(begun).ok_or(Error::NotFound)
    }

    /// Proves the first code of a key: from now on the account has this factor, and the other
    /// sessions end. Gives backup codes where it had none; they are shown once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::CodeWrong`], [`Error::Limited`].
    pub async fn confirm_totp(
        &self,
        ctx: &Ctx,
        command: ConfirmTotp,
    ) -> Result<Vec<Secret<String>>, Error> {
        let ConfirmTotp { account, session, factor, code } = command;
        let step = self.first_code(ctx, (account, factor), &code).await?;
        let row = self.known(account).await?;
        let email = self.open_email(&row)?;
        let codes = transact!(self.spine(), ctx, tx => {
            let codes = self.activate(&mut tx, ctx, (account, factor), step).await?;
            let others = (account, Which::AllBut(session));
            let ended = self.end_all(&mut tx, ctx, others, EndReason::FactorChanged).await?;
            let about = About::thing_of(account, "factor", *factor.as_bytes(), 2);
            tx.emit(about, events::FactorAdded { method: Method::Totp, ended })?;
            if let Some(email) = &email {
                self.write(&mut tx, ctx, (account, email), Letter::FactorAdded).await?;
            }
            Ok::<_, Error>(codes)
        })?;
        self.mail_waits().notify_one();
        Ok(codes)
    }

    /// The step of a key's first code.
    pub(crate) async fn first_code(
        &self,
        ctx: &Ctx,
        (account, factor): (AccountId, FactorId),
        code: &Secret<String>,
    ) -> Result<i64, Error> {
        let row = self.begun(account, factor).await?;
        let bucket = self.bucket("second.begun", account.as_bytes(), self.config().attempts.second);
        self.charge(ctx, &[bucket]).await?;
        let step = self.totp_key(account, &row)?.step_of(code, ctx.now).ok_or(Error::CodeWrong)?;
        self.give_back(&[bucket]).await?;
        Ok(step)
    }

    /// Lets a key count, and makes backup codes where the account has none.
    pub(crate) async fn activate(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        (account, factor): (AccountId, FactorId),
        step: i64,
    ) -> Result<Vec<Secret<String>>, Error> {
        let row = args![factor.as_bytes(), account.as_bytes(), ctx.now, step];
        tx.change_one(&store::CONFIRM, row).await?.ok_or(Error::NotFound)?;
        self.first_backup_codes(tx, ctx, account).await
    }
}

/// A QR code as the `d` of an SVG path, and the width of its square in modules.
pub(crate) fn qr_path(text: &Secret<String>) -> Result<(String, usize), Error> {
    use std::fmt::Write as _;
    let code = qrcode::QrCode::new(text.expose().as_bytes());
    let code = code.map_err(|_| Error::Broken("a key fits no QR code"))?;
    let width = code.width();
    let mut path = String::new();
    for (place, colour) in code.to_colors().into_iter().enumerate() {
        if colour == qrcode::Color::Dark {
            // Four modules of quiet around it (ISO/IEC 18004).
            let _ = write!(path, "M{} {}h1v1h-1z", place % width + 4, place / width + 4);
        }
    }
    Ok((path, width + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: &str, digits: u8, key: &[u8]) -> Key {
        let sealed = Sealed { algorithm: algorithm.to_owned(), digits, key: key.to_vec() };
        Key::read(&Secret::new(serde_json::to_vec(&sealed).unwrap())).unwrap()
    }

    fn code(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    // RFC 6238 appendix B
    #[test]
    fn the_vectors_of_the_rfc_hold() {
        let seed = |length: usize| -> Vec<u8> {
            b"1234567890".iter().copied().cycle().take(length).collect()
        };
        let keys =
            [key("SHA1", 8, &seed(20)), key("SHA256", 8, &seed(32)), key("SHA512", 8, &seed(64))];
        for (at, codes) in [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_111_111_111, ["14050471", "67062674", "99943326"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (2_000_000_000, ["69279037", "90698825", "38618901"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ] {
            for (key, text) in keys.iter().zip(codes) {
                let now = Timestamp::from_seconds(at);
                assert_eq!(key.step_of(&code(text), now), Some(at / 30), "{text} at {at}");
                let spaced = format!("{} {}", &text[..4], &text[4..]);
                assert_eq!(key.step_of(&code(&spaced), now), Some(at / 30));
                for far in [-61, 61] {
                    let other = Timestamp::from_seconds(at + far);
                    assert_eq!(key.step_of(&code(text), other), None, "{text} at {at} {far}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_code_is_of_no_step() {
        let key = key("SHA1", 6, b"12345678901234567890");
        let long = "1".repeat(100_000);
        for text in ["", "12345", "1234567", "12345a", "+12345", "１２３４５６", "-00001", &long]
        {
            assert_eq!(key.step_of(&code(text), Timestamp::from_seconds(59)), None, "{text:.20}");
        }
        assert_eq!(key.step_of(&code("287082"), Timestamp::from_seconds(-1)), None);
    }

    #[test]
    fn a_qr_code_is_a_square_of_modules() {
        let (path, width) = qr_path(&code("otpauth://totp/a:b?secret=AAAA")).unwrap();
        assert!(width > 29 && path.starts_with("M4 4h1v1h-1z"));
    }
}
