//! The console with a busy hour behind it, on 127.0.0.1 without TLS, to be looked at in light and
//! dark. `cargo run -p path+file://$PWD/crates/console --example console_gallery`, then open the
//! addresses that it prints. Every request counts as an administrator's; `?as=auditor` and
//! `?as=support` show what those see.

#[expect(
    clippy::expect_used,
    dead_code,
    reason = "the house of the tests, of which this needs a part"
)]
#[path = "../tests/it/house.rs"]
mod house;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use access::{EdgeConfig, NewService};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use house::{House, ROOMS};
use http::HeaderValue;
use http::header::COOKIE;
use identity::{AccountKind, Client as With, LockAccount, StaffRole};
use kernel::Actor;
use testkit::World;
use web::ClientFacts;

type Failure = Box<dyn std::error::Error>;

fn main() {
    World::run_sqlite(ROOMS, async |world| {
        if let Err(error) = serve(world).await {
            tracing::error!(%error, "the gallery ends");
        }
    });
}

/// Console cookies by the role that they are of.
type Cookies = Arc<BTreeMap<&'static str, HeaderValue>>;

/// Puts the listener's facts and an operator's cookie into each request.
async fn as_operator(State(cookies): State<Cookies>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(ClientFacts {
        address: IpAddr::from([192, 0, 2, 80]),
        agent: Some("Firefox on Linux".to_owned()),
        fingerprint: None,
        https: true,
    });
    let query = request.uri().query().unwrap_or_default();
    let role = query.split('&').find_map(|pair| pair.strip_prefix("as=")).unwrap_or("admin");
    let public = request.uri().path() == "/console/sign-in";
    if let Some(cookie) = cookies.get(role).filter(|_| !public) {
        request.headers_mut().insert(COOKIE, cookie.clone());
    }
    next.run(request).await
}

async fn serve(world: &World) -> Result<(), Failure> {
    let house = House::new(world);
    let cookies = staff(&house).await?;
    let paths = busy_hour(&house).await?;
    let router: Router = house.router().layer(from_fn_with_state(Arc::new(cookies), as_operator));
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    let mut out = std::io::stdout();
    for (name, path) in paths {
        writeln!(out, "{name} http://{address}{path}")?;
    }
    out.flush()?;
    axum::serve(listener, router).await?;
    Ok(())
}

