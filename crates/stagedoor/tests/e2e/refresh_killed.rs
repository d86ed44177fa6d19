//! kill -9 at each step of a refresh, on both databases: before each write that SQLite makes, and
//! before each message of the transaction on its way to `PostgreSQL` or back. Afterwards the token
//! that the client holds leads to one successor, whoever asks how often, and nobody is logged out.

use serde_json::{Value, json};

use crate::death::Death;
use crate::program::{Serving, Shop, preloaded, stagedoor};

/// Far more steps than a refresh has.
const STEPS_MAX: usize = 150;
/// Refreshes in a row that came through before their step was reached: none is left.
const THROUGH: usize = 3;

fn shop(more: &[&str]) -> Shop {
    let shop = Shop::in_one_process(more);
    // starting anew takes its time on a busy machine
    shop.edit("[identity.mail]", "[identity.token]\ngrace_s = 60\n\n[identity.mail]");
    shop.lift_limits();
    shop.customer("ada@x.example");
    shop
}

fn refresh(serving: &Serving, shop: &Shop, token: &str) -> Option<(u16, Value)> {
    serving.try_post(shop, &[], ("/v1/tokens/refresh", &json!({ "refresh_token": token })))
}

fn refreshed(serving: &Serving, shop: &Shop, token: &str) -> String {
    let (status, answer) = refresh(serving, shop, token).expect("an answer");
    assert_eq!(status, 200, "logged out: {answer}");
    answer["refresh_token"].as_str().unwrap().to_owned()
}

/// Kills at step 0, 1, 2 … of a refresh, until there is none left; gives how often it was killed.
fn die_everywhere(
    shop: &Shop,
    serve: impl Fn() -> Serving,
    arm: impl Fn(&Serving, usize),
) -> usize {
    let serving = serve();
    let first = serving.sign_in(shop, "ada@x.example");
    let mut token = first["refresh_token"].as_str().unwrap().to_owned();
    serving.kill();
    let (mut killed, mut through) = (0, 0);
    for step in 0..STEPS_MAX {
        let serving = serve();
        arm(&serving, step);
        let answer = refresh(&serving, shop, &token);
        through = if answer.is_some() { through + 1 } else { 0 };
        killed += usize::from(answer.is_none());
        serving.kill();
        let serving = shop.serve();
        let successor = refreshed(&serving, shop, &token);
        assert_ne!(successor, token);
        if let Some((status, answer)) = answer {
            assert_eq!(
                (status, answer["refresh_token"].as_str()),
                (200, Some(&*successor)),
                "forked"
            );
        }
        assert_eq!(refreshed(&serving, shop, &token), successor, "forked");
        serving.kill();
        token = successor;
        if through == THROUGH {
            break;
        }
    }
    assert_eq!(through, THROUGH, "more than {STEPS_MAX} steps");
    shop.verified();
    killed
}

#[test]
fn before_each_write_on_sqlite() {
    let shop = shop(&[]);
    let (library, death) = (preloaded(shop.path(), "dying"), shop.path().join("death"));
    let serve = || {
        let _ = std::fs::remove_file(&death);
        let mut command = stagedoor(shop.path());
        command.env("LD_PRELOAD", &library).env("STAGEDOOR_TEST_DEATH", &death);
        shop.serve_by(command)
    };
    let killed = die_everywhere(&shop, serve, |_, step| {
        std::fs::write(&death, step.to_string()).unwrap();
    });
    assert!(killed >= 5, "a commit takes more than {killed} steps");
}

#[test]
fn before_each_message_to_postgresql_and_back() {
    testkit::with_postgres(|url| {
        let place = url.split(['@', '/']).nth(3).unwrap();
        let death = Death::default();
        let proxy = death.on(place, b"UPDATE identity_refresh");
        let shop = shop(&["--database", &proxy.instead_of(url)]);
        let serve = || {
            death.disarm();
            shop.serve()
        };
        let killed = die_everywhere(&shop, serve, |serving, step| {
            death.arm(serving.id(), step);
        });
        assert!(killed >= 5, "a transaction takes more than {killed} messages");
    });
}
