//! A whole house for the console: every room in one world, people who live in it, browsers.

use std::net::IpAddr;
use std::sync::Arc;

use access::{Access, AccessConfig, Mode};
use axum::Router;
use console::{Console, OperatorCallers};
use http::StatusCode;
use identity::{
    AccountKind, Client as With, Identity, IdentityConfig, OpenAccount, Opened, Outbox,
    PasswordConfig, SignIn, SignUp, StaffRole, VerifyEmail,
};
use kernel::{AccountId, Actor, Clock, Ctx, Entropy, Secret};
use observe::{Observe, ObserveConfig};
use spine::{EventFilter, EventSpec, Recorded};
use testkit::World;
use tokio_util::sync::CancellationToken;
use watch::{Watch, WatchConfig};
use web::feed::{Hub, PublisherId, Snapshot};
use web::testing::{Answer, Client};
use web::{App, Csrf, Site};

pub(crate) const PASSWORD: &str = "tin lamp over the quay";
pub(crate) const URL: &str = "https://console.test";
pub(crate) const COOKIE: &str = "__Host-stagedoor_console";

pub(crate) const ROOMS: &[spine::Room] =
    &[identity::ROOM, access::ROOM, watch::ROOM, observe::ROOM, console::ROOM];

fn catalogue() -> Vec<EventSpec> {
    spine::Rooms::new(ROOMS).expect("rooms").events()
}

pub(crate) struct House<'a> {
    pub(crate) world: &'a World,
    pub(crate) identity: Identity,
    pub(crate) access: Access,
    pub(crate) watch: Watch,
    pub(crate) console: Console,
}

