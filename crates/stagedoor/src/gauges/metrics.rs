//! The page of metrics: every family of the catalogue, in its order, from what is counted where it
//! happens and from the last sample. Nothing here waits.

use edge::Report;
use kernel::Timestamp;
use meter::{Family, Page};

use super::Observed;
use super::doors::SHOP;
use super::families as of;
use super::process::Process;
use super::sample::Sample;

/// Classes of status, in the order of a report's answers.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A family with one number, or none where it is not known.
fn one(page: &mut Page, family: &Family, number: impl Into<Option<f64>>) {
    page.begin(family);
    if let Some(number) = number.into() {
        page.sample(family, &[], number);
    }
}

/// A family with a number for each value of its one label.
fn each<'a>(page: &mut Page, family: &Family, samples: impl IntoIterator<Item = (&'a str, f64)>) {
    page.begin(family);
    for (label, number) in samples {
        page.sample(family, &[label], number);
    }
}

/// A count as the number that a page holds: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a page holds floating-point numbers only")]
const fn big(many: u64) -> f64 {
    many as f64
}

fn size(many: usize) -> f64 {
    big(u64::try_from(many).unwrap_or(u64::MAX))
}

/// A number of the database's, which is never meant to be negative.
fn row(number: i64) -> f64 {
    big(u64::try_from(number).unwrap_or(0))
}

