//! Devices: browsers and apps that an account's owner signed in with. Each keeps a token for months
//! and shows it at the next sign-in, so that guesses of strangers are counted apart from the owner's
//! (the device cookie protocol of OWASP's "Slow down online guessing attacks").
//!
//! A token opens nothing: it is a name with a signature that holds for one address only. Whoever
//! steals one gets a budget of guesses of its own, and no more.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::{Ctx, Secret, Timestamp};

use crate::email::Email;
use crate::error::Error;
use crate::room::Identity;

/// How long a device is known by its last sign-in.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(180 * 86_400);
const NAME_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
const TOKEN_BYTES: usize = NAME_BYTES + TIME_BYTES + MAC_BYTES;
const TOKEN_CHARS: usize = (TOKEN_BYTES * 4).div_ceil(3);

impl Identity {
    /// A token by which the device that signed in with this address is known from now on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no address.
    pub fn device_token(&self, ctx: &Ctx, email: &str) -> Result<Secret<String>, Error> {
        let email = &Email::parse(email)?;
        let name = ctx.random::<NAME_BYTES>();
        let body = [name.as_slice(), &ctx.now.micros().to_be_bytes()].concat();
        let token = [body.as_slice(), &self.device_mac(email, &body)].concat();
        Ok(Secret::new(URL_SAFE_NO_PAD.encode(token)))
    }

    fn device_mac(&self, email: &Email, body: &[u8]) -> [u8; MAC_BYTES] {
        self.vault().blind("identity.device", &[body, email.normal().as_bytes()].concat())
    }

    /// The name of the device that shows a token for this address; none where the token is
    /// another's, too old, or none of ours.
    pub(crate) fn known_device(
        &self,
        ctx: &Ctx,
        email: &Email,
        token: &Secret<String>,
    ) -> Option<[u8; NAME_BYTES]> {
        if token.expose().len() != TOKEN_CHARS {
            return None;
        }
        let token = URL_SAFE_NO_PAD.decode(token.expose()).ok()?;
        let (body, mac) = token.split_at_checked(NAME_BYTES + TIME_BYTES)?;
        verify_slices_are_equal(&self.device_mac(email, body), mac).ok()?;
        let (name, since) = body.split_at_checked(NAME_BYTES)?;
        let since = Timestamp::from_micros(i64::from_be_bytes(since.try_into().ok()?));
        if ctx.now.since(since) > KNOWN_FOR {
            return None;
        }
        name.try_into().ok()
    }
}
