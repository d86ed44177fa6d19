//! Hashing passwords: argon2id with a pepper, by a bounded number of workers, with admission
//! control.
//!
//! A hash takes 19 MiB and tens of milliseconds on purpose, so a flood of sign-ins is a flood of
//! memory and time. As many hashes run as there are cores; who would have to wait longer than the
//! configured span is refused at once and told when to come back, instead of all waiting for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use kernel::{Clock, Ctx, Secret};
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::memory::Memory;
use super::phc::{Cost, HASH_BYTES, Phc, SALT_BYTES};
use super::policy::Password;
use crate::config::PasswordConfig;
use crate::error::Error;

/// The least memory that is taken for safe beside few passes (OWASP's table begins there), KiB.
const MEMORY_KIB_MIN: u32 = 7_168;
/// The first guess at the cost of one hash, until hashes were measured, µs.
const COST_FIRST_US: u64 = 30_000;

/// The hashing pool. Cheap to clone: all clones share the workers.
#[derive(Clone)]
pub struct Hasher {
    shared: Arc<Shared>,
}

struct Shared {
    cost: Cost,
    pepper: Secret<[u8; 32]>,
    clock: Arc<dyn Clock>,
    queue: Queue,
    workers: Arc<Semaphore>,
    memory: Memory,
    /// Hashes that want in or are at work.
    inside: AtomicU32,
    /// A moving mean of what one hash takes, µs.
    took_us: AtomicU64,
    /// Hashes made since the start.
    done: AtomicU64,
}

/// Whether a password is right, and whether its hash was made under other costs than today's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The password is the one that was hashed.
    pub right: bool,
    /// The hash should be made anew.
    pub stale: bool,
}

/// The bounds of the queue before the workers.
#[derive(Clone, Copy, Debug)]
struct Queue {
    workers: u32,
    waiting_max: u32,
    wait_max: Duration,
}

impl Queue {
    /// Decides whether one more may come in while `inside` are waiting or at work, each taking
    /// `took_us`.
    ///
    /// # Errors
    /// [`Error::Busy`] with the seconds after which the queue should be shorter.
    fn admit(self, inside: u32, took_us: u64) -> Result<(), Error> {
        let ahead = inside.saturating_sub(self.workers.saturating_sub(1));
        let rounds = u64::from(ahead.div_ceil(self.workers.max(1)));
        let wait = Duration::from_micros(rounds.saturating_mul(took_us));
        if ahead > self.waiting_max || wait > self.wait_max {
            let retry_after_s = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).clamp(1, 60);
            return Err(Error::Busy { retry_after_s });
        }
        Ok(())
    }
}

