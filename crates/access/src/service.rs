//! Keys of the shop's own services: 256 random bits behind a prefix that says what they are, and a
//! checksum that finds a typing mistake. A key is shown once; here stands its SHA-256 only, which
//! needs no salt: nobody guesses 256 bits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use kernel::{Actor, Ctx, KeyId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use spine::{About, FromRow, Row, StoreError, args, sql, transact};
use utoipa::ToSchema;
use web::{BoxFuture, Problem, Service};

use crate::error::Error;
use crate::events::{RevokedKeyUsed, ServiceAdded, ServiceRevoked};
use crate::room::Access;

sql! {
    read BY_HASH = "SELECT id, name, mode, scopes, secret_hash, created_at, revoked_at, \
        CAST(NULL AS BIGINT) AS used_at FROM access_service WHERE secret_hash = $1";
    read LIST = "SELECT s.id, s.name, s.mode, s.scopes, s.secret_hash, s.created_at, \
        s.revoked_at, u.used_at FROM access_service s \
        LEFT JOIN access_service_use u ON u.service = s.id WHERE s.id < $1 \
        ORDER BY s.id DESC LIMIT $2";
    fact ADD in access_service = "INSERT INTO access_service \
        (id, version, name, mode, secret_hash, scopes, created_at, revoked_at) \
        SELECT $1, 1, $2, $3, $4, $5, $6, NULL WHERE (SELECT COUNT(*) FROM access_service \
        WHERE revoked_at IS NULL) < $7 RETURNING id";
    fact REVOKE in access_service = "UPDATE access_service SET revoked_at = $2, \
        version = version + 1 WHERE id = $1 AND revoked_at IS NULL RETURNING id, version, name";
    upkeep TOUCH in access_service_use = "INSERT INTO access_service_use (service, used_at) \
        VALUES ($1, $2) ON CONFLICT (service) DO UPDATE SET used_at = excluded.used_at \
        WHERE access_service_use.used_at < excluded.used_at";
}

/// Live services that there may be.
const LIVE_MAX: i64 = 200;
/// How often the moment of last use is written for one key.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
const SECRET_BYTES: usize = 32;
/// Base-32 letters of 256 bits.
const SECRET_LETTERS: usize = 52;
const CHECK_LETTERS: usize = 6;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Which sort of installation a key is for: a key of the other sort is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The shop's real one.
    Live,
    /// A trial: moves no money, writes no messages.
    Test,
}

impl Mode {
    /// The word, as stored and as part of a key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "sdk_live_",
            Self::Test => "sdk_test_",
        }
    }
}

/// A service to be added.
#[derive(Clone, Debug)]
pub struct NewService {
    /// What the shop calls it: 1 to 64 letters, digits, spaces, `-`, `_`, `.`.
    pub name: String,
    /// What its key may do.
    pub scopes: Vec<String>,
}

/// A service that was added, with its key: it is never shown again.
#[derive(Debug)]
pub struct AddedService {
    /// The service.
    pub id: KeyId,
    /// The key.
    pub key: Secret<String>,
}

/// A service, for the operators' list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServiceEntry {
    /// The service.
    pub id: KeyId,
    /// What the shop calls it.
    pub name: String,
    /// `live` or `test`.
    pub mode: String,
    /// What its key may do.
    pub scopes: Vec<String>,
    /// Since when, in microseconds since 1970.
    pub created_at: Timestamp,
    /// When it was revoked, in microseconds since 1970.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute, in microseconds since 1970.
    pub used_at: Option<Timestamp>,
}

struct Stored {
    entry: ServiceEntry,
    hash: [u8; 32],
}

impl FromRow for Stored {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let scopes = row.text("scopes")?;
        Ok(Self {
            hash: row.fixed("secret_hash")?,
            entry: ServiceEntry {
                id: KeyId::from_bytes(row.id16("id")?),
                name: row.text("name")?,
                mode: row.text("mode")?,
                scopes: scopes.split_whitespace().map(str::to_owned).collect(),
                created_at: row.time("created_at")?,
                revoked_at: row.opt_time("revoked_at")?,
                used_at: row.opt_time("used_at")?,
            },
        })
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}

/// Bytes as base-32 letters, five bits each from the front; the last is filled with zeros.
fn letters(bytes: &[u8], count: usize) -> String {
    let bit = |at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    (0..count)
        .map(|place| {
            let index = (0..5).fold(0, |index, step| index << 1 | bit(place * 5 + step));
            char::from(ALPHABET.get(index).copied().unwrap_or(b'0'))
        })
        .collect()
}