/// Microseconds of either sign as seconds.
#[expect(clippy::cast_precision_loss, reason = "an offset is shown, not reckoned with")]
const fn offset(us: i64) -> f64 {
    us as f64 / 1_000_000.0
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

impl Observed {
    /// The page.
    pub(super) fn page(&self) -> String {
        let (mut page, sample) = (Page::default(), self.sample());
        let now = self.house.clock.now();
        self.program(&mut page, now);
        self.doors(&mut page);
        self.facts(&mut page);
        self.database(&mut page, &sample);
        self.log(&mut page, &sample, now);
        self.queues(&mut page, &sample, now);
        self.sinks(&mut page, &sample);
        self.host(&mut page);
        self.processes(&mut page);
        page.text()
    }

    fn program(&self, page: &mut Page, now: Timestamp) {
        let database = match self.house.spine.db().backend() {
            store::Backend::Sqlite => "sqlite",
            store::Backend::Postgres => "postgres",
        };
        page.begin(&of::BUILD);
        let labels = [env!("CARGO_PKG_VERSION"), database, self.house.spine.node()];
        page.sample(&of::BUILD, &labels, 1.0);
        one(page, &of::UP, now.since(self.started_at).as_secs_f64());
        one(page, &of::READY, yes(self.is_ready()));
    }

    fn doors(&self, page: &mut Page) {
        let reports = self.doors.reports(self.house.clock.as_ref());
        let routes = || {
            let of_door =
                |(door, report): &'_ (String, Report)| (door.clone(), report.routes.clone());
            reports.iter().map(of_door)
        };
        page.begin(&of::REQUESTS);
        for (door, routes) in routes() {
            for route in &routes {
                let answers = CLASSES.iter().zip(route.answers).filter(|(_, many)| *many > 0);
                for (class, many) in answers {
                    page.sample(&of::REQUESTS, &[&door, &route.name, class], big(many));
                }
            }
        }
        page.begin(&of::DURATION);
        for (door, routes) in routes() {
            for route in &routes {
                page.histogram(&of::DURATION, &[&door, &route.name], &route.duration);
            }
        }
        page.begin(&of::UPSTREAM);
        for (door, routes) in routes() {
            for route in routes.iter().filter(|route| !route.name.starts_with('(')) {
                page.histogram(&of::UPSTREAM, &[&door, &route.name], &route.upstream);
            }
        }
        named(page, &of::REFUSALS, &reports, |report| &report.refusals);
        named(page, &of::LIMITS, &reports, |report| &report.limits);
        connections(page, &reports);
    }

    fn facts(&self, page: &mut Page) {
        let meters = self.house.spine.meters();
        let events = meters.events();
        each(page, &of::EVENTS, events.iter().map(|(kind, many)| (kind.as_str(), big(*many))));
        let told = |kind: &str| big(meters.events_of(kind));
        let sign_ins = [
            ("succeeded", told("identity.login_succeeded")),
            ("refused", told("identity.login_failed")),
        ];
        each(page, &of::SIGN_INS, sign_ins);
        let ends =
            [("one", told("identity.session_ended")), ("several", told("identity.sessions_ended"))];
        each(page, &of::SESSION_ENDS, ends);
        one(page, &of::TRANSACTIONS, big(meters.transactions()));
    }

    fn database(&self, page: &mut Page, sample: &Sample) {
        let db = self.house.spine.db();
        let pools = db.pools();
        one(page, &of::DATABASE_UP, yes(sample.answers));
        each(page, &of::POOL_IN_USE, pools.iter().map(|pool| (pool.name, size(pool.in_use))));
        each(page, &of::POOL_OPEN, pools.iter().map(|pool| (pool.name, size(pool.open))));
        one(page, &of::POOL_WAITING, size(pools.iter().map(|pool| pool.waiting).sum()));
        let (waits, in_vain) = db.waits();
        page.begin(&of::POOL_WAIT);
        page.histogram(&of::POOL_WAIT, &[], &waits.read());
        one(page, &of::POOL_VAIN, big(in_vain));
    }

    fn log(&self, page: &mut Page, sample: &Sample, now: Timestamp) {
        let standing = &sample.standing;
        let meters = self.house.spine.meters();
        let lag = standing.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64());
        let signed = standing.note_size >= 0;
        one(page, &of::LOG_SIZE, row(standing.size));
        one(page, &of::LOG_WAITING, row(standing.waiting));
        one(page, &of::LOG_LAG, lag);
        one(page, &of::LOG_LEADER, yes(standing.holder == self.house.spine.node()));
        one(page, &of::LOG_EPOCH, row(standing.epoch));
        let age = signed.then(|| now.since(standing.note_at).as_secs_f64());
        one(page, &of::LOG_NOTE_AGE, age);
        one(page, &of::LOG_UNSIGNED, row(standing.size - standing.note_size.max(0)));
        let (batches, last) = meters.batches();
        one(page, &of::LOG_BATCHES, big(batches));
        one(page, &of::LOG_BATCH, big(last));
        let consumers = meters.consumers();
        let lags = consumers.iter().map(|(name, at)| (*name, row(standing.size - at)));
        each(page, &of::CONSUMER_LAG, lags);
    }

    fn queues(&self, page: &mut Page, sample: &Sample, now: Timestamp) {
        let (waiting, oldest_us) = sample.mails;
        let oldest = Timestamp::from_micros(oldest_us);
        let age = if waiting > 0 { now.since(oldest).as_secs_f64() } else { 0.0 };
        one(page, &of::MAILS, row(waiting));
        one(page, &of::MAILS_AGE, age);
        one(page, &of::MAILS_LOST, row(sample.mails_given_up));
        one(page, &of::ALERTS, size(sample.alerts));
    }

    fn sinks(&self, page: &mut Page, sample: &Sample) {
        let observe = &self.house.observe;
        let sinks = observe.sinks();
        let lags = sample.lags.iter().map(|(name, lag)| (name.as_str(), row(*lag)));
        each(page, &of::SINK_LAG, lags);
        let all = || sinks.iter().map(|sink| (sink.name.as_str(), sink));
        each(page, &of::SINK_SENT, all().map(|(name, sink)| (name, big(sink.sent))));
        each(page, &of::SINK_FAILED, all().map(|(name, sink)| (name, big(sink.failures))));
        each(page, &of::SINK_LEFT_OUT, all().map(|(name, sink)| (name, big(sink.left_out))));
        let (sent, dropped) = observe.traces();
        let there = self.doors.spans(self.house.clock.as_ref());
        let (sent, dropped) = (sent + there.0, dropped + there.1);
        each(page, &of::SPANS, [("sent", big(sent)), ("dropped", big(dropped))]);
    }

    fn host(&self, page: &mut Page) {
        let vault = &self.house.vault;
        let (hits, misses) = vault.cache_meters();
        one(page, &of::KEYS_HELD, size(vault.cached().0));
        one(page, &of::KEYS_HITS, big(hits));
        one(page, &of::KEYS_MISSES, big(misses));
        let disk = self.house.observe.disk();
        let (seen, forecast) = (disk.last(), disk.forecast());
        one(page, &of::DISK_FREE, seen.map(|seen| row(seen.free_bytes)));
        one(page, &of::DISK_TOTAL, seen.map(|seen| row(seen.total_bytes)));
        one(page, &of::DISK_GROWTH, forecast.map(|forecast| forecast.used_per_day_bytes));
        one(page, &of::DISK_FULL, forecast.and_then(|forecast| forecast.full_in_days));
        one(page, &of::DATABASE_BYTES, seen.map(|seen| row(seen.database_bytes)));
        let clock = self.house.observe.clock();
        let offsets = [("database", clock.database_us), ("ntp", clock.ntp_us)];
        let known = offsets.into_iter().filter_map(|(of, us)| Some((of, offset(us?))));
        each(page, &of::CLOCK, known);
    }
}