/// A place in the queue, for one hash or two of one sign-in; given back when dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hasher {
    /// A pool with these costs and bounds; `pepper` is a key that the database does not hold.
    ///
    /// # Errors
    /// [`Error::Config`] where the costs are below what is safe.
    pub(crate) fn new(
        config: &PasswordConfig,
        pepper: Secret<[u8; 32]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if config.memory_kib < MEMORY_KIB_MIN || config.passes == 0 {
            return Err(Error::Config(
                "identity.password.memory_kib is below 7168, or passes is 0",
            ));
        }
        let cores = std::thread::available_parallelism()
            .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let workers = if config.workers == 0 { cores } else { config.workers };
        let queue = Queue {
            workers,
            waiting_max: config.waiting_max,
            wait_max: Duration::from_millis(config.wait_max_ms),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                cost: Cost { memory_kib: config.memory_kib, passes: config.passes },
                pepper,
                clock,
                queue,
                workers: Arc::new(Semaphore::new(usize::try_from(workers).unwrap_or(1))),
                memory: Memory::default(),
                inside: AtomicU32::new(0),
                took_us: AtomicU64::new(COST_FIRST_US),
                done: AtomicU64::new(0),
            }),
        })
    }

    /// Hashes a new password, as a PHC string.
    ///
    /// # Errors
    /// [`Error::Busy`] where the queue is too long.
    pub(crate) async fn hash(
        &self,
        ctx: &Ctx,
        password: &Password,
    ) -> Result<Secret<String>, Error> {
        self.place()?.hash(ctx, password).await
    }

    /// Compares a password with a stored hash.
    ///
    /// # Errors
    /// [`Error::Busy`], or [`Error::Broken`] where the stored text cannot be read.
    pub(crate) async fn verify(
        &self,
        password: &Password,
        stored: &Secret<String>,
    ) -> Result<Verdict, Error> {
        self.place()?.verify(password, stored).await
    }

    /// A place in the queue, before any other work is done for the one who asks: who would have to
    /// wait too long is refused at once, and costs nothing.
    ///
    /// # Errors
    /// [`Error::Busy`] where the queue is too long.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        let shared = Arc::clone(&self.shared);
        let inside = shared.inside.fetch_add(1, Ordering::Relaxed);
        let place = Place { shared };
        self.shared.queue.admit(inside, self.shared.took_us.load(Ordering::Relaxed))?;
        Ok(place)
    }

    /// Hashes made since the start: a metric, and what the tests of equal cost count.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Hashes that wait or are at work now.
    #[must_use]
    pub fn inside(&self) -> u32 {
        self.shared.inside.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Hashes a new password, as a PHC string.
    ///
    /// # Errors
    /// [`Error::Busy`] where no worker becomes free in time.
    pub(crate) async fn hash(
        &self,
        ctx: &Ctx,
        password: &Password,
    ) -> Result<Secret<String>, Error> {
        let salt = ctx.random::<SALT_BYTES>();
        let cost = self.shared.cost;
        let hash = self.run(password, salt, cost).await?;
        Ok(Secret::new(Phc { cost, salt, hash }.to_text()))
    }

    /// Compares a password with a stored hash.
    ///
    /// # Errors
    /// [`Error::Busy`], or [`Error::Broken`] where the stored text cannot be read.
    pub(crate) async fn verify(
        &self,
        password: &Password,
        stored: &Secret<String>,
    ) -> Result<Verdict, Error> {
        let phc = Phc::parse(stored.expose())?;
        let hash = self.run(password, phc.salt, phc.cost).await?;
        let right = hash.ct_eq(&phc.hash).into();
        Ok(Verdict { right, stale: phc.cost != self.shared.cost })
    }

    /// Spends what [`Place::verify`] spends, for an account that does not exist: the answer takes
    /// the same time.
    ///
    /// # Errors
    /// [`Error::Busy`], as for one that exists.
    pub(crate) async fn verify_nothing(&self, password: &Password) -> Result<Verdict, Error> {
        let hash = self.run(password, [0; SALT_BYTES], self.shared.cost).await?;
        let _same_work: bool = hash.ct_eq(&[0; HASH_BYTES]).into();
        Ok(Verdict { right: false, stale: false })
    }

    async fn worker(&self) -> Result<OwnedSemaphorePermit, Error> {
        let worker = Arc::clone(&self.shared.workers).acquire_owned();
        tokio::time::timeout(self.shared.queue.wait_max, worker)
            .await
            .map_err(|_| Error::Busy { retry_after_s: 2 })?
            .map_err(|_| Error::Broken("the hashing pool is closed"))
    }

    async fn run(
        &self,
        password: &Password,
        salt: [u8; SALT_BYTES],
        cost: Cost,
    ) -> Result<[u8; HASH_BYTES], Error> {
        let worker = self.worker().await?;
        let text = Secret::new(password.expose().to_owned());
        let shared = Arc::clone(&self.shared);
        // The worker goes along: a client that hangs up does not free one that still works.
        let work = move || {
            let hash = shared.work(&text, &salt, cost);
            drop(worker);
            hash
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Error::Broken("a hashing worker was lost"))?
    }
}

