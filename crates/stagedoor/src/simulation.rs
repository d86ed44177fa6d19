//! The simulation: one seed decides what customers, sellers, thieves, operators and the clock do to a
//! whole house, and where it crashes. After some steps the house must still keep its promises. A
//! seed that fails is printed; the same seed fails again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::Batch;
use identity::{AccountKind, Admission, Client, EndReason, LockAccount, OpenAccount, SignIn};
use kernel::{AccountId, Actor, Clock as _, Ctx, Entropy, Origin, Secret, SessionId, Timestamp};
use testkit::{SeededEntropy, TestClock};
use tokio_util::task::TaskTracker;
use vault::Vault;
use web::feed::Standing;

use crate::config::{Config, Loaded};
use crate::demo::{demo_config, make_house};
use crate::house::{House, Nature};

const STEPS: usize = 60;
const PASSWORD: &str = "a curtain, a lamp and a teapot";

/// A person as the simulation knows it.
struct Person {
    id: AccountId,
    email: String,
    is_locked: bool,
    is_erased: bool,
}

/// A sign-in as the simulation knows it. What is over must stay over; what is not may have been
/// ended by time, or by a rule.
struct Device {
    owner: usize,
    session: SessionId,
    secret: Option<Secret<String>>,
    /// Refresh tokens, oldest first; the last one is the honest holder's.
    refresh: Vec<Secret<String>>,
    is_over: bool,
    since: Timestamp,
}

pub(crate) struct World {
    pub house: House,
    pub config: Config,
    pub dir: PathBuf,
    clock: Arc<TestClock>,
    pub nature: Nature,
    /// What happens; not the randomness that the house uses.
    fate: SeededEntropy,
    people: Vec<Person>,
    devices: Vec<Device>,
    facts: u64,
}

