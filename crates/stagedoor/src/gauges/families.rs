//! The catalogue of metrics: each by its name, its labels and its words. `docs/metrics.md` is made
//! of it, and a test holds the page against it. No label's values are made by strangers: routes,
//! limits, kinds and sinks are configured or declared, and each is bounded.

use meter::{Family, Kind};

macro_rules! families {
    ($($name:ident = $kind:ident $text:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub(super) const $name: Family = Family {
            name: concat!("stagedoor_", $text), kind: Kind::$kind, help: $help,
            labels: &[$($label),*],
        };)+
        const OURS: &[Family] = &[$($name),+];
    };
}

families! {
    BUILD = Gauge "build_info" ["version", "database", "node"] "Always 1: which program this is.";
    UP = Gauge "up_seconds" [] "Seconds since the program began to serve.";
    READY = Gauge "ready" [] "Whether /readyz says yes.";
    REQUESTS = Counter "requests_total" ["door", "route", "status"]
        "Requests that were answered, by class of status. (own) are this program's own paths.";
    DURATION = Histogram "request_duration_seconds" ["door", "route"]
        "From a request's head to its answer's.";
    UPSTREAM = Histogram "upstream_duration_seconds" ["door", "route"]
        "From a request to the upstream to the head of its answer.";
    REFUSALS = Counter "refusals_total" ["door", "code"]
        "Requests and connections that went no further, by the problem's code.";
    LIMITS = Counter "limits_hit_total" ["door", "limit"] "Requests that met a limit.";
    CONNECTIONS = Counter "connections_total" ["door"] "Connections that were taken.";
    OPEN = Gauge "connections_open" ["door"] "Connections that are open.";
    STREAMS = Gauge "streams_open" ["door"] "Event streams and WebSockets that are open.";
    TLS_FAILED = Counter "tls_handshakes_failed_total" ["door"] "TLS handshakes that failed.";
    FEED_AGE = Gauge "feed_silence_seconds" ["door"]
        "How long a door has heard nothing; above 5, sensitive routes are closed.";
    FEED_DELTAS = Counter "feed_deltas_total" ["door"] "Changes that a door was told.";
    FEED_LOADS = Counter "feed_loads_total" ["door"] "Times that a door loaded all anew.";
    EVENTS = Counter "events_total" ["kind"] "Events that this node committed.";
    SIGN_INS = Counter "sign_ins_total" ["outcome"] "Sign-ins at this node.";
    SESSION_ENDS = Counter "session_ends_total" ["of"]
        "Times that one session, or several of an account at once, ended at this node.";
    TRANSACTIONS = Counter "transactions_total" [] "Transactions that this node committed.";
    DATABASE_UP = Gauge "database_up" [] "Whether the database answered when it was asked last.";
    POOL_IN_USE = Gauge "database_connections_in_use" ["pool"] "Connections that are used now.";
    POOL_OPEN = Gauge "database_connections_open" ["pool"] "Connections that are open.";
    POOL_WAITING = Gauge "database_writers_waiting" []
        "Writers that wait for SQLite's one writing connection; 0 on PostgreSQL.";
    POOL_WAIT = Histogram "database_wait_seconds" [] "Waiting for a connection.";
    POOL_VAIN = Counter "database_waits_in_vain_total" [] "Waits for a connection that got none.";
    LOG_SIZE = Gauge "log_leaves" [] "Events in the log.";
    LOG_WAITING = Gauge "log_waiting" [] "Committed events without a leaf; counted to 10001.";
    LOG_LAG = Gauge "log_lag_seconds" [] "How long the oldest of them waits.";
    LOG_LEADER = Gauge "log_leader" [] "Whether this node sequences.";
    LOG_EPOCH = Gauge "log_epoch" [] "Raised each time that another node took the lead.";
    LOG_NOTE_AGE = Gauge "log_checkpoint_age_seconds" [] "Since the last checkpoint was signed.";
    LOG_UNSIGNED = Gauge "log_unsigned_leaves" [] "Leaves that no checkpoint covers yet.";
    LOG_BATCHES = Counter "log_batches_total" [] "Batches that this node sequenced.";
    LOG_BATCH = Gauge "log_last_batch_leaves" [] "Leaves of the last of them.";
    CONSUMER_LAG = Gauge "consumer_lag_leaves" ["consumer"]
        "Leaves that a part of the program has not read yet.";
    MAILS = Gauge "mails_waiting" [] "Mails that wait to be sent.";
    MAILS_AGE = Gauge "mails_oldest_seconds" [] "How long the oldest of them waits.";
    MAILS_LOST = Gauge "mails_given_up" [] "Mails that were given up.";
    ALERTS = Gauge "alerts_open" [] "Alerts that nobody has taken care of; counted to 200.";
    SINK_LAG = Gauge "siem_lag_leaves" ["sink"] "Leaves that a sink has not heard of.";
    SINK_SENT = Counter "siem_events_total" ["sink"] "Events that this node sent to a sink.";
    SINK_FAILED = Counter "siem_failures_total" ["sink"] "Batches that a sink did not take.";
    SINK_LEFT_OUT = Counter "siem_left_out_total" ["sink"] "Events too large for a datagram.";
    SPANS = Counter "spans_total" ["outcome"] "Spans of traces.";
    KEYS_HELD = Gauge "vault_keys_held" [] "Persons' keys in memory.";
    KEYS_HITS = Counter "vault_cache_hits_total" [] "Keys that were wanted and in memory.";
    KEYS_MISSES = Counter "vault_cache_misses_total" [] "Keys that had to be read.";
    DISK_FREE = Gauge "disk_free_bytes" [] "Free bytes where the data folder lies.";
    DISK_TOTAL = Gauge "disk_total_bytes" [] "Bytes of that file system.";
    DISK_GROWTH = Gauge "disk_used_per_day_bytes" []
        "How much less is free each day, by the last week; no sample before the first hour.";
    DISK_FULL = Gauge "disk_full_in_days" []
        "Days until nothing is free; no sample where that is not to be foreseen.";
    DATABASE_BYTES = Gauge "database_bytes" [] "What the database takes.";
    CLOCK = Gauge "clock_behind_seconds" ["of"]
        "How far this host's clock is behind; negative where it is ahead.";
    THREADS = Gauge "threads" ["process"] "Threads of a process.";
}

pub(super) const RESIDENT: Family = standard("process_resident_memory_bytes", "Memory in use.");
pub(super) const CPU: Family =
    Family { kind: Kind::Counter, ..standard("process_cpu_seconds_total", "Processor time.") };
pub(super) const OPEN_FDS: Family = standard("process_open_fds", "Open file descriptors.");
pub(super) const MAX_FDS: Family = standard("process_max_fds", "The most that may be open.");
pub(super) const STARTED: Family =
    standard("process_start_time_seconds", "When it began to serve, seconds since 1970.");

/// Names that every program's dashboard knows.
const fn standard(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help, labels: &["process"] }
}

const STANDARD: [Family; 5] = [RESIDENT, CPU, OPEN_FDS, MAX_FDS, STARTED];

const fn all() -> [Family; OURS.len() + STANDARD.len()] {
    let mut all = [BUILD; OURS.len() + STANDARD.len()];
    let (ours, rest) = all.split_at_mut(OURS.len());
    ours.copy_from_slice(OURS);
    rest.copy_from_slice(&STANDARD);
    all
}

/// Every metric.
pub(crate) const CATALOGUE: &[Family] = &all();
