//! The server of the side-by-side measurement in `bench/edge`: one thread, one upstream, and
//! either nothing but the proxy or everything that a signed-in request passes.
//!
//! `bench_edge <listen> <upstream> <plain|full> [tls]`; prints the session token, then `ready`.
//! `bench_edge session`; prints what the check of a token seen before costs.
//! `bench_edge limits`; prints what a limit costs that is counted out of a lease, or here alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge::limits::{Desk, Ledger, Said};
use edge::session::{Keys, TokenFault, Tokens, verify};
use edge::{Bounds, Certificates, Config, Edge, Issuer, Tls};
use kernel::{AccountId, Clock as _, SessionId, SystemClock, SystemEntropy};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use web::feed::{
    Counter, Grant, Hub, Jwk, Jwks, Observations, PublisherId, RouteTable, Snapshot, Take, Taken,
};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "session") {
        return session();
    }
    if arguments.first().is_some_and(|word| word == "limits") {
        return limits().await;
    }
    let [listen, upstream, mode, rest @ ..] = arguments.as_slice() else {
        return Err("bench_edge <listen> <upstream> <plain|full> [tls]".into());
    };
    let full = mode == "full";
    let keys = Ed25519KeyPair::generate()?;
    let jwk = jwk(&keys);
    let table: RouteTable = serde_json::from_value(table(upstream, full))?;
    if let Some(problem) = table.problems().into_iter().next() {
        return Err(problem.to_string().into());
    }
    let clock = Arc::new(SystemClock);
    let snapshot = Snapshot::new(Arc::new(table), Arc::new(Jwks { keys: vec![jwk] }));
    let hub = Hub::new(clock.clone(), snapshot);
    let publisher = hub.publisher(PublisherId(1));
    let header_keys = HashMap::from([("shop".to_owned(), vec![7; 32].into())]);
    let running = Edge::start(Config {
        listen: edge::Listen::At(listen.parse()?),
        tls: if rest.first().is_some_and(|word| word == "tls") { Some(tls()?) } else { None },
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        upstream_tls: HashMap::new(),
        bounds: Bounds { client_connections_max: 4_096, ..Bounds::default() },
        issuer: Issuer { issuer: "https://bench".into(), audience: "bench".into() },
        header_keys,
        forward_auth: None,
        sign_in_path: "/auth/sign-in".into(),
        traced_ppm: 0,
        clock,
        entropy: Arc::new(SystemEntropy),
        hub,
        observations: Arc::new(Observations::new(1_000)),
        minter: None,
        counter: None,
        core: axum::Router::new(),
        pages: None,
    })
    .await?;
    say(&token(&keys)?)?;
    say("ready")?;
    loop {
        publisher.beat();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if running.local_addr().port() == 0 {
            return Ok(());
        }
    }
}

fn jwk(keys: &Ed25519KeyPair) -> Jwk {
    Jwk {
        kty: "OKP".into(),
        crv: "Ed25519".into(),
        kid: "bench".into(),
        x: URL_SAFE_NO_PAD.encode(keys.public_key().as_ref()),
    }
}

/// The check of a token that was seen before, and of one that was not.
fn session() -> Result<(), Failure> {
    const ROUNDS: u32 = 200_000;
    let signer = Ed25519KeyPair::generate()?;
    let keys = Keys::new(&Jwks { keys: vec![jwk(&signer)] });
    let issuer = Issuer { issuer: "https://bench".into(), audience: "bench".into() };
    let tokens = Tokens::new(50_000);
    let now = SystemClock.now();
    let token = token(&signer)?;
    let start = tokio::time::Instant::now();
    for _ in 0..1_000 {
        verify(&token, &keys, &issuer, now).map_err(TokenFault::code)?;
    }
    let fresh_ns = start.elapsed().as_nanos() / 1_000;
    tokens.session(&token, &keys, &issuer, now).map_err(TokenFault::code)?;
    let start = tokio::time::Instant::now();
    for _ in 0..ROUNDS {
        tokens.session(&token, &keys, &issuer, now).map_err(TokenFault::code)?;
    }
    let seen_ns = start.elapsed().as_nanos() / u128::from(ROUNDS);
    say(&format!("session check: {fresh_ns} ns for a new token, {seen_ns} ns for one seen before"))
}

