//! Tokens for the shop's apps: a signed token of at most five minutes, and a refresh token that is
//! replaced each time it is used.
//!
//! One family is one sign-in on one device. Its row is replaced by compare-and-set, so that of any
//! number of clients that show the same token at once, one rotates it and the others are handed the
//! very same successor while the grace window lasts: never two live children, no honest log-out. A
//! token that comes back after that ends its own family, and no other.

pub(crate) mod http;
mod policy;
pub(crate) mod store;

use kernel::{AccountId, Ctx, Secret, SessionId, Timestamp};
use spine::{About, Tx, args, transact};
use web::feed::Minted;

use crate::account::AccountKind;
use crate::error::Error;
use crate::events;
use crate::room::Identity;
use crate::session::{EndReason, Entered, Opened};
use crate::ticket::secret_hash;
use crate::trust::Trust;
use policy::{Fate, Shown, Standing, judge, mac_input};
use store::Family;

/// Rounds in which a token may lose a race before it is told to come back.
const ROUNDS_MAX: usize = 4;

/// What an app holds after a sign-in or a refresh.
#[derive(Debug)]
pub struct AppTokens {
    /// The signed token for the shop, with its end.
    pub access: Minted,
    /// The refresh token, for once.
    pub refresh: Secret<String>,
    /// The session that both belong to.
    pub session: SessionId,
    /// The account.
    pub account: AccountId,
    /// After a sign-in: what a trusted device keeps until its next one.
    pub trust: Option<Trust>,
}

/// A new generation of a family.
struct Successor {
    text: Secret<String>,
    hash: [u8; 32],
}

impl Identity {
    /// The token of one generation: always the same for the same family and nonce. Under the index
    /// key, which is never rotated: a rotation between two of those who race would part them.
    fn token_of(&self, family: SessionId, generation: i64, nonce: &[u8; 16]) -> Successor {
        let mac = self.vault().blind("identity.refresh", &mac_input(family, generation, nonce));
        let text = Shown::text(family, generation, &mac);
        let hash = secret_hash(text.expose());
        Successor { text, hash }
    }

    /// The end of a family that is not used again.
    fn idle_until(&self, kind: AccountKind, now: Timestamp, ends_at: Timestamp) -> Timestamp {
        now.plus(self.config().session.life(kind).idle()).min(ends_at)
    }

    /// Opens the family of an app's session inside a transaction; gives its first refresh token.
    pub(crate) async fn open_family(
        &self,
        tx: &mut Tx,
        ctx: &Ctx,
        opened: &Opened,
    ) -> Result<Secret<String>, Error> {
        let nonce = ctx.random::<16>();
        let first = self.token_of(opened.session, 1, &nonce);
        let idle_until = self.idle_until(opened.kind, ctx.now, opened.ends_at);
        let row = args![
            opened.session.as_bytes(),
            opened.account.as_bytes(),
            nonce,
            first.hash,
            ctx.now,
            idle_until
        ];
        tx.change(&store::OPEN, row).await?;
        Ok(first.text)
    }

    /// A signed token beside the first refresh token of a session that was just opened.
    pub(crate) async fn tokens_of(
        &self,
        ctx: &Ctx,
        Entered { opened, refresh }: Entered,
    ) -> Result<AppTokens, Error> {
        let session = opened.session;
        let refresh = refresh.ok_or(Error::Broken("a session of an app without a family"))?;
        let access = self.mint_for_id(ctx, session).await?.ok_or(Error::SignInRefused)?;
        let Opened { account, trust, .. } = opened;
        Ok(AppTokens { access, refresh, session, account, trust })
    }

