//! Sessions: one sign-in on one device, shown to its owner and ended by them one by one.
//!
//! A browser holds a random secret in a cookie, an app a refresh token; both are only digests here.
//! What the edge checks is a signed token of at most five minutes, minted anew from the session as
//! long as it lives.

mod callers;
pub(crate) mod http;
mod policy;
mod renew;
pub(crate) mod store;
mod token;

use std::time::Duration;

use kernel::{AccountId, Ctx, Secret, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use spine::{About, Place, Tx, args, transact};

pub use callers::SessionCallers;
pub(crate) use callers::client_of;
pub use renew::Renewed;
pub use token::{Claims, TOKEN_COOKIE};

use crate::account::{self, AccountKind, store::Account};
use crate::ending::Which;
use crate::error::Error;
use crate::events;
use crate::gate::Methods;
use crate::room::Identity;
use crate::sealed::Cell;
use crate::ticket::secret_hash;
use crate::trust::Trust;

/// The cookie that holds a browser session's secret.
pub const SESSION_COOKIE: &str = "__Host-stagedoor";
/// The longest cookie value that is looked at, bytes: 32 bytes in base64url are 43.
const SECRET_CHARS: usize = 43;

spine::words! {
    /// What signed in.
    pub Client {
        /// A browser, with a cookie.
        Browser = "browser",
        /// The shop's app, with refresh tokens.
        App = "app",
        /// A browser at the operators' console.
        Console = "console",
    }
}

spine::words! {
    /// Why a session ended.
    pub EndReason {
        /// Its owner signed out.
        SignedOut = "signed_out",
        /// Its owner ended it from another session.
        EndedByOwner = "ended_by_owner",
        /// The password became another.
        PasswordChanged = "password_changed",
        /// A refresh token was used twice.
        RefreshReused = "refresh_reused",
        /// The account was locked.
        AccountLocked = "account_locked",
        /// An operator ended it.
        Operator = "operator",
        /// A rule, or a person at the console, asked for it.
        Response = "response",
        /// Too many others were opened after it.
        Replaced = "replaced",
        /// The app gave its tokens back.
        Revoked = "revoked",
        /// The person was erased.
        Erased = "erased",
        /// The account got or lost a second factor, which it was not opened by.
        FactorChanged = "factor_changed",
        /// The password was proved in it, and its successor goes on.
        Renewed = "renewed",
        /// The installation was restored from a backup.
        Restored = "restored",
    }
}

/// A live session with what a check needs of its account.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// The session.
    pub id: SessionId,
    /// Its account.
    pub account: AccountId,
    /// What signed in.
    pub client: Client,
    /// The account's kind.
    pub kind: AccountKind,
    /// The account's staff roles.
    pub roles: Vec<account::StaffRole>,
    /// How the person proved who they are.
    pub methods: Methods,
    /// When the person last proved the password in it.
    pub auth_at: Timestamp,
    /// Sessions whose password was proved before this must prove it again for what is sensitive.
    pub fresh_after: Timestamp,
    /// Its end, whatever is done with it.
    pub ends_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// One session in its owner's list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// The session.
    pub id: SessionId,
    /// What signed in.
    pub client: Client,
    /// What the client calls itself.
    pub agent: Option<String>,
    /// The address it signed in from.
    pub address: Option<String>,
    /// When it signed in, microseconds since 1970.
    pub created_at: Timestamp,
    /// When it was last used, to the minute, microseconds since 1970.
    pub used_at: Timestamp,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// A session that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Its account.
    pub account: AccountId,
    /// The account's kind.
    pub kind: AccountKind,
    /// The secret for the cookie; never stored.
    pub secret: Secret<String>,
    /// The end of the session, whatever is done with it.
    pub ends_at: Timestamp,
    /// What a trusted device keeps until its next sign-in.
    pub trust: Option<Trust>,
}

/// A session that was just opened, with the first refresh token of an app's.
#[derive(Debug)]
pub(crate) struct Entered {
    pub opened: Opened,
    pub refresh: Option<Secret<String>>,
}

impl Entered {
    /// With what a trusted device keeps.
    pub(crate) fn with_trust(self, trust: Option<Trust>) -> Self {
        Self { opened: Opened { trust, ..self.opened }, ..self }
    }
}

