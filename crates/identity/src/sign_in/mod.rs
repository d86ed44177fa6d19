//! Signing in: an address and a password become a session, or nothing that tells why not.
//!
//! Unknown address, wrong password, unverified or locked account, a door for others: one answer, one
//! hash, one write. Attempts are charged before the password is looked at, and given back to whoever
//! proves right. A device that the account knows has a budget of its own; strangers share those of
//! their network, of the account from their network, and of the account. A budget that is spent
//! never ends a session that lives.

pub(crate) mod http;

use kernel::{Ctx, Secret};
use spine::{About, Subject, args, transact};

use crate::account::{AccountKind, AccountState, store as account};
use crate::attempt::Bucket;
use crate::device::{NAME_BYTES, Owner};
use crate::email::Email;
use crate::error::Error;
use crate::events;
use crate::gate::{Admission, Method, Methods};
use crate::password::{HashingPlace, Password, Verdict, store as password};
use crate::refresh::AppTokens;
use crate::room::Identity;
use crate::session::{Client, Entered, Opened};
use crate::trust::{Shown, Trust};

spine::words! {
    /// Why a sign-in was refused. For the log only.
    pub SignInFailure {
        /// Nobody has this address.
        UnknownAddress = "unknown_address",
        /// The password is another.
        WrongPassword = "wrong_password",
        /// The address is not verified, or no password was ever set.
        NotReady = "not_ready",
        /// An operator locked the account.
        Locked = "locked",
        /// A door for staff, and the account is none of them.
        NotStaff = "not_staff",
    }
}

/// Somebody wants to sign in.
#[derive(Debug)]
pub struct SignIn {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: Secret<String>,
    /// What signs in. At the console only staff may.
    pub client: Client,
    /// The token by which the account knows the device, where it shows one.
    pub device: Option<Secret<String>>,
    /// The secret by which the account trusts the device, where it shows one.
    pub trust: Option<Secret<String>>,
}

/// What was found of the address, before the password is looked at.
pub(crate) struct Found {
    pub(crate) account: account::Account,
    pub(crate) password: Option<password::Stored>,
}

/// Whoever proved right.
struct Right {
    account: account::Account,
    /// The other methods that the account has.
    own: Vec<Method>,
    /// Whether the device stands in for one of them.
    trusted: Option<Shown>,
    /// A new hash, where the old one was made under other costs; with the version it replaces.
    rehash: Option<(i64, Secret<String>)>,
}

impl Identity {
    /// Signs in with a browser, here or at the console.
    ///
    /// # Errors
    /// [`Error::SignInRefused`] for every cause; [`Error::Limited`], [`Error::Busy`].
    pub async fn sign_in(&self, ctx: &Ctx, command: SignIn) -> Result<Admission<Opened>, Error> {
        Ok(self.pass(ctx, command).await?.map(|entered| entered.opened))
    }

    /// Signs in with the shop's app: a session with a signed token and a refresh token.
    ///
    /// # Errors
    /// As [`Identity::sign_in`].
    pub async fn sign_in_app(
        &self,
        ctx: &Ctx,
        command: SignIn,
    ) -> Result<Admission<AppTokens>, Error> {
        match self.pass(ctx, SignIn { client: Client::App, ..command }).await? {
            Admission::Inside(entered) => self.tokens_of(ctx, entered).await.map(Admission::Inside),
            Admission::Pending(pending) => Ok(Admission::Pending(pending)),
        }
    }

    async fn pass(&self, ctx: &Ctx, command: SignIn) -> Result<Admission<Entered>, Error> {
        let client = command.client;
        let right = self.check(ctx, command).await?;
        transact!(self.spine(), ctx, tx => {
            self.keep_hash_new(&mut tx, ctx, &right).await?;
            let password = Methods::of(Method::Password);
            let (proved, trust) = self.with_trust(&mut tx, ctx, &right, password).await?;
            let by = (client, &proved, right.own.as_slice());
            let admitted = self.admit(&mut tx, ctx, &right.account, by).await?;
            Ok::<_, Error>(admitted.map(|entered| entered.with_trust(trust)))
        })
    }