    /// Trades a refresh token for its successor and a new signed token.
    ///
    /// # Errors
    /// [`Error::RefreshRefused`] for what is no live token; [`Error::RefreshReused`] for one that
    /// was used before, whose family is over from now on.
    pub async fn refresh(&self, ctx: &Ctx, token: &Secret<String>) -> Result<AppTokens, Error> {
        let shown = Shown::parse(token.expose()).ok_or(Error::RefreshRefused)?;
        for _ in 0..ROUNDS_MAX {
            let family = self.family(ctx, &shown).await?;
            let standing = Standing {
                generation: family.generation,
                rotated_at: family.rotated_at,
                idle_until: family.idle_until,
                live: family.live,
            };
            let grace = self.config().token.grace();
            let refresh = match judge(shown.generation, standing, ctx.now, grace) {
                Fate::Over => return Err(Error::RefreshRefused),
                Fate::Reused { behind } => {
                    self.end_reused(ctx, &family, behind).await?;
                    return Err(Error::RefreshReused);
                }
                Fate::Same => self.present(&family)?,
                Fate::Rotate => match self.rotate(ctx, &family).await? {
                    Some(successor) => successor,
                    // Another was faster: look again at what it left.
                    None => continue,
                },
            };
            let access = self.mint_for_id(ctx, family.id).await?.ok_or(Error::RefreshRefused)?;
            let (session, account) = (family.id, family.account);
            return Ok(AppTokens { access, refresh, session, account, trust: None });
        }
        Err(Error::Busy { retry_after_s: 1 })
    }

    /// The family that a token names, if the token is one that we once gave out.
    async fn family(&self, ctx: &Ctx, shown: &Shown) -> Result<Family, Error> {
        let mut read = self.spine().read().await?;
        let family: Option<Family> =
            read.maybe(&store::FIND, args![shown.family.as_bytes(), ctx.now]).await?;
        let family = family.ok_or(Error::RefreshRefused)?;
        let input = mac_input(family.id, shown.generation, &family.nonce);
        let genuine = self.vault().blind("identity.refresh", &input);
        if shown.generation > family.generation || !shown.mac.matches(&genuine) {
            return Err(Error::RefreshRefused);
        }
        Ok(family)
    }

    /// The present token of a family, made again, and compared with the digest that was stored.
    fn present(&self, family: &Family) -> Result<Secret<String>, Error> {
        let present = self.token_of(family.id, family.generation, &family.nonce);
        if present.hash != family.token_hash {
            return Err(Error::Broken("a refresh family's digest is not its token's"));
        }
        Ok(present.text)
    }

    /// Replaces the present generation. None where another did so first.
    async fn rotate(&self, ctx: &Ctx, family: &Family) -> Result<Option<Secret<String>>, Error> {
        self.present(family)?;
        self.resolve_account(family.account).await?;
        let generation = family.generation.saturating_add(1);
        let successor = self.token_of(family.id, generation, &family.nonce);
        let idle_until = self.idle_until(family.kind, ctx.now, family.ends_at);
        let rotated = transact!(self.spine(), ctx, tx => {
            let row = args![
                family.id.as_bytes(), family.generation, successor.hash, ctx.now, idle_until
            ];
            let Some(row) = tx.change_one(&store::ROTATE, row).await? else {
                return Ok(false);
            };
            let version = row.int("version").map_err(spine::Error::from)?;
            let about =
                About::thing_of(family.account, "session", *family.id.as_bytes(), version);
            tx.emit(about, events::Refreshed { generation, session: family.id })?;
            Ok::<_, Error>(true)
        })?;
        Ok(rotated.then_some(successor.text))
    }

    /// Ends the family of a token that was used twice. That another request ended it first is fine.
    async fn end_reused(&self, ctx: &Ctx, family: &Family, behind: i64) -> Result<(), Error> {
        self.resolve_account(family.account).await?;
        let (account, session) = (family.account, family.id);
        transact!(self.spine(), ctx, tx => {
            let of = (account, session);
            if self.end_one(&mut tx, ctx, of, EndReason::RefreshReused).await? {
                let about = About::thing_of(account, "session", *session.as_bytes(), 0);
                tx.emit(about, events::RefreshReused { behind, session })?;
            }
            Ok::<_, Error>(())
        })
    }

    /// Gives a refresh token back (RFC 7009): its sign-in ends. Unknown tokens are no error.
    ///
    /// # Errors
    /// As the database says.
    pub async fn revoke(&self, ctx: &Ctx, token: &Secret<String>) -> Result<(), Error> {
        let Some(shown) = Shown::parse(token.expose()) else { return Ok(()) };
        let family = match self.family(ctx, &shown).await {
            Ok(family) => family,
            Err(Error::RefreshRefused) => return Ok(()),
            Err(error) => return Err(error),
        };
        let of = (family.account, family.id);
        match self.end_session(ctx, of, EndReason::Revoked).await {
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
