//! What is in force (A1–A4): checked whole, told with its difference, one winner, never lost.

use access::{ConfigApplied, EdgeConfig, Error};
use testkit::World;
use tokio::task::JoinSet;
use web::feed::{Access as Who, Delta, PathRule, Subscription, Update};

use crate::place::{Place, ROOMS, operator, told};

pub(crate) const SHOP: &str = r#"
[own]
limits = ["calm"]

[[upstream]]
name = "shop"
address = "http://127.0.0.1:3000"

[[limit]]
name = "calm"
per = "client"
requests = 600
window_s = 60

[[route]]
name = "pages"
prefix = "/"
upstream = "shop"
access = "open"
limits = ["calm"]

[[route]]
name = "checkout"
path = "/checkout"
methods = ["POST"]
upstream = "shop"
kinds = ["customer"]
sensitive = true
"#;

pub(crate) fn config(text: &str) -> EdgeConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

fn mild() -> EdgeConfig {
    let mut mild = config(SHOP);
    mild.route[1].kinds = vec![];
    mild.limit[0].requests = 900;
    mild.route.remove(0);
    mild
}

async fn next_routes(feed: &mut Subscription) -> usize {
    match feed.next().await {
        Some(Update::Delta(message)) => match &message.delta {
            Some(Delta::Routes(table)) => table.routes.len(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

testkit::on_both! { ROOMS;
    // A2, A4
    async fn applied_changed_and_put_back(world: &testkit::World) {
        let place = Place::new(world);
        let mut feed = place.hub.subscribe();
        assert!(matches!(feed.next().await, Some(Update::Snapshot(_))));
        let (base, diff) = place.access.plan(&config(SHOP)).await.unwrap();
        assert_eq!((base, diff.added.len()), (0, 5));
        let applied = place.access.apply(&operator(world), &config(SHOP), Some(0)).await.unwrap();
        assert_eq!((applied.revision, &applied.diff), (1, &diff));
        assert_eq!(next_routes(&mut feed).await, 2);

        let (_, diff) = place.access.plan(&mild()).await.unwrap();
        assert_eq!(
            diff.lines(),
            [
                "changes limit \"calm\": requests from 600 to 900",
                "changes route \"checkout\": kinds from customer to none",
                "removes route \"pages\"",
            ]
        );
        place.access.apply(&operator(world), &mild(), None).await.unwrap();
        assert_eq!(next_routes(&mut feed).await, 1);

        // The same again: nothing to tell.
        let again = place.access.apply(&operator(world), &mild(), None).await.unwrap();
        assert_eq!((again.revision, again.diff.is_empty()), (2, true));

        let back = place.access.roll_back(&operator(world), 1).await.unwrap();
        assert_eq!(back.revision, 3);
        assert_eq!(next_routes(&mut feed).await, 2);
        let (revision, in_force) = place.access.in_force().await.unwrap();
        let same = access::plan(&in_force, &config(SHOP)).unwrap();
        assert_eq!((revision, same.to_string().as_str()), (3, "nothing changes"));

        let events = told(world, "access.config_applied").await;
        let mut all: Vec<ConfigApplied> =
            events.iter().map(|event| event.parse().unwrap()).collect();
        all.sort_by_key(|event| event.revision);
        let count = |e: &ConfigApplied| (e.revision, e.added, e.changed, e.removed);
        let counts: Vec<_> = all.iter().map(count).collect();
        assert_eq!(counts, [(1, 5, 0, 0), (2, 0, 2, 1), (3, 1, 2, 0)]);
        assert_eq!(all[1].diff, diff.lines());
        assert_eq!(place.access.revisions(None, 10).await.unwrap().len(), 3);
        assert!(matches!(place.access.roll_back(&operator(world), 9).await, Err(Error::NotFound)));

        // A cold edge gets the same.
        let cold = place.access.feed_part().await.unwrap();
        assert_eq!(cold.routes.routes.len(), 2);
        assert_eq!(cold.routes.own_limits.len(), 1);
    }

    // A3
    async fn of_eight_at_once_one_wins(world: &testkit::World) {
        let place = Place::new(world);
        let mut racing = JoinSet::new();
        for racer in 0..8_u32 {
            let (access, ctx) = (place.access.clone(), operator(world));
            let mut wanted = config(SHOP);
            wanted.limit[0].requests = 100 + racer;
            racing.spawn(async move { access.apply(&ctx, &wanted, Some(0)).await });
        }
        let (mut won, mut stale) = (0, 0);
        while let Some(done) = racing.join_next().await {
            match done.unwrap() {
                Ok(applied) => {
                    assert_eq!(applied.revision, 1);
                    won += 1;
                }
                Err(Error::ConfigChanged { .. }) => stale += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((won, stale), (1, 7));
        let in_force = place.access.feed_part().await.unwrap().routes;
        assert_eq!(place.hub.snapshot().routes, in_force);
        assert_eq!(told(world, "access.config_applied").await.len(), 1);
    }
}

// A1
#[test]
fn a_mistake_changes_nothing() {
    World::run_sqlite(ROOMS, async |world| {
        let place = Place::new(world);
        place.access.apply(&operator(world), &config(SHOP), None).await.unwrap();
        let mut wrong = config(SHOP);
        wrong.route[0].upstream = "nowhere".to_owned();
        wrong.route[1].path = Some("/check out/".to_owned());
        wrong.limit[0].window_s = 0;
        let Err(Error::Config(problems)) = place.access.apply(&operator(world), &wrong, None).await
        else {
            panic!()
        };
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "[[limit]] \"calm\": window_s",
                "[[route]] \"pages\": upstream",
                "[[route]] \"checkout\": path",
            ]
        );
        assert_eq!(place.access.in_force().await.unwrap().0, 1);
        assert_eq!(place.hub.snapshot().routes.routes.len(), 2);
    });
}

// A1
#[test]
fn every_mistake_names_its_key_and_the_mend() {
    let mut wrong = config(SHOP);
    wrong.own.limits = vec!["wild".to_owned()];
    wrong.upstream[0].address = "https://shop.example/".to_owned();
    wrong.upstream[0].server_name = Some("shop.example:443".to_owned());
    wrong.upstream.push(access::UpstreamConfig {
        name: "plain".to_owned(),
        address: "http://127.0.0.1:3000".to_owned(),
        tls: Some("inside".to_owned()),
        ..wrong.upstream[0].clone()
    });
    wrong.limit.push(wrong.limit[0].clone());
    wrong.route[0].limits = vec!["nothing".to_owned()];
    wrong.route[0].roles = vec!["admin".to_owned()];
    wrong.route[1].kinds = vec!["client".to_owned()];
    wrong.route.push(wrong.route[1].clone());
    wrong.route.push(access::RouteConfig {
        name: "both".to_owned(),
        prefix: Some("/x".to_owned()),
        body_idle_ms: 1,
        ..wrong.route[1].clone()
    });
    wrong.limit.push(access::LimitConfig {
        name: "unused".to_owned(),
        requests: 0,
        burst: 5,
        cost: 6,
        share: web::feed::Sharing::Leased,
        without_store: web::feed::WithoutStore::Local,
        ..wrong.limit[0].clone()
    });
    wrong.route.push(access::RouteConfig {
        name: "proved".to_owned(),
        path: None,
        prefix: Some("/proved".to_owned()),
        proved_within_s: Some(0),
        ..wrong.route[1].clone()
    });
    wrong.route.push(access::RouteConfig {
        name: "open".to_owned(),
        path: None,
        prefix: Some("/open".to_owned()),
        access: access::Who::Open,
        kinds: vec![],
        roles: vec![],
        second_factor: true,
        ..wrong.route[1].clone()
    });
    wrong.route[0].hosts = vec!["shop.example".to_owned(); 65];
    let text: Vec<String> = wrong.problems().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn an_unknown_key_is_refused() {
    let text = SHOP.replace("sensitive = true", "sensitiv = true");
    let error = toml::from_str::<EdgeConfig>(&text).unwrap_err().to_string();
    assert!(error.contains("unknown field `sensitiv`"), "{error}");
}

#[test]
fn the_table_says_what_the_file_says() {
    let table = config(SHOP).table().unwrap();
    assert_eq!(table.routes[0].path, PathRule::Prefix("/".to_owned()));
    assert_eq!(table.routes[0].access, Who::Open);
    assert_eq!(table.routes[0].limits[0].requests, 600);
    let only = Who::Only { kinds: vec!["customer".to_owned()], roles: vec![] };
    assert_eq!(table.routes[1].access, only);
    assert!(table.routes[1].sensitive);
    assert!(table.problems().is_empty());
    assert!(EdgeConfig::default().table().unwrap().routes.is_empty());
}
