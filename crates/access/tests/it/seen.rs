//! Observations (A6): a flood makes larger counts, not more events and transactions.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use access::{FloodObserved, LimitExceeded, Observer, RequestRefused};
use tokio_util::sync::CancellationToken;
use web::feed::{Observation, Observations, Observed};

use crate::place::{Place, ROOMS, told};

fn seen(client: &str, rule: &str, second: i64, count: u64) -> Observation {
    Observation { client: client.parse().unwrap(), rule: rule.to_owned(), second, count }
}

fn batch(seen: Vec<Observation>) -> Observed {
    Observed { seen, dropped: 0 }
}

testkit::on_both! { ROOMS;
    // A6
    async fn one_event_for_a_client_and_rule_in_a_minute(world: &testkit::World) {
        let place = Place::new(world);
        let observer = Observer::new(place.access.clone());
        let at = world.now().seconds();
        for second in 0..30 {
            let all = vec![
                seen("192.0.2.7", "limit.login", at + second, 100),
                seen("2001:db8::1", "hygiene.smuggling", at + second, 1),
                seen("2001:db8::2", "hygiene.smuggling", at + second, 1),
                seen("192.0.2.9", "blocked", at + second, 1_000),
            ];
            observer.fold(&batch(all)).await.unwrap();
        }
        let limits = told(world, "access.limit_exceeded").await;
        assert_eq!(limits.len(), 1);
        let event: LimitExceeded = limits[0].parse().unwrap();
        assert_eq!((event.rule.as_str(), event.count), ("limit.login", 100));
        assert_eq!(event.address, IpAddr::from([192, 0, 2, 7]));
        // One /64 is one client.
        let refused = told(world, "access.request_refused").await;
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].parse::<RequestRefused>().unwrap().count, 2);
        // Another node sees the same: not told again.
        let other = Observer::new(place.access.clone());
        other.fold(&batch(vec![seen("192.0.2.7", "limit.login", at, 5)])).await.unwrap();
        assert_eq!(told(world, "access.limit_exceeded").await.len(), 1);
        world.advance(Duration::from_secs(60));
        other.fold(&batch(vec![seen("192.0.2.7", "limit.login", at + 60, 5)])).await.unwrap();
        assert_eq!(told(world, "access.limit_exceeded").await.len(), 2);
        assert_eq!(told(world, "access.flood_observed").await.len(), 0);
    }

    // A6
    async fn a_flood_of_clients_is_bounded_and_said(world: &testkit::World) {
        let place = Place::with(world, |parts| {
            parts.config.seen.clients_per_minute_max = 50;
            parts.config.seen.events_per_minute_max = 20;
        });
        let observer = Observer::new(place.access.clone());
        let at = world.now().seconds();
        for round in 0..5_u8 {
            let all = (0..100).map(|n| seen(&format!("192.0.{round}.{n}"), "limit.x", at, 2));
            let observed = Observed { seen: all.collect(), dropped: 7 };
            observer.fold(&observed).await.unwrap();
        }
        let totals = observer.totals();
        assert_eq!((totals.counted, totals.told, totals.dropped), (50, 21, 35));
        // 30 clients of the first 50 were counted and not told; 450 were not counted at all.
        assert_eq!(totals.left_out, 2 * 30 + 2 * 450);
        assert_eq!(told(world, "access.limit_exceeded").await.len(), 20);
        let floods = told(world, "access.flood_observed").await;
        assert_eq!(floods.len(), 1);
        let flood: FloodObserved = floods[0].parse().unwrap();
        assert_eq!((flood.left_out, flood.dropped), (160, 7));
        world.advance(Duration::from_secs(3 * 3_600));
        place.access.tend().await.unwrap();
    }

    async fn folded_from_the_edges_queue_until_it_stops(world: &testkit::World) {
        let place = Place::new(world);
        let observer = Observer::new(place.access.clone());
        let queue = Observations::new(10);
        let rule: Arc<str> = Arc::from("session.forged");
        queue.note(IpAddr::from([192, 0, 2, 1]), &rule, world.now());
        let stop = CancellationToken::new();
        let watch = async {
            while observer.totals().counted == 0 {
                tokio::task::yield_now().await;
            }
            // While it rests: what is left is folded before it ends.
            queue.note(IpAddr::from([192, 0, 2, 2]), &rule, world.now());
            stop.cancel();
        };
        tokio::join!(observer.run(&queue, stop.clone()), watch);
        assert_eq!(told(world, "access.request_refused").await.len(), 2);
    }
}
