//! Storms: kill -9 at moments that a seed decides, four times in a row, under a load of sign-ups,
//! sign-ins, refreshes and facts. Afterwards all that was answered is there, once; whoever got no
//! answer asks again and gets the one that there is; no session is lost or forked; the log
//! verifies.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use kernel::Entropy as _;
use serde_json::{Value, json};
use testkit::SeededEntropy;

use crate::program::{PASSWORD, Serving, Shop, answer};

const SEEDS: [u64; 3] = [1, 2, 3];
const KILLS: u64 = 4;
/// How long the program may live under the load before it is killed.
const LIFE_MS: std::ops::Range<u64> = 100..1_000;
/// Sessions that one customer opens, and then refreshes in turn.
const SESSIONS: usize = 4;

/// One client under the storm. It remembers what it was told, and asks again where it was not.
trait Client: Send {
    /// One request; none where the program died meanwhile.
    fn act(&mut self, shop: &Shop, serving: &Serving) -> Option<()>;

    /// After the storm: what this client was told holds.
    fn check(&self, shop: &Shop, serving: &Serving);
}

/// The shop, which tells facts.
struct Teller {
    name: &'static str,
    service: String,
    /// The event of each fact, by the fact's number.
    told: Vec<Value>,
}

impl Teller {
    fn tell(&self, shop: &Shop, serving: &Serving, number: usize) -> Option<Value> {
        let id = format!("{}-{number}", self.name);
        let (status, answer) = serving.try_tell(shop, &self.service, &id)?;
        assert_eq!(status, 200, "{answer}");
        let event = answer["facts"][0]["event"].clone();
        assert!(event.is_string(), "{answer}");
        Some(event)
    }
}

impl Client for Teller {
    fn act(&mut self, shop: &Shop, serving: &Serving) -> Option<()> {
        let event = self.tell(shop, serving, self.told.len())?;
        self.told.push(event);
        Some(())
    }

    fn check(&self, shop: &Shop, serving: &Serving) {
        eprintln!("{} told {} facts", self.name, self.told.len());
        for (number, event) in self.told.iter().enumerate() {
            let again = self.tell(shop, serving, number);
            assert_eq!(again.as_ref(), Some(event), "{}-{number} was lost", self.name);
        }
    }
}

/// Visitors who sign up, one after the other.
#[derive(Default)]
struct Visitors {
    signed_up: usize,
}

impl Client for Visitors {
    fn act(&mut self, shop: &Shop, serving: &Serving) -> Option<()> {
        let email = format!("v{}@x.example", self.signed_up);
        let body = json!({ "email": email, "name": "Visitor" });
        let (status, answer) = serving.try_post(shop, &[], ("/v1/sign-up", &body))?;
        assert_eq!(status, 202, "{answer}");
        self.signed_up += 1;
        Some(())
    }

    fn check(&self, shop: &Shop, _: &Serving) {
        eprintln!("{} signed up", self.signed_up);
        let accounts = accounts(shop);
        for number in 0..self.signed_up {
            let email = format!("v{number}@x.example");
            let times = accounts.iter().filter(|known| **known == email).count();
            assert_eq!(times, 1, "{email} is there {times} times");
        }
    }
}

/// The address of every account, in pages.
fn accounts(shop: &Shop) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["user", "list"];
        args.extend(after.iter().flat_map(|id| ["--after", id]));
        let page = answer(shop.path(), &args)["accounts"].as_array().unwrap().clone();
        let Some(last) = page.last() else { return all };
        after = Some(last[0].as_str().unwrap().to_owned());
        all.extend(page.iter().map(|account| account[3].as_str().unwrap().to_owned()));
    }
}

/// A customer with some sessions at once.
struct Customer {
    email: &'static str,
    tokens: Vec<String>,
    turn: usize,
}

fn refresh(serving: &Serving, shop: &Shop, token: &str) -> Option<String> {
    let body = json!({ "refresh_token": token });
    let (status, answer) = serving.try_post(shop, &[], ("/v1/tokens/refresh", &body))?;
    assert_eq!(status, 200, "logged out: {answer}");
    Some(answer["refresh_token"].as_str().unwrap().to_owned())
}

