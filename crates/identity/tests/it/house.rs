//! The room in a world: with an outbox for its letters, a feed to listen to, and cheap hashes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use identity::{
    AccountKind, AppTokens, Client, Error, Identity, IdentityConfig, Mail, OpenAccount, Opened,
    Outbox, PasswordConfig, SessionCallers, SignIn, SignUp, StaffRole, VerifyEmail,
};
use kernel::{AccountId, Actor, Clock, Ctx, Entropy, Secret};
use spine::{EventFilter, Recorded};
use testkit::World;
use web::feed::{Hub, PublisherId, Snapshot};
use web::{App, Csrf, Site};

pub(crate) const PASSWORD: &str = "tin lamp over the quay";
pub(crate) const OTHER: &str = "seven kettles in violet";

pub(crate) const ROOMS: &[spine::Room] = &[identity::ROOM];

pub(crate) struct House<'a> {
    pub(crate) world: &'a World,
    pub(crate) room: Identity,
    pub(crate) outbox: Outbox,
    pub(crate) hub: Hub,
}

pub(crate) fn config() -> IdentityConfig {
    // The floor of what is taken for safe: tests make hundreds.
    let password = PasswordConfig { memory_kib: 7_168, passes: 1, ..PasswordConfig::default() };
    IdentityConfig { password, ..IdentityConfig::default() }
}

