//! A limit that all nodes share: what was counted outlives the program, in one process and in
//! several, and without Redis nothing passes that must not.

use std::time::{Duration, Instant};

use testkit::Redis;

use crate::program::{Serving, Shop, answer};

/// Longer than the door needs to notice.
const PATIENCE: Duration = Duration::from_secs(20);

fn until(serving: &Serving, shop: &Shop, wanted: u16) {
    let began = Instant::now();
    while serving.curl(shop, &[], "/").0 != wanted {
        assert!(began.elapsed() < PATIENCE, "no {wanted}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn counts_in_redis(more: &str) {
    let Some(mut redis) = Redis::start() else { return };
    let shop = Shop::init();
    let redis_table = format!("{more}[redis]\nurl = \"{}\"\n\n[identity.mail]", redis.url());
    shop.edit("[identity.mail]", &redis_table);
    let strict = "requests = 3\nshare = \"strict\"\nwithout_store = \"refuse\"";
    shop.edit("requests = 600", strict);
    shop.edit("window_s = 60", "window_s = 3600");
    answer(shop.path(), &["config", "apply"]);
    let serving = shop.serve();
    // let through, to an upstream that is a closed port
    for _ in 0..3 {
        assert_eq!(serving.curl(&shop, &[], "/").0, 502);
    }
    let (status, problem) = serving.curl(&shop, &[], "/");
    assert_eq!(status, 429, "{problem}");
    // Another run of the program starts with what Redis knows.
    serving.stop();
    let serving = shop.serve();
    assert_eq!(serving.curl(&shop, &[], "/").0, 429);
    redis.kill();
    until(&serving, &shop, 503);
    let (_, problem) = serving.curl(&shop, &[], "/");
    assert!(problem.contains("edge.limit_unknown"), "{problem}");
    redis.restart();
    until(&serving, &shop, 502);
    serving.stop();
    assert!(!shop.log().contains("panicked"), "{}", shop.log());
}

#[test]
fn a_strict_limit_is_counted_in_redis() {
    counts_in_redis("");
}

#[test]
fn and_by_a_door_in_a_process_of_its_own() {
    counts_in_redis("[processes]\nseparate = true\n\n");
}
