//! kill -9 of the leading node at each message of the transactions that grow the log, to PostgreSQL
//! or back. Whoever leads next, the same node or another, goes on from what stands: no leaf is lost
//! or there twice, and the log continues every checkpoint that was shown.

use std::time::{Duration, Instant};

use crate::death::Death;
use crate::nodes::{Node, Nodes, leaves};
use crate::program::answer;

/// Far more steps than a batch has.
const STEPS_MAX: usize = 200;
/// Batches in a row that came through before their step was reached: none is left.
const THROUGH: usize = 3;
/// How long a batch may take; longer than a lease, after which another node leads.
const PATIENCE: Duration = Duration::from_secs(30);

/// Until the log has no fewer leaves than this; its newest checkpoint.
fn grown(node: &Node, size: u64) -> Option<String> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let (status, note) =
            node.ask(|serving, shop| serving.try_curl(shop, &[], "/v1/log/checkpoint").ok())?;
        let leaves = note.lines().nth(1).and_then(|line| line.parse::<u64>().ok());
        if status == 200 && leaves >= Some(size) {
            return Some(note);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the log does not grow to {size} leaves: {}", node.shop.log());
}

#[test]
fn whoever_leads_next_goes_on() {
    testkit::with_postgres(|url| {
        let death = Death::default();
        let place = url.split(['@', '/']).nth(3).unwrap().to_owned();
        let mut nodes = Nodes::three(url, |shop| {
            shop.edit("publish_every_s = 10", "publish_every_s = 1");
            shop.lift_limits();
        });
        let wire = death.on(&place, b"UPDATE spine_head SET epoch");
        nodes.nodes[0].rewire(wire);
        let service = nodes.home.service();
        let file = nodes.home.path().join("shown");
        let size = || {
            let verified = answer(
                nodes.home.path(),
                &["audit", "verify", "--checkpoint", file.to_str().unwrap()],
            );
            assert_eq!(verified["holds"], true, "{verified}");
            (verified["leaves"].as_u64().unwrap(), verified["pending"].as_u64().unwrap())
        };
        let (leader, other) = (&nodes.nodes[0], &nodes.nodes[1]);
        leader.start();
        std::fs::write(&file, grown(leader, 1).unwrap()).unwrap();
        let (mut killed, mut through, mut before) = (0, 0, size());
        for step in 0..STEPS_MAX {
            leader.start();
            death.arm(leader.id().unwrap(), step);
            let id = format!("step-{step}");
            // Its own answer may die with it: told again below.
            let _ = leader.ask(|serving, shop| serving.try_tell(shop, &service, &id));
            let died = grown(leader, before.0 + before.1 + 1).is_none();
            death.disarm();
            killed += usize::from(died);
            through = if died { 0 } else { through + 1 };
            // Now and then another node leads, which takes it a lease.
            let next = if died && step % 16 == 0 { other } else { leader };
            if died {
                leader.kill();
            }
            next.start();
            let told = next.ask(|serving, shop| serving.try_tell(shop, &service, &id));
            assert_eq!(told.unwrap().0, 200);
            std::fs::write(&file, grown(next, before.0 + before.1 + 1).unwrap()).unwrap();
            other.kill();
            before = size();
            assert_eq!(leaves(url, "order.paid"), step + 1, "a leaf is lost, or there twice");
            if through == THROUGH {
                break;
            }
        }
        assert_eq!(through, THROUGH, "more than {STEPS_MAX} steps");
        eprintln!("killed at {killed} steps");
        assert!(killed >= 10, "growing takes more than {killed} messages");
    });
}
