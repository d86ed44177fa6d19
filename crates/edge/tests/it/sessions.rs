//! E3, E5, E6: who is asking, and who is no longer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use edge::identity;
use kernel::Timestamp;
use tokio::io::AsyncWriteExt as _;
use web::feed::{Delta, Net};

use crate::world::{Wish, World, header_key, read_to_end, read_until, status};

fn cookie(token: &str) -> String {
    format!("Cookie: theme=dark; __Host-stagedoor_token={token}; cart=1\r\n")
}

// E6
#[tokio::test]
async fn the_upstream_is_told_who_asks_and_can_check_it() {
    let world = World::new().await;
    let session = world.session();
    let token = world.token(session, "customer", &["buyer", "vip"]);
    let forged = "X-Stagedoor-Account: usr_forged\r\nX-Stagedoor-Admin: yes\r\n";
    let answer = world.get("/orders/7?x=1", &format!("{forged}{}", cookie(&token))).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let seen = &world.seen()[0];
    let now = Timestamp::from_seconds(crate::world::START_S);
    let told = identity::verify(&header_key(), "GET", "/orders/7?x=1", &seen.headers, now);
    let told = told.unwrap().unwrap();
    assert_eq!(told.account, session.0.to_string());
    assert_eq!(told.session, session.1.to_string());
    assert_eq!(told.roles, ["buyer", "vip"]);
    assert!(identity::verify(&header_key(), "GET", "/orders/8", &seen.headers, now).is_err());
    assert_eq!(seen.header("x-stagedoor-admin"), None);
    // The session's secrets stay with us; the shop's own cookies pass.
    assert_eq!(seen.header("cookie"), Some("theme=dark; cart=1"));
}

// E6
#[tokio::test]
async fn forged_headers_do_not_pass_where_nobody_is_signed_in() {
    let world = World::new().await;
    let forged = "X-Stagedoor-Account: usr_forged\r\nX-Stagedoor-Signature: x\r\n";
    assert_eq!(status(&world.get("/", forged).await), 200);
    assert!(world.seen()[0].headers.keys().all(|name| !name.as_str().starts_with("x-stagedoor")));
    let answer = world.get("/", "").await;
    // Nor may the upstream speak in our name, or set our cookies.
    assert!(!answer.contains("forged by the upstream") && !answer.contains("stolen"), "{answer}");
    assert!(answer.contains("set-cookie: cart=1"));
    let answer = world.get("/auth/whoami", forged).await;
    assert!(answer.contains("core 127.0.0.1 false  false"), "{answer}");
}

#[tokio::test]
async fn routes_are_for_whom_they_say() {
    let world = World::new().await;
    let staff = world.token(world.session(), "staff", &["admin"]);
    let clerk = world.token(world.session(), "staff", &["clerk"]);
    let customer = world.token(world.session(), "customer", &["admin"]);
    for (token, wanted) in
        [(staff.as_str(), 200), (&clerk, 403), (&customer, 403), ("rubbish", 401)]
    {
        let answer = world.get("/staff", &cookie(token)).await;
        assert_eq!(status(&answer), wanted, "{answer}");
    }
    let bearer = format!("Authorization: Bearer {staff}\r\n");
    assert_eq!(status(&world.get("/staff", &bearer).await), 200);
    assert_eq!(world.seen().last().unwrap().header("authorization"), None);
    // Somebody else's bearer token is none of our business on an open route.
    world.get("/", "Authorization: Bearer theirs\r\n").await;
    assert_eq!(world.seen().last().unwrap().header("authorization"), Some("Bearer theirs"));
    let page = world.get("/orders/1?a=b", "Accept: text/html\r\n").await;
    assert_eq!(status(&page), 303, "{page}");
    assert!(page.contains("location: /auth/sign-in?next=/orders/1%3Fa%3Db\r\n"), "{page}");
    let script = world.get("/orders/1", "Accept: text/html\r\nSec-Fetch-Dest: empty\r\n").await;
    assert_eq!(status(&script), 401);
}

// E5
#[tokio::test]
async fn an_ended_session_is_refused_and_its_streams_close() {
    let world = World::new().await;
    let (account, session) = world.session();
    let token = world.token((account, session), "customer", &[]);
    let mut stream = world.connect().await;
    let request =
        format!("GET /orders/events HTTP/1.1\r\nHost: shop.example\r\n{}\r\n", cookie(&token));
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "data: first").await;
    let until = Timestamp::from_seconds(crate::world::START_S + 300);
    world.publish(Delta::SessionEnded { session, until }).await;
    read_to_end(&mut stream).await;
    let answer = world.get("/orders", &cookie(&token)).await;
    assert_eq!(status(&answer), 401, "{answer}");
    assert!(answer.contains("session.ended"), "{answer}");
    let other = world.token(world.session(), "customer", &[]);
    assert_eq!(status(&world.get("/orders", &cookie(&other)).await), 200);
}

