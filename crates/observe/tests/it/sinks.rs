//! Sinks that follow a log: once, in order, again where an operator wants it, and each alone.

use std::path::Path;
use std::time::Duration;

use kernel::Actor;
use observe::{Error, Observe, ObserveConfig, Parts, ROOM, SiemConfig};
use serde_json::{Value, json};
use testkit::World;
use tokio_util::sync::CancellationToken;

const ROOMS: &[spine::Room] = &[ROOM];

fn open(world: &World, base: &Path, siem: Value) -> Observe {
    let siem: Vec<SiemConfig> = serde_json::from_value(siem).unwrap();
    Observe::open(Parts {
        spine: world.spine.clone(),
        config: ObserveConfig::default(),
        siem,
        catalogue: spine::Rooms::new(ROOMS).unwrap().events(),
        origin: "shop.test/log".to_owned(),
        version: "0",
        base: base.to_owned(),
        data: base.to_owned(),
    })
    .unwrap()
}

fn leaves(file: &Path) -> Vec<i64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let event = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| event(line)["metadata"]["sequence"].as_i64().unwrap()).collect()
}

/// Feeds the sinks until `holds`.
async fn feed(observe: &Observe, mut holds: impl FnMut() -> bool) {
    let stop = CancellationToken::new();
    let feeding = futures(observe, &stop);
    let looking = async {
        for _ in 0..500 {
            if holds() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
    };
    tokio::join!(feeding, looking);
    assert!(holds(), "the sinks do not hear: {:?}", observe.sinks());
}

async fn futures(observe: &Observe, stop: &CancellationToken) {
    let mut all: Vec<_> = observe.run_sinks(stop).unwrap().into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

testkit::on_both! { ROOMS;
    // O1
    async fn each_event_once_in_order_and_again_after_a_replay(world: &World) {
        let dir = tempfile::tempdir().unwrap();
        let sinks = json!([{ "name": "file", "to": "file", "file": "out.jsonl", "batch_max": 2 }]);
        let observe = open(world, dir.path(), sinks.clone());
        let (file, ctx) = (dir.path().join("out.jsonl"), world.ctx(Actor::Operator { id: None }));
        for _ in 0..5 {
            observe.replay(&ctx, "file", 0).await.unwrap();
        }
        world.spine.sequence().await.unwrap();
        feed(&observe, || leaves(&file).len() == 5).await;
        assert_eq!(leaves(&file), [0, 1, 2, 3, 4]);
        assert_eq!(observe.lags(5).await.unwrap(), [("file".to_owned(), 0)]);
        // another run goes on where the last ended
        let observe = open(world, dir.path(), sinks);
        assert_eq!(observe.would_replay("file", 3).await.unwrap(), (2, 5));
        observe.replay(&ctx, "file", 3).await.unwrap();
        world.spine.sequence().await.unwrap();
        feed(&observe, || leaves(&file).len() == 8).await;
        assert_eq!(leaves(&file)[5..], [3, 4, 5]);
        let no_leaf = observe.replay(&ctx, "file", 99).await.unwrap_err();
        assert!(matches!(no_leaf, Error::NoSuchLeaf { leaf: 99, size: 6 }), "{no_leaf}");
        let no_sink = observe.replay(&ctx, "other", 0).await.unwrap_err();
        assert!(matches!(no_sink, Error::NoSuchSink(_)), "{no_sink}");
    }

    // O2
    async fn a_dead_sink_waits_alone_and_its_lag_shows(world: &World) {
        let dir = tempfile::tempdir().unwrap();
        let observe = open(world, dir.path(), json!([
            { "name": "dead", "to": "http", "url": "http://127.0.0.1:9/" },
            { "name": "file", "to": "file", "file": "out.jsonl" }
        ]));
        let (file, ctx) = (dir.path().join("out.jsonl"), world.ctx(Actor::Operator { id: None }));
        observe.replay(&ctx, "file", 0).await.unwrap();
        world.spine.sequence().await.unwrap();
        feed(&observe, || {
            leaves(&file) == [0] && observe.sinks().iter().any(|sink| sink.failures > 0)
        })
        .await;
        let lags = observe.lags(1).await.unwrap();
        assert_eq!(lags, [("dead".to_owned(), 1), ("file".to_owned(), 0)]);
        let dead = &observe.sinks()[0];
        assert!(dead.trouble.is_some() && dead.sent == 0, "{dead:?}");
    }

    async fn disk_and_clock_are_seen_and_samples_outlive_a_run(world: &World) {
        let dir = tempfile::tempdir().unwrap();
        let observe = open(world, dir.path(), json!([]));
        assert!(observe.disk().last().is_none());
        observe.look().await.unwrap();
        let seen = observe.disk().last().unwrap();
        assert!(seen.free_bytes > 0 && seen.total_bytes >= seen.free_bytes);
        assert!(seen.database_bytes > 0);
        world.clock.advance(Duration::from_secs(3_600));
        let again = open(world, dir.path(), json!([]));
        again.look().await.unwrap();
        assert_eq!(again.disk().samples().count(), 2, "the sample of the run before is known");
    }
}