/// The checksum of everything before it. It tells typing mistakes, not forgeries: the look-up does.
fn checksum(front: &str) -> String {
    letters(&sha256(front.as_bytes()), CHECK_LETTERS)
}

fn make_key(mode: Mode, secret: &[u8; SECRET_BYTES]) -> Secret<String> {
    let front = format!("{}{}", mode.prefix(), letters(secret, SECRET_LETTERS));
    let check = checksum(&front);
    Secret::new(front + &check)
}

/// The digest of a text that is formed as a key of this mode; none for any other text, which is
/// then never looked up.
fn hash_of(token: &str, mode: Mode) -> Option<[u8; 32]> {
    let rest = token.strip_prefix(mode.prefix())?;
    let formed = rest.len() == SECRET_LETTERS + CHECK_LETTERS
        && rest.bytes().all(|letter| ALPHABET.contains(&letter));
    if !formed {
        return None;
    }
    let (front, check) = token.split_at_checked(token.len() - CHECK_LETTERS)?;
    (checksum(front) == check).then(|| sha256(token.as_bytes()))
}

/// When each key's use was last written by this process: at most one entry for each live key.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<HashMap<KeyId, Timestamp>>);

impl Touched {
    /// Whether the use shall be written now.
    fn due(&self, id: KeyId, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&id).is_some_and(|at| now.since(*at) < TOUCH_EVERY && *at <= now) {
            return false;
        }
        known.insert(id, now);
        true
    }

    fn forget(&self, id: KeyId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

impl Access {
    /// Adds a service with a fresh key.
    ///
    /// # Errors
    /// [`Error::Fields`] for a name or scope that cannot be; [`Error::TooManyServices`] past 200
    /// live ones; the store's.
    pub async fn add_service(&self, ctx: &Ctx, new: &NewService) -> Result<AddedService, Error> {
        let scopes = self.check_service(new)?;
        let secret = Secret::new(ctx.random::<SECRET_BYTES>());
        let key = make_key(self.parts().mode, secret.expose());
        let id = KeyId::generate(ctx.now, ctx.entropy());
        let hash = sha256(key.expose().as_bytes());
        let mode = self.parts().mode.as_str();
        let words = scopes.join(" ");
        transact!(self.spine(), ctx, tx => {
            let args = args![id.as_bytes(), &new.name, mode, hash, &words, ctx.now, LIVE_MAX];
            if tx.change_one(&ADD, args).await?.is_none() {
                return Err(Error::TooManyServices(LIVE_MAX));
            }
            let event =
                ServiceAdded { scopes: scopes.clone(), name: new.name.clone(), service: id };
            tx.emit(About::house("service", *id.as_bytes(), 1), event)?;
            Ok::<_, Error>(())
        })?;
        Ok(AddedService { id, key })
    }

    fn check_service(&self, new: &NewService) -> Result<Vec<String>, Error> {
        let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
        if new.name.trim().is_empty() || new.name.len() > 64 || !new.name.chars().all(good) {
            let detail = "must be 1 to 64 letters, digits, spaces, `-`, `_` or `.`";
            return Err(Error::field("name", detail));
        }
        let known = &self.parts().scopes;
        let mut scopes = new.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        if scopes.is_empty() || scopes.iter().any(|scope| !known.contains(&scope.as_str())) {
            let detail =
                format!("must name at least one of {}, and nothing else", known.join(", "));
            return Err(Error::field("scopes", detail));
        }
        Ok(scopes)
    }

    /// Revokes a service's key, at once.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, or it was revoked before.
    pub async fn revoke_service(&self, ctx: &Ctx, id: KeyId) -> Result<(), Error> {
        transact!(self.spine(), ctx, tx => {
            let row = tx.change_one(&REVOKE, args![id.as_bytes(), ctx.now]).await?;
            let row = row.ok_or(Error::NotFound)?;
            let version = row.int("version").map_err(spine::Error::from)?;
            let name = row.text("name").map_err(spine::Error::from)?;
            let event = ServiceRevoked { name, service: id };
            tx.emit(About::house("service", *id.as_bytes(), version), event)?;
            Ok::<_, Error>(())
        })?;
        self.used().forget(id);
        Ok(())
    }

    /// Services, newest first, below an id; revoked ones too.
    ///
    /// # Errors
    /// The store's.
    pub async fn services(
        &self,
        before: Option<KeyId>,
        limit: i64,
    ) -> Result<Vec<ServiceEntry>, Error> {
        let before = before.map_or([0xff; 16], |id| *id.as_bytes());
        let limit = limit.clamp(1, kernel::Limits::PAGE_ROWS + 1);
        let mut read = self.spine().read().await?;
        let rows: Vec<Stored> = read.all(&LIST, args![before, limit]).await?;
        Ok(rows.into_iter().map(|row| row.entry).collect())
    }

    /// The service that holds this key; none for a text that is no key, a key of the other mode,
    /// an unknown and a revoked one. Nothing is cached: a revoked key is refused at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn service_of(&self, token: &str, visit: &Ctx) -> Result<Option<Service>, Error> {
        let Some(hash) = hash_of(token, self.parts().mode) else { return Ok(None) };
        let mut read = self.spine().read().await?;
        let found: Option<Stored> = read.maybe(&BY_HASH, args![hash]).await?;
        drop(read);
        // The index found equal bytes; what decides compares in constant time.
        let found = found.filter(|row| Secret::new(row.hash).matches(&hash));
        let Some(entry) = found.map(|row| row.entry) else { return Ok(None) };
        if entry.revoked_at.is_some() {
            // Each revoked key has its place there: no more of them than services.
            if self.used().due(entry.id, visit.now) {
                self.tell_revoked(visit, &entry).await?;
            }
            return Ok(None);
        }
        if self.used().due(entry.id, visit.now)
            && let Err(error) = self.note_use(entry.id, visit.now).await
        {
            tracing::warn!(%error, "the use of a service's key was not noted");
        }
        let ctx = visit.acted_by(Actor::Service { key: entry.id });
        Ok(Some(Service { ctx, scopes: entry.scopes }))
    }

    /// Tells that a revoked key was used, once in a minute over all nodes.
    async fn tell_revoked(&self, visit: &Ctx, entry: &ServiceEntry) -> Result<(), Error> {
        let event = RevokedKeyUsed {
            name: entry.name.clone(),
            service: entry.id,
            address: visit.origin.address,
        };
        transact!(self.spine(), visit, tx => {
            if self.first_in_minute(&mut tx, "revoked_key", entry.id.as_bytes()).await? {
                let about = About::house("service", *entry.id.as_bytes(), 0);
                tx.emit(about, event.clone())?;
            }
            Ok::<_, Error>(())
        })
    }

    async fn note_use(&self, id: KeyId, now: Timestamp) -> Result<(), Error> {
        let mut upkeep = self.spine().upkeep().await?;
        upkeep.run(&TOUCH, args![id.as_bytes(), now]).await?;
        Ok(upkeep.commit().await?)
    }
}

