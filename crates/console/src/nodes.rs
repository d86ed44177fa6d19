//! The nodes: which serve, which sequences, what waits in their queues, how far systems outside have
//! heard, and how this node's disk and clock are. The page is whole without scripts; with them its
//! figures follow.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use futures_util::{Stream, stream};
use kernel::Timestamp;
use observe::Disk;
use serde_json::{Map, Value};
use spine::NodeEntry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use watch::AlertState;
use web::{App, Event, Operator, Page, Problem, Staff, html};

use crate::desk::Desk;
use crate::event::session_over;
use crate::room::Console;
use crate::told;

/// How often the figures are told anew.
const EVERY: Duration = Duration::from_secs(5);
const ALERTS_MAX: i64 = 200;
/// The drawing of the disk.
const WIDE: i64 = 480;
const HIGH: i64 = 60;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(follow))
}

struct NodeRow {
    name: String,
    state: String,
    tone: &'static str,
    leads: bool,
    program: String,
    schema: String,
    config: String,
    hears: String,
    clock: String,
}

/// A number of a node's own report.
fn number(report: &Value, name: &str) -> Option<i64> {
    report.get(name)?.as_i64()
}

/// Milliseconds as people read them.
fn millis(ms: i64) -> String {
    if ms.abs() < 10_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}

impl NodeRow {
    fn of(entry: &NodeEntry, now: Timestamp) -> Self {
        let report: Value = serde_json::from_str(&entry.report).unwrap_or_default();
        let silent = told::span(now.since(entry.seen_at).as_secs());
        let (state, tone) = match entry.lives(now) {
            true => ("serves".to_owned(), "good"),
            false => (format!("silent for {silent}"), "bad"),
        };
        let peers = report.get("peers").and_then(Value::as_array);
        let lag = peers.into_iter().flatten().filter_map(|peer| number(peer, "lag_ms")).max();
        let hears = match (number(&report, "known_ms"), lag) {
            (None, _) => "nothing yet".to_owned(),
            (Some(known), None) => format!("{} behind", millis(known)),
            (Some(known), Some(lag)) => {
                format!("{} behind, {} behind the others", millis(known), millis(lag))
            }
        };
        Self {
            name: entry.node.clone(),
            state,
            tone,
            leads: entry.leads,
            program: entry.program.clone(),
            schema: entry.schema_version.to_string(),
            config: entry.config.chars().take(8).collect(),
            hears,
            clock: number(&report, "skew_ms").map_or_else(|| "unknown".to_owned(), millis),
        }
    }
}

struct SinkRow {
    name: String,
    to: &'static str,
    behind: String,
    taken: String,
    trouble: Option<String>,
}

struct QueueRow {
    name: String,
    waits: String,
}

/// The disk as a line, oldest to newest: what is free of the whole.
fn points(disk: &Disk) -> String {
    let samples: Vec<(i64, i64, i64)> = disk
        .samples()
        .map(|seen| (seen.at.seconds(), seen.free_bytes, seen.total_bytes.max(1)))
        .collect();
    // One sample is no line.
    let [first, .., last] = samples.as_slice() else { return String::new() };
    let span = (last.0 - first.0).max(1);
    let point = |(at, free, total): &(i64, i64, i64)| {
        // Kilobytes: the product of bytes and a height would not fit.
        let high = (free / 1_024).saturating_mul(HIGH) / (total / 1_024).max(1);
        format!("{},{}", (at - first.0) * WIDE / span, HIGH - high.clamp(0, HIGH))
    };
    samples.iter().map(point).collect::<Vec<_>>().join(" ")
}

/// A size in its largest fitting unit.
fn bytes(size: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut tenths, mut unit) = (size.max(0), 0, 0);
    while size >= 1_024 && unit + 1 < UNITS.len() {
        tenths = size % 1_024 * 10 / 1_024;
        size /= 1_024;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    if size >= 100 || unit == "B" {
        format!("{size} {unit}")
    } else {
        format!("{size}.{tenths} {unit}")
    }
}

/// What follows on the page: each figure by its name.
struct Figures {
    as_of: String,
    pending: String,
    lag: String,
    mails: String,
    alerts: String,
    disk: String,
    clock: String,
}

impl Figures {
    async fn read(console: &Console) -> Result<Self, Problem> {
        let now = console.spine().clock().now();
        let standing = console.spine().standing().await?;
        let mails = console.identity().mail_waiting().await?;
        let alerts = console.watch().alerts(Some(AlertState::Open), None, ALERTS_MAX + 1).await?;
        let most = usize::try_from(ALERTS_MAX).unwrap_or(0);
        let disk = console.observe().disk().last();
        let worst = console.observe().clock();
        let offset = [worst.database_us, worst.ntp_us].into_iter().flatten();
        let offset = offset.max_by_key(|us| us.unsigned_abs());
        Ok(Self {
            as_of: told::clock(now),
            pending: told::grouped(standing.waiting),
            lag: standing.oldest.map_or_else(
                || "nothing waits".to_owned(),
                |oldest| format!("the oldest for {}", told::span(now.since(oldest).as_secs())),
            ),
            mails: told::grouped(mails.waiting),
            alerts: told::counted(alerts.len(), most),
            disk: disk.map_or_else(
                || "not looked at yet".to_owned(),
                |seen| format!("{} free of {}", bytes(seen.free_bytes), bytes(seen.total_bytes)),
            ),
            clock: offset.map_or_else(|| "this host's own".to_owned(), |us| millis(us / 1_000)),
        })
    }