/// A family of counts by name, at each door.
fn named(
    page: &mut Page,
    family: &Family,
    reports: &[(String, Report)],
    counts: fn(&Report) -> &Vec<(String, u64)>,
) {
    page.begin(family);
    for (door, report) in reports {
        for (name, many) in counts(report) {
            page.sample(family, &[door, name], big(*many));
        }
    }
}

fn connections(page: &mut Page, reports: &[(String, Report)]) {
    let all = || reports.iter().map(|(door, report)| (door.as_str(), report));
    each(page, &of::CONNECTIONS, all().map(|(door, report)| (door, big(report.connections.0))));
    each(page, &of::OPEN, all().map(|(door, report)| (door, size(report.connections.1))));
    each(page, &of::STREAMS, all().map(|(door, report)| (door, size(report.streams))));
    let failed = |report: &Report| {
        let found = report.refusals.iter().find(|(code, _)| code == "edge.tls");
        found.map_or(0.0, |(_, many)| big(*many))
    };
    each(page, &of::TLS_FAILED, all().map(|(door, report)| (door, failed(report))));
    // The console's door has a table of its own, and no feed.
    let silence = all().filter(|(door, _)| *door == SHOP);
    let silence = silence.filter_map(|(door, report)| Some((door, seconds(report.silence_us?))));
    each(page, &of::FEED_AGE, silence);
    each(page, &of::FEED_DELTAS, all().map(|(door, report)| (door, big(report.feed.0))));
    each(page, &of::FEED_LOADS, all().map(|(door, report)| (door, big(report.feed.1))));
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

impl Observed {
    fn processes(&self, page: &mut Page) {
        type Read = fn(&Process) -> Option<f64>;
        const ALL: [(&Family, Read); 5] = [
            (&of::THREADS, |process| process.threads),
            (&of::RESIDENT, |process| process.resident_bytes),
            (&of::CPU, |process| process.cpu_s),
            (&of::OPEN_FDS, |process| process.open_fds),
            (&of::MAX_FDS, |process| process.max_fds),
        ];
        let processes = self.doors.processes(self.house.clock.as_ref());
        for (family, read) in ALL {
            let known =
                processes.iter().filter_map(|(name, process)| Some((*name, read(process)?)));
            each(page, family, known);
        }
        each(page, &of::STARTED, [("core", offset(self.started_at.micros()))]);
    }
}