/// The services' half of [`web::Callers`]; the program puts it together with `identity`'s half.
#[derive(Clone, Debug)]
pub struct Services {
    room: Access,
}

impl Services {
    /// The half of this room.
    #[must_use]
    pub const fn new(room: Access) -> Self {
        Self { room }
    }

    /// As [`web::Callers::service`].
    ///
    /// # Errors
    /// A problem where keys cannot be looked up.
    pub fn service<'a>(
        &'a self,
        token: &'a str,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(async move { self.room.service_of(token, visit).await.map_err(Problem::from) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_says_what_it_is() {
        let key = make_key(Mode::Live, &[0xa5; 32]);
        let text = key.expose();
        assert!(text.starts_with("sdk_live_"));
        assert_eq!(text.len(), 9 + SECRET_LETTERS + CHECK_LETTERS);
        assert!(hash_of(text, Mode::Live).is_some());
        assert_eq!(hash_of(text, Mode::Test), None);
        assert_eq!(hash_of(&text.to_uppercase(), Mode::Live), None);
    }

    proptest! {
        // A7
        #[test]
        fn any_changed_letter_is_found(
            secret in any::<[u8; 32]>(), at in 9..67_usize, with in 0..32_usize,
        ) {
            let key = make_key(Mode::Test, &secret);
            let mut text = key.expose().clone().into_bytes();
            let letter = ALPHABET[with];
            prop_assume!(text[at] != letter);
            text[at] = letter;
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(hash_of(&text, Mode::Test), None);
        }

        #[test]
        fn two_secrets_make_two_keys(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            prop_assume!(a != b);
            let (a, b) = (make_key(Mode::Live, &a), make_key(Mode::Live, &b));
            prop_assert_ne!(a.expose(), b.expose());
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,90}") {
            prop_assert_eq!(hash_of(&text, Mode::Live), None);
        }
    }
}