impl<'a> House<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        Self::with(world, config())
    }

    pub(crate) fn with(world: &'a World, config: IdentityConfig) -> Self {
        let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
        let hub = Hub::new(Arc::clone(&clock), Snapshot::default());
        let parts = identity::Parts {
            spine: world.spine.clone(),
            vault: world.vault.clone(),
            publisher: hub.publisher(PublisherId(1)),
            clock,
            entropy: Arc::clone(&world.entropy) as Arc<dyn Entropy>,
            site: Arc::new(Site::shop("Lantern Market", web::testing::ORIGIN_URL)),
            config,
            breached: None,
        };
        let room = Identity::open(parts).expect("a room");
        Self { world, room, outbox: Outbox::default(), hub }
    }

    /// A visitor's circumstances.
    pub(crate) fn ctx(&self) -> Ctx {
        self.world.ctx(Actor::Nobody)
    }

    /// A visitor's circumstances from another address.
    pub(crate) fn ctx_from(&self, last: u8) -> Ctx {
        let mut ctx = self.ctx();
        ctx.origin.address = Some(std::net::IpAddr::from([198, 51, 100, last]));
        ctx
    }

    /// Sends what is queued, and gives all letters to one address, oldest first.
    pub(crate) async fn letters(&self, to: &str) -> Vec<Mail> {
        self.room.deliver(&self.ctx(), &self.outbox).await.expect("delivered");
        let mut letters: Vec<Mail> =
            self.outbox.letters().into_iter().map(|kept| kept.mail).collect();
        letters.reverse();
        letters.retain(|mail| mail.to == to);
        letters
    }

    /// The secret of the newest letter to an address.
    pub(crate) async fn link(&self, to: &str) -> Secret<String> {
        let letters = self.letters(to).await;
        secret_in(letters.last().expect("a letter"))
    }

    pub(crate) async fn sign_up(&self, email: &str) -> Result<(), Error> {
        self.room.sign_up(&self.ctx(), sign_up(email)).await
    }

    /// A customer who signed up and verified the address.
    pub(crate) async fn customer(&self, email: &str) -> AccountId {
        self.sign_up(email).await.expect("signed up");
        let secret = self.link(email).await;
        self.verify(secret).await.expect("verified")
    }

    /// Uses the link of a sign-up, with the usual password.
    pub(crate) async fn verify(&self, secret: Secret<String>) -> Result<AccountId, Error> {
        self.room.verify_email(&self.ctx(), verify(secret)).await
    }

    /// One of the staff.
    pub(crate) async fn staff(&self, email: &str, roles: &[StaffRole]) -> AccountId {
        let command = OpenAccount {
            kind: AccountKind::Staff,
            email: email.to_owned(),
            name: "Grace".to_owned(),
            roles: roles.to_vec(),
            password: Some(Secret::new(PASSWORD.to_owned())),
        };
        let ctx = self.world.ctx(Actor::Operator { id: None });
        self.room.open_account(&ctx, command).await.expect("opened")
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Result<Opened, Error> {
        let admission = self.room.sign_in(&self.ctx(), sign_in(email, password)).await?;
        Ok(admission.inside().expect("no second factor"))
    }

    /// So many wrong passwords, from each of these clients in turn (from the usual one where none is
    /// named); gives how many were not even judged.
    pub(crate) async fn guess(&self, email: &str, clients: &[u8], count: usize) -> usize {
        let mut limited = 0;
        for number in 0..count {
            let from = clients.get(number % clients.len().max(1));
            let ctx = from.map_or_else(|| self.ctx(), |last| self.ctx_from(*last));
            let guess = self.room.sign_in(&ctx, sign_in(email, OTHER)).await;
            limited += usize::from(matches!(guess, Err(Error::Limited { .. })));
        }
        limited
    }

    pub(crate) async fn app(&self, email: &str) -> AppTokens {
        let command = sign_in(email, PASSWORD);
        self.room
            .sign_in_app(&self.ctx(), command)
            .await
            .expect("signed in")
            .inside()
            .expect("whole")
    }

    /// Whether a session's secret still opens anything.
    pub(crate) async fn lives(&self, opened: &Opened) -> bool {
        let secret = opened.secret.expose();
        self.room.session_of_secret(&self.ctx(), secret).await.expect("an answer").is_some()
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

    /// The kinds of all events of this room, oldest first.
    pub(crate) async fn kinds(&self) -> Vec<String> {
        self.events("identity.").await.into_iter().map(|event| event.kind).collect()
    }

    /// The log with every fact row, checked.
    pub(crate) async fn assert_log_holds(&self) {
        self.world.spine.sequence().await.expect("sequenced");
        let found = self.world.spine.verify(&[], &mut |_| {}).await.expect("checked");
        assert!(found.holds(), "{:?}", found.faults);
    }

    /// A browser before this room's routes.
    pub(crate) fn browser(&self) -> web::testing::Client {
        let app = App::new(
            Arc::clone(&self.world.clock) as Arc<dyn Clock>,
            Arc::clone(&self.world.entropy) as Arc<dyn Entropy>,
            Arc::new(SessionCallers(self.room.clone())),
            Csrf::new(&Secret::new([7; 32])),
            Site::shop("Lantern Market", web::testing::ORIGIN_URL),
        );
        let routes = identity::routes(self.room.clone(), Some(self.outbox.clone()));
        let assembled = web::api::assemble("test", "0", [routes]).expect("operations with words");
        web::testing::Client::new(web::serve_stack(assembled.router, app))
    }
}

pub(crate) fn sign_up(email: &str) -> SignUp {
    SignUp { kind: AccountKind::Customer, email: email.to_owned(), name: "Ada".to_owned() }
}

pub(crate) fn verify(secret: Secret<String>) -> VerifyEmail {
    VerifyEmail { secret, password: Secret::new(PASSWORD.to_owned()) }
}

pub(crate) fn sign_in(email: &str, password: &str) -> SignIn {
    SignIn {
        email: email.to_owned(),
        password: Secret::new(password.to_owned()),
        client: Client::Browser,
        device: None,
        trust: None,
    }
}

/// The secret in a letter's link.
pub(crate) fn secret_in(mail: &Mail) -> Secret<String> {
    let (_, rest) = mail.text.split_once("?token=").expect("a link");
    Secret::new(rest.split_whitespace().next().expect("a secret").to_owned())
}

/// Runs eight of the same at once.
pub(crate) async fn eight<T, F>(make: impl Fn(u8) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        tasks.spawn(make(number));
    }
    tasks.join_all().await
}

/// A future that is dropped after so many polls, as when the process dies between two steps.
pub(crate) struct DieAfter<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> DieAfter<F> {
    pub(crate) fn polls(left: usize, inner: F) -> Self {
        Self { inner: Box::pin(inner), left }
    }
}

impl<F: Future> Future for DieAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.inner.as_mut().poll(cx).map(Some)
    }
}
