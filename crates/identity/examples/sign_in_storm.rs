//! The storm of sign-ins (I3): five hundred people sign in at once, and the rate is compared with
//! what the same cores can hash at all, measured in the same run.
//!
//! `cargo run --example sign_in_storm -- [sqlite|postgres] [people]`. Prints the share of the
//! ceiling, how many were refused and how fast, and how much memory it took.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use identity::{
    AccountKind, AttemptConfig, Budget, Client, Error, Identity, IdentityConfig, OpenAccount,
    Parts, SignIn,
};
use kernel::{Actor, Clock, Ctx, Entropy, Secret, SystemClock, SystemEntropy};
use testkit::World;
use web::Site;
use web::feed::{Hub, PublisherId, Snapshot};

const PASSWORD: &str = "tin lamp over the quay";
const CEILING_HASHES: usize = 100;

const ROOMS: &[spine::Room] = &[identity::ROOM];

fn say(text: &str) {
    // A closed pipe only means that nobody listens.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Hashes per second of all cores, with nothing around them.
async fn ceiling() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let begun = SystemClock.now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..cores {
        workers.spawn_blocking(move || {
            let params = Params::new(19_456, 2, 1, Some(32)).unwrap_or_default();
            let mut memory = vec![Block::new(); params.block_count()];
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let (text, salt) = (PASSWORD.as_bytes(), [7; 16]);
            let mut out = [0; 32];
            for _ in 0..CEILING_HASHES / cores {
                let _ = argon.hash_password_into_with_memory(text, &salt, &mut out, &mut memory);
            }
        });
    }
    workers.join_all().await;
    let took = SystemClock.now().since(begun);
    (CEILING_HASHES / cores * cores) as f64 / took.as_secs_f64()
}

fn open(world: &World) -> Result<Identity, Error> {
    // The real clock: the pool measures what a hash takes. Budgets out of the way: one client.
    let clock = Arc::new(SystemClock) as Arc<dyn Clock>;
    let hub = Hub::new(Arc::clone(&clock), Snapshot::default());
    let plenty = Budget { burst: 1_000_000, refill_s: 1 };
    let attempts = AttemptConfig { account: plenty, client: plenty, ..AttemptConfig::default() };
    Identity::open(Parts {
        spine: world.spine.clone(),
        vault: world.vault.clone(),
        publisher: hub.publisher(PublisherId(1)),
        clock,
        entropy: Arc::clone(&world.entropy) as Arc<dyn Entropy>,
        site: Arc::new(Site::shop("Storm", "https://shop.test")),
        config: IdentityConfig { attempts, ..IdentityConfig::default() },
        breached: None,
    })
}

struct Outcome {
    took: Duration,
    refused: bool,
}

async fn one(identity: Identity, ctx: Ctx) -> Result<Outcome, Error> {
    let begun = SystemClock.now();
    let command = SignIn {
        email: "storm@example.org".to_owned(),
        password: Secret::new(PASSWORD.to_owned()),
        client: Client::Browser,
        device: None,
        trust: None,
    };
    let refused = match identity.sign_in(&ctx, command).await {
        Ok(_) => false,
        Err(Error::Busy { .. }) => true,
        Err(error) => return Err(error),
    };
    Ok(Outcome { took: SystemClock.now().since(begun), refused })
}

async fn storm(world: &World, people: usize) -> Result<(), Error> {
    let identity = open(world)?;
    let account = OpenAccount {
        kind: AccountKind::Customer,
        email: "storm@example.org".to_owned(),
        name: "Storm".to_owned(),
        roles: Vec::new(),
        password: Some(Secret::new(PASSWORD.to_owned())),
    };
    identity.open_account(&world.ctx(Actor::Operator { id: None }), account).await?;
    let ceiling = ceiling().await;
    let before_mb = resident_mb();
    let begun = SystemClock.now();
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..people {
        let now = SystemClock.now();
        let ctx = Ctx::new(Actor::Nobody, now, Arc::new(SystemEntropy));
        storm.spawn(one(identity.clone(), ctx));
    }
    let mut outcomes = Vec::with_capacity(people);
    let mut highest_mb = 0;
    while let Some(joined) = storm.join_next().await {
        highest_mb = highest_mb.max(resident_mb());
        outcomes.push(joined.map_err(|_| Error::Broken("a task was lost"))??);
    }
    let took = SystemClock.now().since(begun);
    let refused = outcomes.iter().filter(|outcome| outcome.refused);
    let refused_slowest = refused.clone().map(|outcome| outcome.took).max().unwrap_or_default();
    let served = outcomes.len() - refused.clone().count();
    let slowest = outcomes.iter().filter(|o| !o.refused).map(|o| o.took).max().unwrap_or_default();
    let rate = served as f64 / took.as_secs_f64();
    say(&format!(
        "{people} at once: {served} served, slowest {slowest:.2?}; {} refused, slowest \
         {refused_slowest:.2?}; {rate:.1}/s of a ceiling of {ceiling:.1}/s: {:.0} %; {before_mb} MB resident before, {highest_mb} MB at most",
        refused.count(),
        100.0 * rate / ceiling,
    ));
    Ok(())
}

/// Resident memory, MB; 0 where the system does not tell.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let backend = arguments.next().unwrap_or_else(|| "sqlite".to_owned());
    let people = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(500);
    let test = async |world: &World| {
        if let Err(error) = storm(world, people).await {
            say(&format!("{backend}: {error}"));
        }
    };
    if backend == "postgres" {
        World::run_postgres(ROOMS, test);
    } else {
        World::run_sqlite(ROOMS, test);
    }
}