impl<'a> House<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
        let entropy = Arc::clone(&world.entropy) as Arc<dyn Entropy>;
        let hub = Hub::new(Arc::clone(&clock), Snapshot::default());
        let password = PasswordConfig { memory_kib: 7_168, passes: 1, ..PasswordConfig::default() };
        let identity = Identity::open(identity::Parts {
            spine: world.spine.clone(),
            vault: world.vault.clone(),
            publisher: hub.publisher(PublisherId(1)),
            clock,
            entropy,
            site: Arc::new(Site::shop("Lantern Market", "https://shop.test")),
            config: IdentityConfig { password, ..IdentityConfig::default() },
            breached: None,
        })
        .expect("identity");
        let access = Access::open(access::Parts {
            spine: world.spine.clone(),
            vault: world.vault.clone(),
            publisher: hub.publisher(PublisherId(2)),
            config: AccessConfig::default(),
            proxies: Vec::new(),
            scopes: vec!["facts"],
            mode: Mode::Test,
            customers: None,
            limit_store: None,
        })
        .expect("access");
        let config = WatchConfig { dry_run_days: 0, ..WatchConfig::default() };
        let watch = Watch::open(world.spine.clone(), world.vault.clone(), config).expect("watch");
        let observe = Observe::open(observe::Parts {
            spine: world.spine.clone(),
            config: ObserveConfig::default(),
            siem: Vec::new(),
            catalogue: catalogue(),
            origin: "shop.test/log".to_owned(),
            version: "0",
            base: std::env::temp_dir(),
            data: std::env::temp_dir(),
        })
        .expect("observe");
        let console = Console::open(console::Parts {
            observe,
            spine: world.spine.clone(),
            identity: identity.clone(),
            watch: watch.clone(),
            access: access.clone(),
            catalogue: catalogue(),
        });
        Self { world, identity, access, watch, console }
    }

    pub(crate) async fn person(
        &self,
        kind: AccountKind,
        email: &str,
        roles: &[StaffRole],
    ) -> AccountId {
        let command = OpenAccount {
            kind,
            email: email.to_owned(),
            name: "Ada Lovelace".to_owned(),
            roles: roles.to_vec(),
            password: Some(Secret::new(PASSWORD.to_owned())),
        };
        let ctx = self.world.ctx(Actor::Operator { id: None });
        self.identity.open_account(&ctx, command).await.expect("opened")
    }

    /// Somebody who signed up to be of this kind, and chose a password behind the mailed link.
    pub(crate) async fn applied(&self, email: &str, kind: AccountKind) -> AccountId {
        let command = SignUp { kind, email: email.to_owned(), name: "Mara".to_owned() };
        self.identity.sign_up(&self.ctx(), command).await.expect("signed up");
        let outbox = Outbox::default();
        self.identity.deliver(&self.ctx(), &outbox).await.expect("delivered");
        let letters = outbox.letters();
        let text = &letters.first().expect("a letter").mail.text;
        let (_, rest) = text.split_once("?token=").expect("a link");
        let secret = Secret::new(rest.split_whitespace().next().expect("a secret").to_owned());
        let password = Secret::new(PASSWORD.to_owned());
        let command = VerifyEmail { secret, password };
        self.identity.verify_email(&self.ctx(), command).await.expect("verified")
    }

    pub(crate) async fn customer(&self, email: &str) -> AccountId {
        self.person(AccountKind::Customer, email, &[]).await
    }

    /// A visitor's circumstances, from 203.0.113.7.
    pub(crate) fn ctx(&self) -> Ctx {
        self.world.ctx(Actor::Nobody)
    }

    pub(crate) async fn sign_in(&self, email: &str, with: With) -> Opened {
        self.sign_in_by(&self.ctx(), email, with).await
    }

    pub(crate) async fn sign_in_by(&self, ctx: &Ctx, email: &str, with: With) -> Opened {
        let password = Secret::new(PASSWORD.to_owned());
        let command =
            SignIn { email: email.to_owned(), password, client: with, device: None, trust: None };
        self.identity.sign_in(ctx, command).await.expect("signed in").inside().expect("whole")
    }

    /// `count` refused sign-ins from one address.
    pub(crate) async fn spray(&self, from: &str, count: usize) {
        let mut ctx = self.ctx();
        ctx.origin.address = Some(from.parse::<IpAddr>().expect("an address"));
        for number in 0..count {
            let command = SignIn {
                email: format!("person{number}@example.test"),
                password: Secret::new("a wrong password".to_owned()),
                client: With::Browser,
                device: None,
                trust: None,
            };
            let refused = self.identity.sign_in(&ctx, command).await;
            assert!(refused.is_err());
        }
    }

    /// Lets every room see all that happened.
    pub(crate) async fn settle(&self) {
        let spine = &self.world.spine;
        spine.sequence().await.expect("sequenced");
        spine.consume(&self.watch).await.expect("watched");
        spine.sequence().await.expect("sequenced");
        spine.consume(&spine::Obedience::new(self.identity.clone())).await.expect("obeyed");
        spine.consume(&spine::Obedience::new(self.access.clone())).await.expect("obeyed");
        spine.sequence().await.expect("sequenced");
    }

    /// Runs something while the log is sequenced and the rooms obey, as in the program.
    pub(crate) async fn alive<T>(&self, act: impl Future<Output = T>) -> T {
        let (spine, stop) = (self.world.spine.clone(), CancellationToken::new());
        let responses = spine::Obedience::new(self.identity.clone());
        tokio::select! {
            _ = spine::run_sequencer(spine.clone(), stop.clone()) => panic!("the sequencer ended"),
            () = spine::run_consumer(spine, &responses, stop) => panic!("the consumer ended"),
            done = act => done,
        }
    }

    /// The events of a kind, oldest first.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Recorded> {
        self.world.spine.sequence().await.expect("sequenced");
        let filter =
            EventFilter { kind: Some(kind.to_owned()), limit: 200, ..EventFilter::default() };
        let mut events = self.world.spine.events(&filter).await.expect("events");
        events.reverse();
        events
    }

    /// What the console's listener serves, pages and APIs.
    pub(crate) fn assembled(&self) -> web::api::Assembled {
        let routes = [
            console::routes(self.console.clone()),
            identity::operator_routes(self.identity.clone()),
            access::operator_routes(self.access.clone()),
            watch::routes(self.watch.clone()),
            web::assets::routes(),
        ];
        web::api::assemble("test", "0", routes).expect("operations with words")
    }

    /// The console as it is served.
    pub(crate) fn router(&self) -> Router {
        let app = App::new(
            Arc::clone(&self.world.clock) as Arc<dyn Clock>,
            Arc::clone(&self.world.entropy) as Arc<dyn Entropy>,
            Arc::new(OperatorCallers(self.identity.clone())),
            Csrf::new(&Secret::new([7; 32])),
            Site::console("Lantern Market", URL),
        );
        web::serve_stack(self.assembled().router, app)
    }

    /// A browser before the console.
    pub(crate) fn browser(&self) -> Client {
        let mut client = Client::new(self.router());
        client.origin = URL.to_owned();
        client
    }

    /// One of the staff with these roles, signed in at the console.
    pub(crate) async fn operator(&self, roles: &[StaffRole]) -> Client {
        let name = roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join("-");
        let email = format!("{name}@staff.test");
        self.person(AccountKind::Staff, &email, roles).await;
        let mut client = self.browser();
        enter(&mut client, &email).await.must(StatusCode::SEE_OTHER);
        client
    }
}

/// An answer whose status is all that matters.
pub(crate) trait Must {
    /// Stops where the status is another.
    fn must(self, status: StatusCode);
}

impl Must for Answer {
    #[track_caller]
    fn must(self, status: StatusCode) {
        assert_eq!(self.status, status, "{self:?}");
    }
}

/// Signs in at the console.
pub(crate) async fn enter(client: &mut Client, email: &str) -> Answer {
    let fields = [("email", email), ("password", PASSWORD), ("next", "")];
    client.submit("/console/sign-in", "/console/sign-in", &fields).await
}