impl World {
    pub(crate) async fn make(seed: u64, dir: PathBuf, database: Option<String>) -> Self {
        let clock = Arc::new(TestClock::default());
        let nature = Nature {
            clock: Arc::clone(&clock) as Arc<dyn kernel::Clock>,
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 8443));
        let mut config = demo_config(nowhere, nowhere, "http://127.0.0.1:9", database);
        config.header_key.clear();
        config.upstream.iter_mut().for_each(|upstream| upstream.header_key = None);
        // The smallest hash that the room allows: the simulation is not about its cost.
        config.identity.password.memory_kib = 7_168;
        config.identity.password.passes = 1;
        let house = make_house(config.clone(), dir.clone(), nature.clone()).await.unwrap();
        house.load_feed().await.unwrap();
        let fate = SeededEntropy::new(seed ^ 0x5eed);
        let (people, devices) = (Vec::new(), Vec::new());
        Self { house, config, dir, clock, nature, fate, people, devices, facts: 0 }
    }

    fn roll(&self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fate.fill(&mut bytes);
        u64::from_be_bytes(bytes) % sides
    }

    fn pick(&self, length: usize) -> Option<usize> {
        let length = u64::try_from(length).unwrap();
        (length > 0).then(|| usize::try_from(self.roll(length)).unwrap())
    }

    fn ctx(&self) -> Ctx {
        let last = u8::try_from(self.roll(6)).unwrap() + 1;
        let origin = Origin {
            address: Some(std::net::IpAddr::from([203, 0, 113, last])),
            agent: Some("simulation".to_owned()),
            fingerprint: None,
        };
        Ctx::new(Actor::Nobody, self.clock.now(), Arc::clone(&self.nature.entropy))
            .from_origin(origin)
    }

    fn operator(&self) -> Ctx {
        self.ctx().acted_by(Actor::Operator { id: None })
    }

    pub(crate) async fn step(&mut self) -> &'static str {
        match self.roll(16) {
            0..=1 => self.open_account().await,
            2..=4 => self.sign_in().await,
            5 => self.guess().await,
            6..=7 => self.refresh().await,
            8 => self.steal().await,
            9 => self.end_session().await,
            10 => self.end_all().await,
            11 => self.lock_or_unlock().await,
            12 => self.erase().await,
            13 => self.tell_fact().await,
            14 => self.wait(),
            _ => self.crash().await,
        }
    }

    async fn open_account(&mut self) -> &'static str {
        if self.people.len() >= 8 {
            return "enough people";
        }
        let email = format!("p{}@sim.example", self.people.len());
        let kinds = [AccountKind::Customer, AccountKind::Influencer, AccountKind::Wholesaler];
        let account = OpenAccount {
            kind: kinds[self.pick(kinds.len()).unwrap()],
            email: email.clone(),
            name: "Somebody".to_owned(),
            roles: Vec::new(),
            password: Some(Secret::new(PASSWORD.to_owned())),
        };
        let id = self.house.identity.open_account(&self.operator(), account).await.unwrap();
        self.people.push(Person { id, email, is_locked: false, is_erased: false });
        "open account"
    }

    fn sign_in_of(&self, person: usize, password: &str) -> SignIn {
        SignIn {
            email: self.people[person].email.clone(),
            password: Secret::new(password.to_owned()),
            client: Client::Browser,
            device: None,
            trust: None,
        }
    }

    async fn sign_in(&mut self) -> &'static str {
        let Some(owner) = self.pick(self.people.len()) else { return "nobody there" };
        let (ctx, command) = (self.ctx(), self.sign_in_of(owner, PASSWORD));
        let may = !self.people[owner].is_locked && !self.people[owner].is_erased;
        let since = ctx.now;
        let device = if self.roll(2) == 0 {
            let opened = self.house.identity.sign_in(&ctx, command).await.ok();
            let opened = opened.and_then(Admission::inside);
            opened.map(|opened| (opened.session, Some(opened.secret), Vec::new()))
        } else {
            let tokens = self.house.identity.sign_in_app(&ctx, command).await.ok();
            let tokens = tokens.and_then(Admission::inside);
            tokens.map(|tokens| (tokens.session, None, vec![tokens.refresh]))
        };
        let Some((session, secret, refresh)) = device else { return "sign-in refused" };
        assert!(may, "a locked or erased person signed in");
        self.devices.push(Device { owner, session, secret, refresh, is_over: false, since });
        "sign in"
    }

    async fn guess(&mut self) -> &'static str {
        let Some(person) = self.pick(self.people.len()) else { return "nobody there" };
        let command = self.sign_in_of(person, "not the password at all");
        assert!(self.house.identity.sign_in(&self.ctx(), command).await.is_err());
        "guess"
    }

    async fn refresh(&mut self) -> &'static str {
        let Some(at) = self.pick(self.devices.len()) else { return "no device" };
        let Some(token) = self.devices[at].refresh.last().cloned() else { return "no family" };
        match self.house.identity.refresh(&self.ctx(), &token).await {
            Ok(tokens) => {
                assert!(!self.devices[at].is_over, "a family that is over was refreshed");
                assert_eq!(tokens.session, self.devices[at].session);
                self.devices[at].refresh.push(tokens.refresh);
                "refresh"
            }
            Err(_) => "refresh refused",
        }
    }

    /// A thief shows a token that has a grandchild: nothing for him, and the family is over.
    async fn steal(&mut self) -> &'static str {
        let Some(at) = self.pick(self.devices.len()) else { return "no device" };
        let count = self.devices[at].refresh.len();
        if count < 3 {
            return "nothing worth stealing";
        }
        let old = self.devices[at].refresh[count - 3].clone();
        let stolen = self.house.identity.refresh(&self.ctx(), &old).await;
        assert!(stolen.is_err(), "a stolen token was good");
        self.devices[at].is_over = true;
        "steal"
    }

    async fn end_session(&mut self) -> &'static str {
        let Some(at) = self.pick(self.devices.len()) else { return "no device" };
        let device = &self.devices[at];
        let of = (self.people[device.owner].id, device.session);
        if self.people[device.owner].is_erased {
            return "erased";
        }
        let ctx = self.operator();
        // It may be over already, by time or a rule.
        let _ended = self.house.identity.end_session(&ctx, of, EndReason::Operator).await;
        self.devices[at].is_over = true;
        "end session"
    }

    fn all_over(&mut self, owner: usize) {
        let devices = self.devices.iter_mut().filter(|device| device.owner == owner);
        devices.for_each(|device| device.is_over = true);
    }

    async fn end_all(&mut self) -> &'static str {
        let Some(owner) = self.pick(self.people.len()) else { return "nobody there" };
        if self.people[owner].is_erased {
            return "erased";
        }
        let (ctx, id) = (self.operator(), self.people[owner].id);
        self.house.identity.end_sessions(&ctx, id, None, EndReason::Operator).await.unwrap();
        self.all_over(owner);
        "end all"
    }

    async fn lock_or_unlock(&mut self) -> &'static str {
        let Some(at) = self.pick(self.people.len()) else { return "nobody there" };
        let (ctx, id) = (self.operator(), self.people[at].id);
        if self.people[at].is_erased {
            return "erased";
        }
        if self.people[at].is_locked {
            self.house.identity.unlock_account(&ctx, id).await.unwrap();
            self.people[at].is_locked = false;
            return "unlock";
        }
        let lock = LockAccount { account: id, reason: "simulation".to_owned() };
        self.house.identity.lock_account(&ctx, lock).await.unwrap();
        self.people[at].is_locked = true;
        self.all_over(at);
        "lock"
    }

    async fn erase(&mut self) -> &'static str {
        let Some(at) = self.pick(self.people.len()) else { return "nobody there" };
        if self.people[at].is_erased || self.roll(3) > 0 {
            return "not this time";
        }
        let (ctx, id) = (self.operator(), self.people[at].id);
        self.house.identity.erase(&ctx, id).await.unwrap();
        self.people[at].is_erased = true;
        self.all_over(at);
        "erase"
    }

    async fn tell_fact(&mut self) -> &'static str {
        let who = self.pick(self.people.len()).filter(|at| !self.people[*at].is_erased);
        let Some(who) = who else { return "nobody there" };
        // Now and then the shop tells a fact twice.
        if self.roll(4) > 0 {
            self.facts += 1;
        }
        let batch: Batch = serde_json::from_value(serde_json::json!({ "facts": [{
            "id": format!("f{}", self.facts), "kind": "order.paid",
            "account": self.people[who].id,
            "fields": { "order": "1", "amount_minor": 100, "currency": "EUR" },
        }]}))
        .unwrap();
        let ctx = self.ctx().acted_by(Actor::System("shop"));
        // The same id for another customer is a conflict, and changes nothing.
        let _taken = self.house.access.take_facts(&ctx, &batch).await;
        "tell"
    }

    fn wait(&self) -> &'static str {
        let spans = [1, 5, 11, 61, 600, 7_200];
        self.clock.advance(Duration::from_secs(spans[self.pick(spans.len()).unwrap()]));
        "wait"
    }

    /// The program dies with a transaction half-way, and another starts on what it left.
    async fn crash(&mut self) -> &'static str {
        let ctx = self.house.spine.system_ctx("simulation");
        let half = self.house.spine.begin(&ctx).await.unwrap();
        drop(half);
        self.open_again().await.spine.close().await;
        "crash"
    }

    /// Another program opens the house where the configuration says it is; gives the old one.
    pub(crate) async fn open_again(&mut self) -> House {
        let loaded = Loaded { config: self.config.clone(), base: self.dir.clone() };
        let db = loaded.open_database().await.unwrap();
        let vault = Vault::open(loaded.vault_config(&self.nature).unwrap()).await.unwrap();
        let house = House::furnish(loaded, db, vault, self.nature.clone()).await.unwrap();
        let old = std::mem::replace(&mut self.house, house);
        self.house.load_feed().await.unwrap();
        old
    }

    /// What must hold whatever happened.
    pub(crate) async fn check(&self) {
        self.house.spine.sequence().await.unwrap();
        // Once for what happened, once more for what was asked for then.
        for _ in 0..2 {
            for consumer in self.house.consumers() {
                self.house.spine.consume(&*consumer).await.unwrap();
            }
            self.house.spine.sequence().await.unwrap();
        }
        let found = self.house.spine.verify(&[], &mut |_| {}).await.unwrap();
        assert!(found.holds(), "{:?}", found.faults);
        assert_eq!(found.pending, 0);
        let revocations = self.house.hub.snapshot().revocations;
        for device in self.devices.iter().filter(|device| device.is_over) {
            let owner = &self.people[device.owner];
            if let Some(secret) = &device.secret {
                let live =
                    self.house.identity.session_of_secret(&self.ctx(), secret.expose()).await;
                assert!(live.unwrap().is_none(), "a session that is over lives");
            }
            let fresh = self.clock.now().since(device.since) < Duration::from_secs(300);
            let standing = revocations.standing(device.session, owner.id, device.since);
            assert!(!fresh || standing != Standing::Live, "the edge does not know that it is over");
        }
        for person in self.people.iter().filter(|person| person.is_erased) {
            let found = self.house.identity.find_account(&person.email).await.unwrap();
            assert!(found.is_none(), "an erased person is found");
        }
    }
}