// E5
#[tokio::test]
async fn an_accounts_sessions_end_but_not_those_that_begin_later() {
    let world = World::new().await;
    let (account, session) = world.session();
    let old = world.token((account, session), "customer", &[]);
    let before = kernel::Clock::now(world.clock.as_ref());
    let until = before.plus(Duration::from_secs(300));
    world.publish(Delta::AccountSessionsEnded { account, before, until }).await;
    assert_eq!(status(&world.get("/orders", &cookie(&old)).await), 401);
    world.clock.forward(1);
    let (_, session) = world.session();
    let new = world.token((account, session), "customer", &[]);
    assert_eq!(status(&world.get("/orders", &cookie(&new)).await), 200);
}

#[tokio::test]
async fn an_expired_token_is_minted_anew_once() {
    let world = World::new().await;
    let session = world.session();
    let old = world.token(session, "customer", &[]);
    world.clock.forward(301);
    let both = format!("Cookie: __Host-stagedoor_token={old}; __Host-stagedoor=secret\r\n");
    // Identity says that it has ended.
    assert_eq!(status(&world.get("/orders", &both).await), 401);
    *world.minter.token.lock().unwrap() = Some(world.token(session, "customer", &[]));
    let asked = world.minter.asked.load(Ordering::SeqCst);
    let many = futures_util::future::join_all((0..8).map(|_| world.get("/orders", &both))).await;
    for answer in &many {
        assert_eq!(status(answer), 200, "{answer}");
        assert!(answer.contains("set-cookie: __Host-stagedoor_token="), "{answer}");
        assert!(answer.contains("Max-Age=300; Secure; HttpOnly; SameSite=Lax"), "{answer}");
    }
    let asked = world.minter.asked.load(Ordering::SeqCst) - asked;
    assert!((1..=8).contains(&asked), "asked {asked} times");
    assert!(world.seen().iter().all(|seen| seen.header("cookie").is_none()));
}

// E5
#[tokio::test]
async fn silence_of_the_feed_closes_what_is_sensitive() {
    let world = World::new().await;
    let token = world.token(world.session(), "customer", &[]);
    // Nothing was heard yet.
    assert_eq!(status(&world.get("/checkout", &cookie(&token)).await), 503);
    world.beat().await;
    assert_eq!(status(&world.get("/checkout", &cookie(&token)).await), 200);
    world.clock.forward(5);
    assert_eq!(status(&world.get("/checkout", &cookie(&token)).await), 200);
    world.clock.forward(1);
    let answer = world.get("/checkout", &cookie(&token)).await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("retry-after: 5"), "{answer}");
    assert_eq!(status(&world.get("/orders", &cookie(&token)).await), 200);
    world.beat().await;
    assert_eq!(status(&world.get("/checkout", &cookie(&token)).await), 200);
    // A clock that jumps ahead and back does not make one word count for an hour.
    world.clock.forward(3_600);
    world.beat().await;
    world.clock.forward(-3_600);
    assert_eq!(status(&world.get("/checkout", &cookie(&token)).await), 503);
    world.beat().await;
    assert_eq!(status(&world.get("/checkout", &cookie(&token)).await), 200);
}

#[tokio::test]
async fn what_a_caller_must_see_is_waited_for() {
    let world = World::new().await;
    let (account, session) = world.session();
    let token = world.token((account, session), "customer", &[]);
    let seen = world.publisher.publish(Delta::SigningKeys(world.hub.snapshot().keys));
    world.until(|world| world.edge.as_ref().unwrap().has(seen)).await;
    let carrying =
        |position: &str| format!("X-Stagedoor-Position: {position}\r\n{}", cookie(&token));
    assert_eq!(status(&world.get("/orders", &carrying(&seen.to_string())).await), 200);
    assert!(world.seen().iter().all(|seen| seen.header("x-stagedoor-position").is_none()));
    // the next one: the request waits, and then meets the end of its session
    let next = web::feed::Position { number: seen.number + 1, ..seen };
    let headers = carrying(&next.to_string());
    let asked = world.get("/orders", &headers);
    let ending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let until = Timestamp::from_seconds(crate::world::START_S + 600);
        world.publisher.publish(Delta::SessionEnded { session, until });
    };
    let (answer, ()) = tokio::join!(asked, ending);
    assert_eq!(status(&answer), 401, "{answer}");
    // one that never comes, of a publisher that nobody knows
    let answer = world.get("/orders", &carrying("00000000000000ff.1")).await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("edge.behind") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(status(&world.get("/orders", &carrying("x")).await), 400);
}

// E3
#[tokio::test]
async fn only_a_trusted_proxy_says_who_the_client_is() {
    let forwarded = "X-Forwarded-For: 203.0.113.9, 198.51.100.7\r\nForwarded: for=1.2.3.4\r\n";
    let stranger = World::new().await;
    stranger.get("/", forwarded).await;
    let seen = &stranger.seen()[0];
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;proto=http;host=\"shop.example\""));
    let world = World::with(Wish { trusted: vec!["127.0.0.0/8"], ..Wish::default() }).await;
    world.get("/", &format!("{forwarded}X-Forwarded-Proto: https\r\n")).await;
    let seen = &world.seen()[0];
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.9, 198.51.100.7, 127.0.0.1"));
    assert_eq!(
        seen.header("forwarded"),
        Some("for=198.51.100.7;proto=https;host=\"shop.example\"")
    );
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    let answer = world.get("/auth/whoami", forwarded).await;
    assert!(answer.contains("core 198.51.100.7"), "{answer}");
}