/// How a session is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// What signs in.
    pub client: Client,
    /// How the person proved who they are.
    pub methods: Methods,
    /// The end of the session, whatever is done with it.
    pub ends_at: Timestamp,
}

/// Where a session signed in from, as its owner sees it. Sealed.
#[derive(Debug, Serialize, Deserialize)]
struct SignedInFrom {
    agent: Option<String>,
    address: Option<String>,
}

const ORIGIN: Cell = Cell { table: "identity_session", column: "origin_sealed" };

impl Identity {
    /// The opening of a new sign-in of this kind of account.
    pub(crate) fn opening(
        &self,
        ctx: &Ctx,
        kind: AccountKind,
        client: Client,
        methods: Methods,
    ) -> Opening {
        let ends_at = ctx.now.plus(self.config().session.life(kind).absolute());
        Opening { client, methods, ends_at }
    }

    /// Opens a session inside a transaction, for an app with a family of refresh tokens. None where
    /// the account was locked, erased, or given another password or factor since `account` was read.
    pub(crate) async fn enter(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: &Account,
        opening: Opening,
    ) -> Result<Option<Entered>, Error> {
        let client = opening.client;
        let Some(opened) = self.open_session(tx, ctx, account, opening).await? else {
            return Ok(None);
        };
        let refresh = match client {
            Client::Browser | Client::Console => None,
            Client::App => Some(self.open_family(tx, ctx, &opened).await?),
        };
        Ok(Some(Entered { opened, refresh }))
    }

    async fn open_session(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        account: &Account,
        Opening { client, methods, ends_at }: Opening,
    ) -> Result<Option<Opened>, Error> {
        let session = SessionId::generate(ctx.now, ctx.entropy());
        let secret = account::secret(ctx);
        let from = SignedInFrom {
            agent: ctx.origin.agent.clone(),
            address: ctx.origin.address.map(|address| address.to_string()),
        };
        let from = serde_json::to_vec(&from).map_err(|_| Error::Broken("an origin is no JSON"))?;
        let place: Place<'_> = ORIGIN.at(*session.as_bytes());
        let origin_sealed = self.seal(ctx, account.id, place, &from)?;
        let row = args![
            session.as_bytes(),
            account.id.as_bytes(),
            account.epoch,
            client.as_str(),
            secret_hash(secret.expose()),
            origin_sealed,
            ctx.now,
            ends_at,
            methods.to_string()
        ];
        if tx.change_one(&store::OPEN, row).await?.is_none() {
            return Ok(None);
        }
        tx.upkeep(&store::USE, args![session.as_bytes(), account.id.as_bytes(), ctx.now]).await?;
        self.end_oldest(tx, ctx, account.id).await?;
        let (account, kind) = (account.id, account.kind);
        Ok(Some(Opened { session, account, kind, secret, ends_at, trust: None }))
    }

    /// Keeps the number of live sessions of one account bounded.
    async fn end_oldest(&self, tx: &mut Tx, ctx: &Ctx, account: AccountId) -> Result<(), Error> {
        let kept = i64::from(self.config().session.per_account_max.max(1));
        let oldest: Vec<store::Id> =
            tx.all(&store::OLDEST, args![account.as_bytes(), kept]).await?;
        for store::Id(session) in oldest {
            self.end_one(tx, ctx, (account, session), EndReason::Replaced).await?;
        }
        Ok(())
    }

    /// The live session of a cookie's secret; its use is noted.
    ///
    /// # Errors
    /// As the database says. A secret that is none gives `None`.
    pub async fn session_of_secret(
        &self,
        ctx: &Ctx,
        secret: &str,
    ) -> Result<Option<LiveSession>, Error> {
        if secret.len() != SECRET_CHARS {
            return Ok(None);
        }
        let mut read = self.spine().read().await?;
        let row: Option<store::Live> =
            read.maybe(&store::LIVE_BY_SECRET, args![secret_hash(secret), ctx.now]).await?;
        drop(read);
        self.used(ctx, row).await
    }