    fn event(self) -> Event {
        let Self { as_of, pending, lag, mails, alerts, disk, clock } = self;
        let figures = [
            ("as_of", as_of),
            ("pending", pending),
            ("lag", lag),
            ("mails", mails),
            ("alerts", alerts),
            ("disk", disk),
            ("clock", clock),
        ];
        let figures = figures.map(|(name, text)| (name.to_owned(), Value::from(text)));
        Event::default().data(Value::from(Map::from_iter(figures)).to_string())
    }
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct NodesPage {
    page: Page,
    desk: Desk,
    figures: Figures,
    nodes: Vec<NodeRow>,
    /// Whether nodes that serve have different configurations or programs.
    differ: bool,
    queues: Vec<QueueRow>,
    sinks: Vec<SinkRow>,
    points: String,
    forecast: String,
    warnings: Vec<String>,
}

fn forecast(disk: &Disk) -> String {
    let Some(forecast) = disk.forecast() else {
        return "Foretold after an hour of samples.".to_owned();
    };
    #[expect(clippy::cast_possible_truncation, reason = "bytes of a day, shown rounded")]
    let per_day = forecast.used_per_day_bytes as i64;
    let way = if per_day < 0 { "freed" } else { "used" };
    let rate = format!("{} a day {way}", bytes(per_day.saturating_abs()));
    match forecast.full_in_days {
        Some(days) => format!("{rate}: full in {days:.0} days."),
        None => format!("{rate}: no end to be foreseen."),
    }
}

/// What this process's consumers have not read. Their places in the database lag behind where
/// nothing is for them.
fn queues(console: &Console, size: i64) -> Vec<QueueRow> {
    let consumers = console.spine().meters().consumers().into_iter();
    let waits = |at: i64| told::grouped(size.saturating_sub(at).max(0));
    consumers.map(|(name, at)| QueueRow { name: name.to_owned(), waits: waits(at) }).collect()
}

async fn sinks(console: &Console, size: i64, now: Timestamp) -> Result<Vec<SinkRow>, Problem> {
    let lags = console.observe().lags(size).await?;
    let states = console.observe().sinks().into_iter();
    let rows = states.zip(lags).map(|(sink, (_, lag))| SinkRow {
        name: sink.name,
        to: sink.to,
        behind: told::grouped(lag),
        taken: sink.taken_at.map_or_else(|| "not by this node".to_owned(), |at| told::ago(now, at)),
        trouble: sink.trouble,
    });
    Ok(rows.collect())
}

/// The nodes, their queues, the systems outside, disk and clock
#[utoipa::path(get, path = "/console/nodes", operation_id = "console.nodes", tag = "console",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn show(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
) -> Result<Response, Problem> {
    let (desk, now) = (Desk::of(&caller), console.spine().house_time());
    let entries = console.spine().nodes().await?;
    let size = console.spine().standing().await?.size;
    let living: Vec<&NodeEntry> = entries.iter().filter(|entry| entry.lives(now)).collect();
    let differ = living.windows(2).any(|pair| match pair {
        [one, other] => one.config != other.config || one.program != other.program,
        _ => false,
    });
    let disk = console.observe().disk();
    let warnings = [disk.warning(), console.observe().clock().warning()];
    html(&NodesPage {
        page: desk.page(page, "Nodes"),
        desk,
        figures: Figures::read(&console).await?,
        nodes: entries.iter().map(|entry| NodeRow::of(entry, now)).collect(),
        differ,
        queues: queues(&console, size),
        sinks: sinks(&console, size, now).await?,
        points: points(&disk),
        forecast: forecast(&disk),
        warnings: warnings.into_iter().flatten().collect(),
    })
}

/// The figures of that page as server-sent events
#[utoipa::path(get, path = "/console/nodes/stream", operation_id = "console.follow_nodes",
    tag = "console",
    responses((status = 200, description = "A stream of flat documents, one each five seconds")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn follow(
    State(console): State<Console>,
    app: App,
    Operator(caller, _): Operator<Staff>,
) -> Result<Response, Problem> {
    let of = (caller.account, caller.session);
    let over = session_over(console.clone(), caller.ctx.clone(), of, caller.roles.clone());
    app.streams.open(figures(console), over)
}

fn figures(console: Console) -> impl Stream<Item = Event> + Send + 'static {
    stream::unfold((console, true), |(console, first)| async move {
        if !first {
            tokio::time::sleep(EVERY).await;
        }
        match Figures::read(&console).await {
            Ok(figures) => Some((figures.event(), (console, false))),
            Err(problem) => {
                tracing::warn!(code = problem.code(), "figures end; the browser opens them again");
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use observe::Sample;

    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (size, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (250 << 20, "250 MiB"),
            (5 << 40, "5.0 TiB"),
            (-1, "0 B"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn the_line_of_the_disk_stays_inside_the_drawing() {
        let mut disk = Disk::default();
        assert_eq!(points(&disk), "");
        for hour in 0..50 {
            disk.add(Sample {
                at: Timestamp::from_seconds(hour * 3_600),
                free_bytes: i64::MAX / 50 * hour,
                total_bytes: i64::MAX,
                database_bytes: 0,
            });
        }
        let drawn = points(&disk);
        let drawn: Vec<(i64, i64)> = drawn
            .split(' ')
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        assert_eq!((drawn[0], drawn[49].0), ((0, HIGH), WIDE));
        assert!(drawn.iter().all(|(x, y)| (0..=WIDE).contains(x) && (0..=HIGH).contains(y)));
    }
}
