//! The database dies, goes silent, and comes back: who needs it is told so in time, who does not is
//! served, what is sensitive is closed, and afterwards all goes on without a restart.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::Proxy;

use crate::program::{Serving, Shop};

/// No answer may take longer while `answer_max_ms` is a second: a connection's turn, a session's
/// look-up, a statement; with room for a busy machine.
const BOUND: Duration = Duration::from_secs(10);
/// How long the door trusts a source that says nothing.
const STALE: Duration = Duration::from_secs(5);

struct Weather<'a> {
    shop: &'a Shop,
    serving: Serving,
    service: String,
    bearer: String,
    told: Vec<String>,
}

impl Weather<'_> {
    fn tell(&mut self, id: &str) -> (u16, Value) {
        let (status, answer) = self.serving.tell(self.shop, &self.service, id);
        if status == 200 {
            self.told.push(id.to_owned());
        }
        (status, answer)
    }

    fn status(&self, path: &str) -> u16 {
        let start = Instant::now();
        let status = self.serving.curl(self.shop, &["-H", &self.bearer], path).0;
        assert!(start.elapsed() < BOUND, "{path}: {:?}", start.elapsed());
        status
    }

    fn fair(&mut self, id: &str) {
        assert_eq!(self.tell(id).0, 200);
        assert_eq!(self.status("/v1/account"), 200);
        // let through, to an upstream that is a closed port
        assert_eq!(self.status("/orders"), 502);
        assert_eq!(self.status("/checkout"), 502);
    }

    fn foul(&mut self, id: &str) {
        let began = Instant::now();
        let (status, problem) = self.tell(id);
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        assert_eq!((status, &problem["status"]), (503, &503.into()), "{problem}");
        let words = problem.to_string();
        assert!(words.contains("try again"), "{words}");
        for leak in ["postgres", "127.0.0.1", "sqlx", "SELECT"] {
            assert!(!words.contains(leak), "{words}");
        }
        assert_eq!(self.status("/v1/account"), 503);
        assert_eq!(self.status("/v1/log/checkpoint"), 503);
        // what needs no database
        assert_eq!(self.status("/auth/sign-in"), 200);
        assert_eq!(self.status("/.well-known/jwks.json"), 200);
        assert_eq!(self.status("/"), 502);
        assert_eq!(self.status("/orders"), 502);
        while began.elapsed() < STALE {
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(self.status("/checkout"), 503, "a sensitive route is open in the dark");
    }

    /// Until the program has found the database again.
    fn clears(&mut self, id: &str) {
        let began = Instant::now();
        while self.tell(id).0 != 200 || self.status("/checkout") != 502 {
            assert!(began.elapsed() < BOUND * 2, "it does not recover");
        }
    }
}

#[test]
fn a_database_that_dies_and_comes_back_costs_no_restart() {
    testkit::with_postgres(|url| {
        let place = url.split(['@', '/']).nth(3).unwrap();
        let proxy = Proxy::before(place);
        let shop = Shop::init_with(&["--database", &proxy.instead_of(url)]);
        shop.edit("[data]", "[data]\nanswer_max_ms = 1000");
        shop.edit(
            "# paths that need a session; ",
            "[[route]]\nname = \"orders\"\nprefix = \"/orders\"\nupstream = \"shop\"\n\n# ",
        );
        shop.lift_limits();
        shop.customer("ada@x.example");
        let (serving, service) = (shop.serve(), shop.service());
        let tokens = serving.sign_in(&shop, "ada@x.example");
        let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
        let mut weather = Weather { shop: &shop, serving, service, bearer, told: Vec::new() };
        weather.fair("before");
        proxy.lose();
        weather.foul("lost");
        proxy.mend();
        weather.clears("after-loss");
        weather.fair("between");
        proxy.hush();
        weather.foul("silent");
        proxy.mend();
        weather.clears("after-silence");
        weather.fair("after");
        // told again, what was answered is known
        for id in weather.told.clone() {
            let (status, answer) = weather.tell(&id);
            assert_eq!(status, 200, "{answer}");
        }
        assert_eq!(weather.serving.stop(), Some(0));
        shop.verified();
    });
}