/// A store that grants whatever is asked.
struct Generous;

impl Counter for Generous {
    fn take<'a>(&'a self, takes: &'a [Take]) -> web::BoxFuture<'a, Option<Taken>> {
        Box::pin(async move {
            let grants = takes.iter().map(|take| Grant { tokens: take.most, ahead_us: 0 });
            Some(Taken { grants: grants.collect(), nodes: Some(1) })
        })
    }
}

async fn limits() -> Result<(), Failure> {
    const ROUNDS: u32 = 5_000;
    const AT_ONCE: u32 = 200;
    let limit: web::feed::Limit = serde_json::from_value(serde_json::json!({
        "name": "sale", "per": "route", "requests": 1_000_000, "window_s": 1,
    }))?;
    let ledger = Ledger::new(1_000);
    let rule = ledger.rule(&limit);
    let desk = Arc::new(Desk::new(Arc::new(Generous), &Bounds::default()));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(Arc::clone(&desk).serve(stop.clone()));
    if let Said::Ask(line) = desk.count(&rule, &[0; 16]) {
        desk.ask(vec![line]).await.ok_or("the store answers")?;
    }
    let (mut leased, mut asked) = (Duration::ZERO, 0u32);
    for _ in 0..ROUNDS {
        let start = tokio::time::Instant::now();
        for _ in 0..AT_ONCE {
            asked += u32::from(matches!(desk.count(&rule, &[0; 16]), Said::Ask(_)));
        }
        leased += start.elapsed();
        // The desk refills the lease between two bursts.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    let start = tokio::time::Instant::now();
    for now_us in 0..ROUNDS * AT_ONCE {
        ledger.count(&rule, &[0; 16], i64::from(now_us));
    }
    let alone = start.elapsed();
    stop.cancel();
    let all = ROUNDS * AT_ONCE;
    let (leased_ns, alone_ns) = (leased.as_nanos() / all as u128, alone.as_nanos() / all as u128);
    say(&format!("limit: {leased_ns} ns leased ({asked} of {all} had to ask), {alone_ns} ns alone"))
}

fn say(line: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn table(upstream: &str, full: bool) -> serde_json::Value {
    let limit = |name: &str, per: &str| serde_json::json!({"name": name, "per": per, "requests": 1_000_000, "window_s": 1});
    let limits =
        if full { vec![limit("client", "client"), limit("session", "session")] } else { vec![] };
    serde_json::json!({
        "upstreams": [{
            "name": "shop", "address": format!("http://{upstream}"), "idle_max": 256,
            "header_key": full.then_some("shop"),
        }],
        "routes": [{
            "name": "all", "path": {"prefix": "/"}, "upstream": "shop",
            "access": if full { "session" } else { "open" },
            "sensitive": full, "limits": limits,
        }],
    })
}

fn tls() -> Result<Tls, Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let chain = made.cert.pem();
    let key = made.signing_key.serialize_pem();
    let certificates = Certificates::from_pem(&[(chain.as_bytes(), key.as_bytes())])?;
    Ok(Tls { certificates, tls12: false })
}

fn token(keys: &Ed25519KeyPair) -> Result<String, Failure> {
    let now = SystemClock.now();
    let claims = serde_json::json!({
        "iss": "https://bench", "aud": "bench", "iat": now.seconds(), "exp": now.seconds() + 600,
        "sub": AccountId::generate(now, &SystemEntropy),
        "sid": SessionId::generate(now, &SystemEntropy),
        "kind": "customer", "roles": ["buyer"], "amr": ["pwd"], "auth_time": now.seconds(),
    });
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"bench"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims)?));
    let signature = URL_SAFE_NO_PAD.encode(keys.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}