impl Shared {
    fn work(
        &self,
        text: &Secret<String>,
        salt: &[u8; SALT_BYTES],
        cost: Cost,
    ) -> Result<[u8; HASH_BYTES], Error> {
        let begun = self.clock.now();
        let params = Params::new(cost.memory_kib, cost.passes, 1, Some(HASH_BYTES))
            .map_err(|_| Error::Broken("argon2 refuses its costs"))?;
        let argon = Argon2::new_with_secret(
            self.pepper.expose(),
            Algorithm::Argon2id,
            Version::V0x13,
            params,
        )
        .map_err(|_| Error::Broken("argon2 refuses its pepper"))?;
        let mut hash = [0; HASH_BYTES];
        let mut memory = self.memory.take(argon.params().block_count());
        let done = argon.hash_password_into_with_memory(
            text.expose().as_bytes(),
            salt,
            &mut hash,
            &mut memory,
        );
        let others = self.inside.load(Ordering::Relaxed).saturating_sub(1);
        self.memory.give(memory, others, self.queue.workers);
        done.map_err(|_| Error::Broken("argon2 refuses a password"))?;
        self.done.fetch_add(1, Ordering::Relaxed);
        let took = self.clock.now().since(begun).as_micros();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        if took > 0 {
            let mean = self.took_us.load(Ordering::Relaxed);
            self.took_us
                .store((mean.saturating_mul(7).saturating_add(took)) / 8, Ordering::Relaxed);
        }
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Actor, SystemClock, SystemEntropy};

    use super::*;

    fn hasher(config: &PasswordConfig) -> Hasher {
        Hasher::new(config, Secret::new([7; 32]), Arc::new(SystemClock)).unwrap()
    }

    fn ctx() -> Ctx {
        Ctx::new(Actor::Nobody, SystemClock.now(), Arc::new(SystemEntropy))
    }

    fn typed(text: &str) -> Password {
        Password::typed("password", &Secret::new(text.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let hasher = hasher(&PasswordConfig::default());
        let stored = hasher.hash(&ctx(), &typed("tin lamp over the quay")).await.unwrap();
        assert!(stored.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let right = hasher.verify(&typed("tin lamp over the quay"), &stored).await.unwrap();
        assert_eq!(right, Verdict { right: true, stale: false });
        let wrong = hasher.verify(&typed("tin lamp over the key"), &stored).await.unwrap();
        assert!(!wrong.right);
        let place = hasher.place().unwrap();
        let nothing = place.verify_nothing(&typed("tin lamp over the quay")).await.unwrap();
        assert!(!nothing.right);
        drop(place);
        assert_eq!(hasher.done(), 4);
        assert_eq!(hasher.inside(), 0);
        assert_eq!(hasher.shared.memory.kept(), 0);
    }

    #[tokio::test]
    async fn without_the_pepper_nothing_verifies() {
        let config = PasswordConfig::default();
        let stored = hasher(&config).hash(&ctx(), &typed("tin lamp over the quay")).await.unwrap();
        let other = Hasher::new(&config, Secret::new([8; 32]), Arc::new(SystemClock)).unwrap();
        assert!(!other.verify(&typed("tin lamp over the quay"), &stored).await.unwrap().right);
    }

    #[tokio::test]
    async fn a_hash_of_other_costs_verifies_and_is_stale() {
        let old = PasswordConfig { memory_kib: 7_168, passes: 1, ..PasswordConfig::default() };
        let stored = hasher(&old).hash(&ctx(), &typed("tin lamp over the quay")).await.unwrap();
        let now = hasher(&PasswordConfig::default());
        let verdict = now.verify(&typed("tin lamp over the quay"), &stored).await.unwrap();
        assert_eq!(verdict, Verdict { right: true, stale: true });
    }

    #[test]
    fn costs_below_the_floor_are_refused() {
        let weak = PasswordConfig { memory_kib: 1_024, ..PasswordConfig::default() };
        assert!(Hasher::new(&weak, Secret::new([0; 32]), Arc::new(SystemClock)).is_err());
    }

    #[test]
    fn who_would_wait_too_long_is_refused_at_once() {
        let queue = Queue { workers: 2, waiting_max: 512, wait_max: Duration::from_secs(2) };
        assert!(queue.admit(0, 30_000).is_ok());
        assert!(queue.admit(100, 30_000).is_ok());
        assert!(matches!(queue.admit(200, 30_000), Err(Error::Busy { retry_after_s: 1..=60 })));
        assert!(matches!(queue.admit(600, 1), Err(Error::Busy { .. })));
    }
}
