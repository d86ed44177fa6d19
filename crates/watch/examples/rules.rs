//! How many events the rule engine takes in one second of one core: the built-in rules over a
//! million decoded events of a made-up shop with honest people, a carrier's NAT, sprayers and a
//! slow attack. `cargo run --release -p watch --example rules`
//!
//! Counted is the processor time of this thread (Linux), so that a loaded machine does not lie.
//! Reading the log, opening sealed parts and blinding ids are outside, as parsing is in the figures
//! of others.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use kernel::{Clock, EventId, SystemClock, Timestamp};
use watch::engine::{Engine, Mark, Seen};
use watch::{Signal, WatchConfig, tune};

const EVENTS: u64 = 1_000_000;
/// Events of one batch of the room: after each, changed windows are written.
const BATCH: usize = 200;

/// SplitMix64: the same stream in each run.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn mark(kind: u64, number: u64) -> Mark {
    let first = Stream(kind << 40 | number).next();
    let second = Stream(first).next();
    Mark(((u128::from(first) << 64) | u128::from(second)).to_be_bytes())
}

/// One event: who, from where, and what it means.
fn event(number: u64, stream: &mut Stream) -> Seen {
    let (signal, client, account) = match stream.below(100) {
        // honest people at home, one in ten mistypes
        0..60 => {
            let person = stream.below(40_000);
            let failed = stream.below(10) == 0;
            (if failed { Signal::SignInFailed } else { Signal::SignedIn }, person, person)
        }
        // a carrier's NAT
        60..75 => {
            let failed = stream.below(10) == 0;
            let person = stream.below(40_000);
            (if failed { Signal::SignInFailed } else { Signal::SignedIn }, 50_000, person)
        }
        // sprayers
        75..85 => {
            (Signal::SignInFailed, 60_000 + stream.below(200), 100_000 + stream.below(500_000))
        }
        // a slow attack from everywhere on few accounts
        85..90 => (Signal::SignInFailed, 70_000 + stream.below(50_000), stream.below(20)),
        90..94 => (Signal::SignedUp, stream.below(40_000), 700_000 + number),
        94..97 => (Signal::ResetAsked, stream.below(40_000), stream.below(40_000)),
        97..99 => (Signal::LimitHit, stream.below(40_000), 0),
        _ => (Signal::RefreshReused, stream.below(40_000), stream.below(40_000)),
    };
    Seen {
        id: EventId::from_bytes(u128::from(number).to_be_bytes()),
        // twenty events a second
        at: Timestamp::from_micros(1_795_478_400_000_000)
            .plus(std::time::Duration::from_millis(number * 50)),
        signal,
        weight: 1,
        client: Some(mark(1, client)),
        neighbours: Some(mark(2, client / 100)),
        account: Some(mark(3, account)),
    }
}

/// Nanoseconds that this thread has spent on a processor; of the wall where Linux does not tell.
fn spent_ns() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| u64::try_from(SystemClock.now().micros() * 1_000).unwrap_or(0))
}

fn measure(what: &str, events: &[Seen], write: bool) -> Result<(), watch::Error> {
    let rules = tune(&WatchConfig::default())?;
    let mut engine = Engine::new(&rules, WatchConfig::default().keys_max);
    let (mut fired, mut found, mut written) = (Vec::new(), 0, 0);
    let begun = spent_ns();
    for batch in events.chunks(BATCH) {
        for event in batch {
            engine.see(event, &mut fired);
        }
        found += fired.len();
        fired.clear();
        for (rule, key) in engine.take_changed() {
            if write {
                written += engine.write(rule, key).map_or(0, |(bytes, _)| bytes.len());
            }
        }
        engine.take_cuts();
    }
    let spent = spent_ns().saturating_sub(begun).max(1);
    let rate = u128::from(EVENTS) * 1_000_000_000 / u128::from(spent);
    println!(
        "{what}: {rate} events per CPU second, {} rules, {found} firings, {} keys, {} kB written",
        rules.len(),
        engine.keys(),
        written / 1_000
    );
    Ok(())
}

fn main() -> Result<(), watch::Error> {
    let mut stream = Stream(7);
    let events: Vec<Seen> = (0..EVENTS).map(|number| event(number, &mut stream)).collect();
    measure("rules alone", &events, false)?;
    measure("with the windows written after each 200 events", &events, true)
}