async fn live(seed: u64, dir: PathBuf, database: Option<String>) -> Vec<&'static str> {
    let mut world = World::make(seed, dir, database).await;
    let mut told = Vec::new();
    for number in 0..STEPS {
        told.push(world.step().await);
        if number % 12 == 11 {
            world.check().await;
        }
    }
    world.house.close().await.unwrap();
    told
}

/// Runs a seed and tells what happened in it; where it fails, says which.
fn run(seed: u64, database: Option<&str>) -> Vec<&'static str> {
    let dir = tempfile::TempDir::new().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (path, url) = (dir.path().to_owned(), database.map(str::to_owned));
    let lived = runtime.block_on(async { TaskTracker::new().spawn(live(seed, path, url)).await });
    lived.unwrap_or_else(|error| {
        eprintln!("seed {seed} failed");
        std::panic::resume_unwind(error.into_panic())
    })
}

#[test]
fn seeds_on_sqlite() {
    let told: BTreeSet<&str> = (0..24).flat_map(|seed| run(seed, None)).collect();
    let all = [
        "open account",
        "sign in",
        "sign-in refused",
        "guess",
        "refresh",
        "refresh refused",
        "steal",
        "end session",
        "end all",
        "lock",
        "unlock",
        "erase",
        "tell",
        "wait",
        "crash",
    ];
    for what in all {
        assert!(told.contains(what), "no seed came to: {what}");
    }
}

#[test]
fn seeds_on_postgresql() {
    for seed in 100..106 {
        testkit::with_postgres(|url| drop(run(seed, Some(url))));
    }
}