impl Client for Customer {
    fn act(&mut self, shop: &Shop, serving: &Serving) -> Option<()> {
        self.turn += 1;
        let number = self.turn % SESSIONS;
        let Some(token) = self.tokens.get_mut(number) else {
            let body = json!({ "email": self.email, "password": PASSWORD });
            let (status, answer) = serving.try_post(shop, &[], ("/v1/sign-in", &body))?;
            assert_eq!(status, 200, "{answer}");
            self.tokens.push(answer["refresh_token"].as_str().unwrap().to_owned());
            return Some(());
        };
        let successor = refresh(serving, shop, token)?;
        assert_ne!(successor, *token);
        *token = successor;
        Some(())
    }

    fn check(&self, shop: &Shop, serving: &Serving) {
        eprintln!("{} asked {} times", self.email, self.turn);
        let mut successors = BTreeSet::new();
        for token in &self.tokens {
            let successor = refresh(serving, shop, token).unwrap();
            assert_eq!(refresh(serving, shop, token).unwrap(), successor, "forked");
            successors.insert(successor);
        }
        assert_eq!(successors.len(), self.tokens.len(), "two sessions share a token");
    }
}

/// A number below the end of the range, by the seed.
fn drawn(entropy: &SeededEntropy, range: std::ops::Range<u64>) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    range.start + u64::from_le_bytes(bytes) % (range.end - range.start)
}

/// All clients at once, until the program is killed.
fn load(shop: &Shop, clients: &mut [Box<dyn Client>], life: Duration) {
    let serving = shop.serve();
    std::thread::scope(|scope| {
        for client in &mut *clients {
            let serving = &serving;
            scope.spawn(move || while client.act(shop, serving).is_some() {});
        }
        std::thread::sleep(life);
        let id = serving.id().to_string();
        assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success());
    });
    serving.kill();
}

fn storm(seed: u64, more: &[&str]) {
    eprintln!("seed {seed}");
    let entropy = SeededEntropy::new(seed);
    let shop = Shop::init_with(more);
    // starting anew takes its time on a busy machine
    shop.edit("[identity.mail]", "[identity.token]\ngrace_s = 60\n\n[identity.mail]");
    shop.lift_limits();
    let customers = ["ada@x.example", "bo@x.example"];
    customers.iter().for_each(|email| shop.customer(email));
    let service = shop.service();
    let teller = |name| Teller { name, service: service.clone(), told: Vec::new() };
    let customer = |email| Customer { email, tokens: Vec::new(), turn: 0 };
    let mut clients: Vec<Box<dyn Client>> = vec![
        Box::new(teller("one")),
        Box::new(teller("two")),
        Box::new(Visitors::default()),
        Box::new(customer(customers[0])),
        Box::new(customer(customers[1])),
    ];
    let calm = shop.serve();
    for client in &mut clients {
        client.act(&shop, &calm).expect("an answer");
    }
    calm.kill();
    for _ in 0..KILLS {
        load(&shop, &mut clients, Duration::from_millis(drawn(&entropy, LIFE_MS)));
    }
    shop.verified();
    let serving = shop.serve();
    for client in &mut clients {
        // what was under way at the last kill
        client.act(&shop, &serving).expect("an answer");
    }
    for client in &clients {
        client.check(&shop, &serving);
    }
    assert_eq!(serving.stop(), Some(0));
    shop.verified();
}

#[test]
fn on_sqlite() {
    std::thread::scope(|scope| {
        for seed in SEEDS {
            scope.spawn(move || storm(seed, &[]));
        }
    });
}

#[test]
fn on_postgresql() {
    std::thread::scope(|scope| {
        for seed in SEEDS {
            scope.spawn(move || {
                testkit::with_postgres(|url| storm(seed, &["--database", url]));
            });
        }
    });
}