#[tokio::test]
async fn a_blocked_client_is_refused_and_cut_off() {
    let world = World::with(Wish { trusted: vec!["127.0.0.1"], ..Wish::default() }).await;
    let bad = "X-Forwarded-For: 203.0.113.9\r\n";
    let mut stream = world.connect().await;
    let request = format!("GET /events HTTP/1.1\r\nHost: shop.example\r\n{bad}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "data: first").await;
    let net: Net = "203.0.113.0/24".parse().unwrap();
    let until = Timestamp::from_seconds(crate::world::START_S + 60);
    let reason = "spray".to_owned();
    world.publish(Delta::ClientBlocked { net, until, reason }).await;
    read_to_end(&mut stream).await;
    let answer = world.get("/", bad).await;
    assert_eq!(status(&answer), 403);
    assert!(!answer.contains("spray"), "{answer}");
    assert_eq!(world.observed("edge.blocked"), 1);
    assert_eq!(status(&world.get("/", "X-Forwarded-For: 203.0.114.9\r\n").await), 200);
    world.publish(Delta::ClientUnblocked { net }).await;
    assert_eq!(status(&world.get("/", bad).await), 200);
}

#[tokio::test]
async fn limits_are_kept_and_told() {
    let world = World::new().await;
    let first = world.get("/login", "").await;
    assert_eq!(status(&first), 200);
    assert!(first.contains("ratelimit-policy: \"login\";q=2;w=60\r\n"), "{first}");
    assert!(first.contains("ratelimit: \"login\";r=1;t=30\r\n"), "{first}");
    assert_eq!(status(&world.get("/login", "").await), 200);
    let refused = world.get("/login", "").await;
    assert_eq!(status(&refused), 429, "{refused}");
    assert!(refused.contains("retry-after: 30\r\n"), "{refused}");
    assert!(
        refused.contains("quota-exceeded") && refused.contains("\"violated-policies\":[\"login\"]")
    );
    assert_eq!(world.observed("limit.login"), 1);
    assert_eq!(world.seen().len(), 2);
    world.clock.forward(30);
    assert_eq!(status(&world.get("/login", "").await), 200);
    // Per session: another session of the same client has its own.
    let (one, two) = (
        world.token(world.session(), "customer", &[]),
        world.token(world.session(), "customer", &[]),
    );
    assert_eq!(status(&world.get("/votes", &cookie(&one)).await), 200);
    assert_eq!(status(&world.get("/votes", &cookie(&one)).await), 429);
    assert_eq!(status(&world.get("/votes", &cookie(&two)).await), 200);
}

// RFC 9470
#[tokio::test]
async fn a_route_may_ask_for_more_than_a_session() {
    let world = World::new().await;
    let ask = async |path: &str, proved: (&str, i64), more: &str| {
        let token = world.proved_token(world.session(), ("customer", &[]), proved);
        let cookie = format!("Cookie: __Host-stagedoor_token={token}\r\n{more}");
        world.get(path, &cookie).await
    };
    for (path, proved, enough) in [
        ("/payout", ("aal2", 0), true),
        ("/payout/x", ("aal2", 599), true),
        ("/payout", ("aal2", 601), false),
        ("/payout", ("aal1", 0), false),
        ("/PAYOUT", ("AAL2", 0), false),
        ("/payout", ("", 0), false),
        ("/address", ("aal1", 599), true),
        ("/address", ("aal1", 601), false),
        // A clock of another node that is ahead proves nothing for longer.
        ("/address", ("aal1", -5), true),
        ("/orders", ("aal1", 100_000), true),
    ] {
        let answer = ask(path, proved, "").await;
        assert_eq!(status(&answer), if enough { 200 } else { 401 }, "{path} {proved:?}: {answer}");
    }
    let answer = ask("/payout", ("aal1", 0), "").await;
    let challenge = "www-authenticate: bearer error=\"insufficient_user_authentication\", \
                     acr_values=\"aal2\", max_age=\"600\"";
    assert!(answer.to_lowercase().contains(challenge), "{answer}");
    assert!(answer.contains("edge.step_up"), "{answer}");
    // A person is led to the page that asks, and back.
    let page = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
    for (path, leads) in [
        ("/payout?to=x", "/auth/step-up?next=/payout%3Fto%3Dx"),
        ("/address", "/auth/confirm?next=/address"),
    ] {
        let answer = ask(path, ("aal1", 700), page).await;
        assert_eq!(status(&answer), 303, "{answer}");
        assert!(answer.contains(leads), "{answer}");
    }
    // Who is nobody is led to sign in, as everywhere.
    assert_eq!(status(&world.get("/payout", "").await), 401);
    assert!(world.get("/payout", page).await.contains("/auth/sign-in?next="));
}
