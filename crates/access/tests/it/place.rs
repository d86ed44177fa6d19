//! Where the tests meet the room: opened in a world, with a feed to look at and routes to knock at.

use std::collections::HashMap;
use std::sync::Arc;

use access::{Access, AccessConfig, Customers, Mode, NewService, Parts, Services};
use kernel::{AccountId, Actor, Ctx, Secret, SessionId};
use spine::{EventFilter, Recorded};
use testkit::World;
use web::feed::{Hub, Net, PublisherId, Snapshot};
use web::testing::{Client, ORIGIN_URL};
use web::{App, BoxFuture, Caller, Callers, Csrf, Problem, Service, Site};

/// What the room brings.
pub(crate) const ROOMS: &[spine::Room] = &[access::ROOM];

pub(crate) fn net(text: &str) -> Net {
    text.parse().expect("a network")
}

/// An operator at the command line.
pub(crate) fn operator(world: &World) -> Ctx {
    world.ctx(Actor::Operator { id: None })
}

/// References of customers that the shop and the house both know.
#[derive(Debug, Default)]
pub(crate) struct References(pub(crate) HashMap<String, AccountId>);

impl Customers for References {
    fn find<'a>(
        &'a self,
        reference: &'a str,
        _: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<AccountId>, spine::Error>> {
        Box::pin(async move { Ok(self.0.get(reference).copied()) })
    }
}

/// The room in a world.
pub(crate) struct Place {
    pub(crate) access: Access,
    pub(crate) hub: Hub,
}

pub(crate) fn parts(world: &World, hub: &Hub) -> Parts {
    Parts {
        spine: world.spine.clone(),
        vault: world.vault.clone(),
        publisher: hub.publisher(PublisherId(1)),
        config: AccessConfig::default(),
        proxies: vec![net("10.0.0.1")],
        scopes: vec!["facts", "reports"],
        mode: Mode::Test,
        customers: None,
        limit_store: None,
    }
}

impl Place {
    pub(crate) fn new(world: &World) -> Self {
        Self::with(world, |_| {})
    }

    pub(crate) fn with(world: &World, change: impl FnOnce(&mut Parts)) -> Self {
        let hub = Hub::new(world.clock.clone(), Snapshot::default());
        let mut parts = parts(world, &hub);
        change(&mut parts);
        Self { access: Access::open(parts).expect("the room opens"), hub }
    }

    /// A service's key with these scopes.
    pub(crate) async fn key(&self, world: &World, scopes: &[&str]) -> String {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let new = NewService { name: "shop backend".to_owned(), scopes };
        let added = self.access.add_service(&operator(world), &new).await.expect("a key");
        added.key.expose().clone()
    }

    /// A client of the room's routes.
    pub(crate) fn client(&self, world: &World) -> Client {
        let callers = Known(Services::new(self.access.clone()));
        let app = App::new(
            world.clock.clone(),
            world.entropy.clone(),
            Arc::new(callers),
            Csrf::new(&Secret::new([7; 32])),
            Site::shop("Test shop", ORIGIN_URL),
        );
        let all = web::api::assemble("Stagedoor", "0", [access::routes(self.access.clone())])
            .expect("documented routes");
        Client::new(web::serve_stack(all.router, app))
    }

    /// The same, signed in with this role.
    pub(crate) fn staff(&self, world: &World, role: &str) -> Client {
        let mut client = self.client(world);
        client.cookies.insert("__Host-stagedoor".to_owned(), role.to_owned());
        client
    }
}

/// Sessions by the value of the cookie: a role of staff, or `customer`.
struct Known(Services);

impl Callers for Known {
    fn session<'a>(
        &'a self,
        parts: &'a http::request::Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        Box::pin(async move {
            let account = AccountId::from_bytes([1; 16]);
            let session = SessionId::from_bytes([2; 16]);
            let Some(role) = web::cookie(&parts.headers, "__Host-stagedoor") else {
                return Ok(None);
            };
            let kind = if role == "customer" { "customer" } else { "staff" };
            Ok(Some(Caller {
                ctx: visit.acted_by(Actor::Account { id: account, session: Some(session) }),
                account,
                session,
                kind: kind.to_owned(),
                roles: vec![role.to_owned()],
                auth_time: visit.now,
                fresh: true,
            }))
        })
    }

    fn service<'a>(
        &'a self,
        token: &'a str,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        self.0.service(token, visit)
    }
}

/// The events of a kind, oldest first, after everything that waits was sequenced.
pub(crate) async fn told(world: &World, kind: &str) -> Vec<Recorded> {
    world.spine.sequence().await.expect("sequenced");
    let filter = EventFilter { kind: Some(kind.to_owned()), limit: 200, ..EventFilter::default() };
    let mut events = world.spine.events(&filter).await.expect("events");
    events.reverse();
    events
}

/// The log proves every row of every fact table.
pub(crate) async fn rows_are_as_told(world: &World) {
    world.spine.sequence().await.expect("sequenced");
    let verified = world.spine.verify(&[], &mut |_| {}).await.expect("verified");
    assert!(verified.faults.is_empty(), "{:?}", verified.faults);
}