    /// The live session with this id; its use is noted.
    pub(crate) async fn session_of_id(
        &self,
        ctx: &Ctx,
        session: SessionId,
    ) -> Result<Option<LiveSession>, Error> {
        let mut read = self.spine().read().await?;
        let row: Option<store::Live> =
            read.maybe(&store::LIVE_BY_ID, args![session.as_bytes(), ctx.now]).await?;
        drop(read);
        self.used(ctx, row).await
    }

    /// Drops a session that nobody used for too long; notes the use of any other, at most once in
    /// the configured span.
    async fn used(
        &self,
        ctx: &Ctx,
        row: Option<store::Live>,
    ) -> Result<Option<LiveSession>, Error> {
        let Some(store::Live(live)) = row else { return Ok(None) };
        let idle = self.config().session.life(live.kind).idle();
        if policy::is_idle(live.used_at, ctx.now, idle) {
            return Ok(None);
        }
        let touch = Duration::from_secs(self.config().session.touch_s);
        if ctx.now.since(live.used_at) >= touch {
            let mut upkeep = self.spine().upkeep().await?;
            let row = args![live.id.as_bytes(), live.account.as_bytes(), ctx.now];
            upkeep.run(&store::USE, row).await?;
            upkeep.commit().await?;
        }
        Ok(Some(live))
    }

    /// Whether a session proved the password recently enough for what is sensitive.
    #[must_use]
    pub fn is_fresh(&self, ctx: &Ctx, session: &LiveSession) -> bool {
        let span = Duration::from_secs(self.config().session.fresh_s);
        policy::is_fresh(session.auth_at, session.fresh_after, ctx.now, span)
    }

    /// The sessions of an account, newest first; `current` is marked.
    ///
    /// # Errors
    /// As the database or the vault says.
    pub async fn sessions(
        &self,
        ctx: &Ctx,
        account: AccountId,
        current: Option<SessionId>,
    ) -> Result<Vec<SessionView>, Error> {
        let mut read = self.spine().read().await?;
        let rows: Vec<store::Listed> =
            read.all(&store::LIST, args![account.as_bytes(), ctx.now]).await?;
        drop(read);
        self.resolve_account(account).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let idle = self.config().session.life(row.kind).idle();
            if policy::is_idle(row.used_at, ctx.now, idle) {
                continue;
            }
            let place = ORIGIN.at(*row.id.as_bytes());
            let from = self.unseal(account, place, &row.origin_sealed)?;
            let from: SignedInFrom = serde_json::from_slice(from.expose())
                .map_err(|_| Error::Broken("a sealed origin cannot be read"))?;
            views.push(SessionView {
                id: row.id,
                client: row.client,
                agent: from.agent,
                address: from.address,
                created_at: row.created_at,
                used_at: row.used_at,
                current: current == Some(row.id),
            });
        }
        Ok(views)
    }

    /// Ends one session of an account: its own sign-out, or one that the owner points at.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the account has no such live session.
    pub async fn end_session(
        &self,
        ctx: &Ctx,
        (account, session): (AccountId, SessionId),
        reason: EndReason,
    ) -> Result<(), Error> {
        self.resolve_account(account).await?;
        transact!(self.spine(), ctx, tx => {
            if !self.end_one(&mut tx, ctx, (account, session), reason).await? {
                return Err(Error::NotFound);
            }
            let about = About::thing_of(account, "session", *session.as_bytes(), 0);
            tx.emit(about, events::SessionEnded { reason, session })?;
            Ok::<_, Error>(())
        })
    }

    /// Ends the sessions of an account: all, or all but the one in which the person sits. Gives how
    /// many were live.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such account.
    pub async fn end_sessions(
        &self,
        ctx: &Ctx,
        account: AccountId,
        keep: Option<SessionId>,
        reason: EndReason,
    ) -> Result<u64, Error> {
        self.resolve_account(account).await?;
        let which = keep.map_or(Which::All, Which::AllBut);
        transact!(self.spine(), ctx, tx => {
            let count = self.end_all(&mut tx, ctx, (account, which), reason).await?;
            tx.emit(About::account(account, 0), events::SessionsEnded { reason, count })?;
            Ok::<_, Error>(count)
        })
    }
}