    /// What was proved, with the trusted device where it still is one, and its next secret.
    async fn with_trust(
        &self,
        tx: &mut spine::Tx,
        ctx: &Ctx,
        right: &Right,
        password: Methods,
    ) -> Result<(Methods, Option<Trust>), Error> {
        let Some(shown) = &right.trusted else { return Ok((password, None)) };
        let trust = self.rotate_trust(tx, ctx, right.account.id, shown).await?;
        let both = trust.is_some().then(|| password.and(Method::TrustedDevice)).flatten();
        Ok((both.unwrap_or(password), trust))
    }

    /// Checks address and password under the budgets.
    async fn check(&self, ctx: &Ctx, command: SignIn) -> Result<Right, Error> {
        let SignIn { email, password, client, device, trust } = command;
        let email = Email::parse(&email)?;
        let typed = Password::typed("password", &password)?;
        let place = self.hasher().place()?;
        let found = self.find(&email).await?;
        let owner = found.as_ref().and_then(Owner::of);
        let known = owner.zip(device.as_ref());
        let known = known.and_then(|(owner, token)| self.known_device(ctx, owner, token));
        let buckets = self.charge_sign_in(ctx, &email, client, known).await?;
        let verdict = match self.verify(&place, &typed, found.as_ref()).await {
            Ok(verdict) => verdict,
            Err(error) => {
                // Not judged: the attempt does not count.
                self.give_back(&buckets).await?;
                return Err(error);
            }
        };
        let who = found.as_ref().map(|found| (found.account.state, found.account.kind));
        match judge(who, client, verdict.right) {
            Some(reason) => {
                drop(place);
                self.tell_failure(ctx, &email, found.as_ref(), (reason, client)).await?;
                Err(Error::SignInRefused)
            }
            None => {
                let found = found.ok_or(Error::Broken("a password of nobody verified"))?;
                self.give_back(&buckets).await?;
                let right = self.right(ctx, found, (&typed, verdict), &place).await?;
                drop(place);
                // Where there is nothing to stand in for, the device keeps its secret.
                if right.own.is_empty() {
                    return Ok(right);
                }
                let of = (right.account.id, client);
                let trusted = self.trusted(ctx, of, trust.as_ref()).await?;
                Ok(Right { trusted, ..right })
            }
        }
    }

