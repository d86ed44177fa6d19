//! The storm of refreshes (I6): many runs of eight clients that hold one token and show it at once.
//! Prints a verdict, and fails where a run forked or logged an honest client out.
//!
//! `cargo run --example refresh_storm -- [sqlite|postgres] [runs]`; 10,000 runs by default.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use identity::{
    AccountKind, AppTokens, Client, Identity, IdentityConfig, OpenAccount, Parts, SignIn,
};
use kernel::{Actor, Clock, Entropy, Secret};
use testkit::World;
use web::Site;
use web::feed::{Hub, PublisherId, Snapshot};

const HOLDERS: usize = 8;
const EMAIL: &str = "storm@example.org";
const PASSWORD: &str = "tin lamp over the quay";

#[derive(Default)]
struct Verdict {
    runs: usize,
    forks: usize,
    log_outs: usize,
    took: Duration,
}

const ROOMS: &[spine::Room] = &[identity::ROOM];

async fn open(world: &World) -> Result<(Identity, AppTokens), identity::Error> {
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    let hub = Hub::new(Arc::clone(&clock), Snapshot::default());
    let identity = Identity::open(Parts {
        spine: world.spine.clone(),
        vault: world.vault.clone(),
        publisher: hub.publisher(PublisherId(1)),
        clock,
        entropy: Arc::clone(&world.entropy) as Arc<dyn Entropy>,
        site: Arc::new(Site::shop("Storm", "https://shop.test")),
        config: IdentityConfig::default(),
        breached: None,
    })?;
    let operator = world.ctx(Actor::Operator { id: None });
    let account = OpenAccount {
        kind: AccountKind::Customer,
        email: EMAIL.to_owned(),
        name: "Storm".to_owned(),
        roles: Vec::new(),
        password: Some(Secret::new(PASSWORD.to_owned())),
    };
    identity.open_account(&operator, account).await?;
    let password = Secret::new(PASSWORD.to_owned());
    let email = EMAIL.to_owned();
    let command = SignIn { email, password, client: Client::App, device: None, trust: None };
    let tokens = identity.sign_in_app(&world.ctx(Actor::Nobody), command).await?;
    let tokens = tokens.inside().ok_or(identity::Error::Broken("a second factor is asked for"))?;
    Ok((identity, tokens))
}

async fn storm(world: &World, runs: usize) -> Result<Verdict, identity::Error> {
    let (identity, first) = open(world).await?;
    let mut token = first.refresh;
    let mut verdict = Verdict::default();
    let clock = kernel::SystemClock;
    let begun = clock.now();
    for run in 0..runs {
        let mut holders = tokio::task::JoinSet::new();
        for _ in 0..HOLDERS {
            let (identity, ctx) = (identity.clone(), world.ctx(Actor::Nobody));
            let token = token.clone();
            holders.spawn(async move { identity.refresh(&ctx, &token).await });
        }
        let outcomes = holders.join_all().await;
        let handed: BTreeSet<String> =
            outcomes.iter().flatten().map(|tokens| tokens.refresh.expose().clone()).collect();
        verdict.runs += 1;
        verdict.log_outs += outcomes.iter().filter(|outcome| outcome.is_err()).count();
        verdict.forks += usize::from(handed.len() > 1);
        let Some(successor) = handed.into_iter().next() else { break };
        token = Secret::new(successor);
        world.advance(Duration::from_secs(11));
        if run % 1_000 == 999 {
            world.spine.sequence().await?;
            say(&format!("{} runs", run + 1));
        }
    }
    verdict.took = clock.now().since(begun);
    Ok(verdict)
}

fn say(text: &str) {
    // A closed pipe only means that nobody listens.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let backend = arguments.next().unwrap_or_else(|| "sqlite".to_owned());
    let runs = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let mut held = false;
    let test = async |world: &World| match storm(world, runs).await {
        Ok(verdict) => {
            let Verdict { runs: done, forks, log_outs, took } = verdict;
            held = done == runs && forks == 0 && log_outs == 0;
            let shown = done * HOLDERS;
            let per_s = shown as f64 / took.as_secs_f64().max(0.001);
            say(&format!(
                "{backend}: {done} runs x {HOLDERS} holders, {forks} forks, {log_outs} honest \
                 log-outs, {per_s:.0} refreshes/s: {}",
                if held { "HOLDS" } else { "BROKEN" }
            ));
        }
        Err(error) => say(&format!("{backend}: {error}")),
    };
    if backend == "postgres" {
        World::run_postgres(ROOMS, test);
    } else {
        World::run_sqlite(ROOMS, test);
    }
    if held { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
