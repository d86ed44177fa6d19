//! Trusted devices: a browser or an app in which the owner proved a second factor and asked not to be
//! asked again there, for as long as the policy for the kind of account allows.
//!
//! A device holds a secret of 256 bits, which stands here only as a digest, and gets another with
//! each sign-in. It stands in for the second factor and never for the password, so that who has copied
//! it alone is nowhere. Whatever ends the account's sessions ends its trust (their epoch); a
//! secret that comes back after its successor was given out was copied, or its answer was lost: the
//! trust is over either way, and the owner proves the factor again.

pub(crate) mod store;

use std::time::Duration;

use kernel::{AccountId, Ctx, Secret, Timestamp};
use serde::Serialize;
use spine::{About, Tx, args, transact};

use crate::account::{self, AccountKind};
use crate::error::Error;
use crate::events;
use crate::room::Identity;
use crate::sealed::Cell;
use crate::session::Client;
use crate::ticket::secret_hash;

kernel::id! {
    /// A device that an account trusts.
    pub TrustId = "tru";
}

spine::words! {
    /// Why a device is trusted no more.
    pub TrustEnd {
        /// Its owner said so.
        Revoked = "revoked",
        /// A secret came back that was replaced before.
        Reused = "reused",
    }
}

const AGENT: Cell = Cell { table: "identity_trusted_device", column: "agent_sealed" };
/// The longest secret that is looked at: 32 bytes in base64url are 43.
const SECRET_CHARS: usize = 43;

/// What a trusted device keeps until its next sign-in.
#[derive(Debug)]
pub struct Trust {
    /// The secret; never stored.
    pub secret: Secret<String>,
    /// Until when it stands in for a second factor.
    pub ends_at: Timestamp,
}

/// A trusted device in its owner's list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrustView {
    /// The trust.
    pub id: TrustId,
    /// What signs in there.
    pub client: Client,
    /// What the client calls itself.
    pub agent: String,
    /// Since when, microseconds since 1970.
    pub since: Timestamp,
    /// When it last signed in, microseconds since 1970.
    pub used_at: Timestamp,
    /// Until when, microseconds since 1970.
    pub ends_at: Timestamp,
}

/// A device that showed the secret of a trust.
pub(crate) struct Shown {
    device: store::Trusted,
    hash: [u8; 32],
}

impl Identity {
    /// Whether a device is trusted by an account. A secret that was replaced before ends the trust.
    pub(crate) async fn trusted(
        &self,
        ctx: &Ctx,
        (account, client): (AccountId, Client),
        secret: Option<&Secret<String>>,
    ) -> Result<Option<Shown>, Error> {
        let Some(secret) = secret.filter(|secret| secret.expose().len() == SECRET_CHARS) else {
            return Ok(None);
        };
        let hash = secret_hash(secret.expose());
        let mut read = self.spine().read().await?;
        let of = account.as_bytes();
        let found: Option<store::Trusted> =
            read.maybe(&store::FIND, args![hash, of, ctx.now]).await?;
        let before: Option<store::Trusted> =
            read.maybe(&store::FIND_BEFORE, args![hash, of]).await?;
        drop(read);
        if let Some(copied) = before {
            return match self.end_trust(ctx, (account, copied.id), TrustEnd::Reused).await {
                // Another sign-in saw so first.
                Ok(()) | Err(Error::NotFound) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let found = found.filter(|found| found.client == client);
        Ok(found.map(|device| Shown { device, hash }))
    }

    /// Replaces the secret of a device inside the transaction of its sign-in. None where another
    /// sign-in did so first.
    pub(crate) async fn rotate_trust(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: AccountId,
        shown: &Shown,
    ) -> Result<Option<Trust>, Error> {
        let secret = account::secret(ctx);
        let id = shown.device.id;
        let row = args![id.as_bytes(), shown.hash, secret_hash(secret.expose()), ctx.now];
        let Some(row) = tx.change_one(&store::ROTATE, row).await? else { return Ok(None) };
        let version = row.int("version").map_err(spine::Error::from)?;
        let about = About::thing_of(account, "trusted_device", *id.as_bytes(), version);
        tx.emit(about, events::TrustUsed { client: shown.device.client })?;
        Ok(Some(Trust { secret, ends_at: shown.device.expires_at }))
    }

    /// How long a device of this kind of account may be trusted; none where it may not.
    pub(crate) fn trust_life(&self, kind: AccountKind) -> Option<Duration> {
        let life_s = self.config().policy.of(kind).remember_device_s;
        (life_s > 0).then(|| Duration::from_secs(life_s))
    }

    /// Trusts the device of a sign-in; none where the policy does not allow it.
    pub(crate) async fn begin_trust(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: &account::store::Account,
        client: Client,
    ) -> Result<Option<Trust>, Error> {
        let Some(life) = self.trust_life(account.kind) else { return Ok(None) };
        let id = TrustId::generate(ctx.now, ctx.entropy());
        let secret = account::secret(ctx);
        let ends_at = ctx.now.plus(life);
        let agent = ctx.origin.agent.as_deref().unwrap_or("Unknown device");
        let sealed = self.seal_text(ctx, account.id, AGENT, *id.as_bytes(), agent)?;
        let row = args![
            id.as_bytes(),
            account.id.as_bytes(),
            client.as_str(),
            secret_hash(secret.expose()),
            sealed,
            ctx.now,
            ends_at
        ];
        tx.change(&store::TRUST, row).await?;
        let about = About::thing_of(account.id, "trusted_device", *id.as_bytes(), 1);
        tx.emit(about, events::DeviceTrusted { client })?;
        Ok(Some(Trust { secret, ends_at }))
    }

    /// The devices that an account trusts, newest first.
    ///
    /// # Errors
    /// As the database or the vault says.
    pub async fn trusted_devices(
        &self,
        ctx: &Ctx,
        account: AccountId,
    ) -> Result<Vec<TrustView>, Error> {
        let mut read = self.spine().read().await?;
        let rows: Vec<store::Trusted> =
            read.all(&store::LIST, args![account.as_bytes(), ctx.now]).await?;
        drop(read);
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        self.resolve_account(account).await?;
        let view = |row: store::Trusted| {
            let agent = self.open_text(account, AGENT, *row.id.as_bytes(), &row.agent_sealed)?;
            let (since, used_at, ends_at) = (row.created_at, row.used_at, row.expires_at);
            Ok(TrustView { id: row.id, client: row.client, agent, since, used_at, ends_at })
        };
        rows.into_iter().map(view).collect()
    }

    /// Trusts a device no more.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the account has no such device.
    pub async fn end_trust(
        &self,
        ctx: &Ctx,
        (account, id): (AccountId, TrustId),
        why: TrustEnd,
    ) -> Result<(), Error> {
        self.resolve_account(account).await?;
        transact!(self.spine(), ctx, tx => {
            let row = args![id.as_bytes(), account.as_bytes()];
            tx.change_one(&store::END, row).await?.ok_or(Error::NotFound)?;
            let about = About::thing_of(account, "trusted_device", *id.as_bytes(), 0);
            tx.emit(about, events::TrustEnded { why })?;
            Ok::<_, Error>(())
        })
    }
}