    /// Charges one attempt: to the device where the account knows it, and else, or where its budget
    /// is spent, to those of strangers. Gives what was charged. The console's budgets are its own:
    /// whoever guesses at the public door cannot keep operators out.
    async fn charge_sign_in(
        &self,
        ctx: &Ctx,
        email: &Email,
        client: Client,
        known: Option<[u8; NAME_BYTES]>,
    ) -> Result<Vec<Bucket>, Error> {
        let attempts = &self.config().attempts;
        let door = match client {
            Client::Browser | Client::App => "sign_in",
            Client::Console => "sign_in.console",
        };
        let name = |what: &str| format!("{door}.{what}");
        if let Some(device) = known {
            let known = [self.bucket(&name("device"), &device, attempts.device)];
            match self.charge(ctx, &known).await {
                Ok(()) => return Ok(known.to_vec()),
                Err(Error::Limited { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let address = email.normal().as_bytes();
        let strangers = vec![
            self.client_bucket(ctx, &name("client"), &[], attempts.client),
            self.client_bucket(ctx, &name("pair"), address, attempts.pair),
            self.bucket(&name("account"), address, attempts.account),
        ];
        self.charge(ctx, &strangers).await?;
        Ok(strangers)
    }

    pub(crate) async fn find(&self, email: &Email) -> Result<Option<Found>, Error> {
        let mut read = self.spine().read().await?;
        let account: Option<account::Account> =
            read.maybe(&account::FIND_BY_EMAIL, args![self.email_index(email)]).await?;
        // Asked also where there is no account: both ways cost the same.
        let id = account.as_ref().map_or([0; 16], |account| *account.id.as_bytes());
        let password = read.maybe(&password::FIND, args![id]).await?;
        Ok(account.map(|account| Found { account, password }))
    }

    /// One hash, whoever is asked for.
    async fn verify(
        &self,
        place: &HashingPlace,
        typed: &Password,
        found: Option<&Found>,
    ) -> Result<Verdict, Error> {
        if let Some(Found { account, password: Some(password) }) = found {
            self.resolve_account(account.id).await?;
            let hash = self.open_hash(account.id, &password.hash_sealed)?;
            return place.verify(typed, &hash).await;
        }
        place.verify_nothing(typed).await
    }

    async fn right(
        &self,
        ctx: &Ctx,
        found: Found,
        (typed, verdict): (&Password, Verdict),
        place: &HashingPlace,
    ) -> Result<Right, Error> {
        let rehash = match (verdict.stale, &found.password) {
            (true, Some(old)) => Some((old.version, place.hash(ctx, typed).await?)),
            (true, None) | (false, _) => None,
        };
        let own = self.own_methods(found.account.id).await?;
        Ok(Right { account: found.account, own, trusted: None, rehash })
    }

    async fn keep_hash_new(
        &self,
        tx: &mut spine::Tx,
        ctx: &Ctx,
        right: &Right,
    ) -> Result<(), Error> {
        if let Some((version, hash)) = &right.rehash {
            // Where another sign-in did so first, its hash is as good.
            self.replace_hash(tx, ctx, (right.account.id, *version), hash).await?;
        }
        Ok(())
    }

    /// Tells of a refusal: under the account's key, or under the day's where nobody is known.
    async fn tell_failure(
        &self,
        ctx: &Ctx,
        email: &Email,
        found: Option<&Found>,
        (reason, client): (SignInFailure, Client),
    ) -> Result<(), Error> {
        let about = match found {
            Some(found) => About::account(found.account.id, 0),
            None => About::unknown(ctx.now, "account", [0; 16]),
        };
        let subjects = [about.subject, Subject::Day(ctx.now.day())];
        self.vault().resolve(&subjects).await?;
        transact!(self.spine(), ctx, tx => {
            let email = email.as_str().to_owned();
            tx.emit(about, events::LoginFailed { reason, client, email })?;
            Ok::<_, Error>(())
        })
    }
}

/// Why a sign-in is refused; none where it is not.
fn judge(
    found: Option<(AccountState, AccountKind)>,
    client: Client,
    right: bool,
) -> Option<SignInFailure> {
    let Some((state, kind)) = found else { return Some(SignInFailure::UnknownAddress) };
    match (state, right) {
        (AccountState::Erased, _) => Some(SignInFailure::UnknownAddress),
        (AccountState::Unverified, _) => Some(SignInFailure::NotReady),
        (AccountState::Active | AccountState::Locked, false) => Some(SignInFailure::WrongPassword),
        (AccountState::Locked, true) => Some(SignInFailure::Locked),
        (AccountState::Active, true) => {
            let shut = client == Client::Console && kind != AccountKind::Staff;
            shut.then_some(SignInFailure::NotStaff)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_active_account_with_the_right_password_at_its_door_signs_in() {
        for client in Client::ALL {
            for right in [false, true] {
                assert!(judge(None, *client, right).is_some());
                for state in AccountState::ALL {
                    for kind in AccountKind::ALL {
                        let door = *client != Client::Console || *kind == AccountKind::Staff;
                        let may = *state == AccountState::Active && right && door;
                        let refused = judge(Some((*state, *kind)), *client, right).is_some();
                        assert_eq!(refused, !may, "{state} {kind} {client} {right}");
                    }
                }
            }
        }
    }
}