async fn staff(house: &House<'_>) -> Result<BTreeMap<&'static str, HeaderValue>, Failure> {
    let mut cookies = BTreeMap::new();
    for role in [StaffRole::Admin, StaffRole::Support, StaffRole::Auditor] {
        let email = format!("{role}@lantern.example");
        house.person(AccountKind::Staff, &email, &[role]).await;
        cookies.insert(role.as_str(), email);
    }
    // Signed in at the end of the hour, or the sessions would be idle.
    house.world.advance(Duration::from_secs(3_000));
    let mut signed_in = BTreeMap::new();
    for (role, email) in cookies {
        let opened = house.sign_in(&email, With::Console).await;
        let cookie = format!("{}={}", house::COOKIE, opened.secret.expose());
        signed_in.insert(role, HeaderValue::from_str(&cookie)?);
    }
    Ok(signed_in)
}

const PEOPLE: &[(&str, AccountKind)] = &[
    ("ada.lovelace@example.com", AccountKind::Customer),
    ("bo.larsen@example.se", AccountKind::Customer),
    ("chidi.okafor@example.ng", AccountKind::Influencer),
    ("dana.petrova@example.bg", AccountKind::Customer),
    ("emre.yilmaz@example.org", AccountKind::Wholesaler),
    ("fay.wong@example.hk", AccountKind::Customer),
];

const AGENTS: &[&str] =
    &["Firefox on Linux", "Safari on iPhone", "Chrome on Windows", "Lantern app for Android"];

async fn busy_hour(house: &House<'_>) -> Result<Vec<(&'static str, String)>, Failure> {
    let world = house.world;
    let mut ids = Vec::new();
    for (email, kind) in PEOPLE {
        ids.push(house.person(*kind, email, &[]).await);
    }
    let operator = world.ctx(Actor::Operator { id: None });
    house.access.apply(&operator, &edge()?, None).await?;
    for name in ["shop backend", "warehouse"] {
        let new = NewService { name: name.to_owned(), scopes: vec!["facts".to_owned()] };
        house.access.add_service(&operator, &new).await?;
    }
    for minute in 0_usize..24 {
        world.advance(Duration::from_secs(60));
        for number in 0..(minute * 7 % 5) {
            let (email, _) = PEOPLE.get((minute + number) % PEOPLE.len()).ok_or("nobody")?;
            let place = (minute * 5 + number) % AGENTS.len();
            let mut ctx = house.ctx();
            ctx.origin.agent = AGENTS.get(place).map(|agent| (*agent).to_owned());
            ctx.origin.address = Some(IpAddr::from([203, 0, 113, u8::try_from(place * 40 + 7)?]));
            house.sign_in_by(&ctx, email, With::Browser).await;
        }
        if minute % 6 == 3 {
            house.spray(&format!("203.0.113.{}", minute + 10), 2).await;
        }
        house.settle().await;
    }
    house.spray("198.51.100.66", 28).await;
    house.settle().await;
    let [.., locked, erased] = ids.as_slice() else { return Err("nobody".into()) };
    let lock = LockAccount { account: *locked, reason: "ticket 1207".to_owned() };
    house.identity.lock_account(&operator, lock).await?;
    let whose = house.events("identity.login_succeeded").await;
    let gone = whose.iter().rev().find(|event| event.account() == Some(*erased));
    let gone = gone.ok_or("no sign-in")?.id;
    house.identity.erase(&operator, *erased).await?;
    block(house).await?;
    house.settle().await;
    world.advance(Duration::from_secs(4));
    check(house).await?;
    let failed = house.events("identity.login_failed").await;
    let failed = failed.last().ok_or("no failure")?.id;
    let alert = house.watch.alerts(None, None, 1).await?.pop().ok_or("no alert")?.id;
    let ada = ids.first().ok_or("nobody")?;
    Ok(vec![
        ("sign-in", "/console/sign-in".to_owned()),
        ("overview", "/console".to_owned()),
        ("events", "/console/events".to_owned()),
        ("event", format!("/console/events/{failed}")),
        ("event-auditor", format!("/console/events/{failed}?as=auditor")),
        ("event-erased", format!("/console/events/{gone}")),
        ("accounts", "/console/accounts".to_owned()),
        ("account", format!("/console/accounts/{ada}")),
        ("confirm", format!("/console/accounts/{ada}/end-sessions")),
        ("clients", "/console/clients".to_owned()),
        ("alerts", "/console/alerts".to_owned()),
        ("alert", format!("/console/alerts/{alert}")),
        ("rules", "/console/rules".to_owned()),
        ("routes", "/console/routes".to_owned()),
        ("keys", "/console/keys".to_owned()),
        ("audit", "/console/audit".to_owned()),
    ])
}

async fn block(house: &House<'_>) -> Result<(), Failure> {
    let operator = house.world.ctx(Actor::Operator { id: None });
    let block = access::Block {
        net: "192.0.2.128/25".parse()?,
        until: Some(operator.now.plus(Duration::from_secs(7_200))),
        reason: "scrapes the live room".to_owned(),
        rule: "operator".to_owned(),
        source: access::BlockSource::Operator,
    };
    house.access.block(&operator, &block).await?;
    Ok(())
}

/// An auditor has the log checked.
async fn check(house: &House<'_>) -> Result<(), Failure> {
    let mut client = house.browser();
    house::enter(&mut client, "auditor@lantern.example").await;
    let kept = client.get("/console/audit/checkpoint").await.body;
    client.submit("/console/audit", "/console/audit/verify", &[("kept", &kept)]).await;
    house.settle().await;
    Ok(())
}

fn edge() -> Result<EdgeConfig, Failure> {
    let config = serde_json::json!({
        "own": { "limits": ["client"] },
        "upstream": [
            { "name": "shop", "address": "http://127.0.0.1:3000", "header_key": "shop" },
            { "name": "live", "address": "http://127.0.0.1:3100", "header_key": "live" },
        ],
        "limit": [
            { "name": "client", "per": "client", "requests": 600, "window_s": 60, "burst": 120 },
            { "name": "checkout", "per": "account", "requests": 10, "window_s": 60 },
        ],
        "route": [
            { "name": "shop", "prefix": "/", "upstream": "shop", "access": "open",
              "limits": ["client"] },
            { "name": "checkout", "prefix": "/checkout", "methods": ["GET", "POST"],
              "upstream": "shop", "sensitive": true, "limits": ["client", "checkout"] },
            { "name": "live", "prefix": "/live", "upstream": "live", "access": "open",
              "websocket": true, "limits": ["client"] },
            { "name": "sellers", "prefix": "/seller", "upstream": "shop",
              "kinds": ["influencer", "wholesaler"], "sensitive": true },
        ],
    });
    Ok(serde_json::from_value(config)?)
}
