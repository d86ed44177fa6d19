//! Devices: browsers and apps that an account's owner signed in with. Each keeps a token for months
//! and shows it at the next sign-in, so that guesses of strangers are counted apart from the owner's
//! (the device cookie protocol of OWASP's "Slow down online guessing attacks").
//!
//! A token opens nothing: it is a name with a signature that holds for one account, and until its
//! password becomes another. Whoever steals one gets a budget of guesses of its own, and no more.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::{AccountId, Ctx, Secret, Timestamp};
use spine::args;

use crate::error::Error;
use crate::password::store as password;
use crate::room::Identity;
use crate::sign_in::Found;

/// How long a device is known by its last sign-in.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(180 * 86_400);
/// A device's name.
pub(crate) const NAME_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
const TOKEN_BYTES: usize = NAME_BYTES + TIME_BYTES + MAC_BYTES;
const TOKEN_CHARS: usize = (TOKEN_BYTES * 4).div_ceil(3);

/// Whose device it is: the account, and the version of its password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    account: AccountId,
    password: i64,
}

impl Owner {
    /// None where no password was ever set.
    pub(crate) fn of(found: &Found) -> Option<Self> {
        let password = found.password.as_ref()?.version;
        Some(Self { account: found.account.id, password })
    }
}

impl Identity {
    /// A token by which the device that this account has just signed in on is known from now on.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it has no password.
    pub async fn device_token(&self, ctx: &Ctx, id: AccountId) -> Result<Secret<String>, Error> {
        let owner = self.device_owner(id).await?.ok_or(Error::NotFound)?;
        let name = ctx.random::<NAME_BYTES>();
        let body = [name.as_slice(), &ctx.now.micros().to_be_bytes()].concat();
        let token = [body.as_slice(), &self.device_mac(owner, &body)].concat();
        Ok(Secret::new(URL_SAFE_NO_PAD.encode(token)))
    }

    /// As whose the devices of an account are known; none where it has no password.
    pub(crate) async fn device_owner(&self, id: AccountId) -> Result<Option<Owner>, Error> {
        let mut read = self.spine().read().await?;
        let password: Option<password::Stored> =
            read.maybe(&password::FIND, args![id.as_bytes()]).await?;
        Ok(password.map(|password| Owner { account: id, password: password.version }))
    }

    fn device_mac(&self, owner: Owner, body: &[u8]) -> [u8; MAC_BYTES] {
        let Owner { account, password } = owner;
        let bound = [body, account.as_bytes(), &password.to_be_bytes()].concat();
        self.vault().blind("identity.device", &bound)
    }

    /// The name of the device that shows a token of this owner; none where the token is another's,
    /// too old, or none of ours.
    pub(crate) fn known_device(
        &self,
        ctx: &Ctx,
        owner: Owner,
        token: &Secret<String>,
    ) -> Option<[u8; NAME_BYTES]> {
        if token.expose().len() != TOKEN_CHARS {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
        let (body, mac) = token.split_at_checked(NAME_BYTES + TIME_BYTES)?;
        verify_slices_are_equal(&self.device_mac(owner, body), mac).ok()?;
        let (name, since) = body.split_at_checked(NAME_BYTES)?;
        let since = Timestamp::from_micros(i64::from_be_bytes(since.try_into().ok()?));
        if ctx.now.since(since) > KNOWN_FOR {
            return None;
        }
        name.try_into().ok()
    }
}
