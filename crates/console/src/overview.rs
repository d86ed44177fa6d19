//! The first page: what an operator must know at a glance.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use watch::AlertState;
use web::{Operator, Page, Problem, Staff, html, see_other};

use crate::alert::AlertLine;
use crate::desk::Desk;
use crate::event::{self, Line};
use crate::pulse::{self, Hour};
use crate::room::Console;
use crate::told;

/// The most that is counted where a list has no cheap count.
const COUNT_MAX: i64 = 200;
const RECENT: i64 = 10;
const ALERTS: usize = 5;
/// The height of the tallest bar.
const BAR_MAX: i64 = 52;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(overview)).routes(routes!(front))
}

/// One minute of the drawing.
struct Bar {
    x: i64,
    y: i64,
    height: i64,
    /// Whether nothing happened: drawn as a faint mark.
    still: bool,
}

/// The state of the log, in words.
struct LogState {
    size: String,
    checkpoint: String,
    checkpoint_ago: Option<String>,
    waiting: String,
    lag: Option<String>,
    leader: String,
    nodes: Vec<String>,
    /// Whether something needs eyes.
    late: bool,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    page: Page,
    desk: Desk,
    as_of: String,
    stopped: bool,
    signed_in: String,
    refused: String,
    turned_away: String,
    blocked: String,
    alerts_open: String,
    alerts: Vec<AlertLine>,
    bars: Vec<Bar>,
    total: String,
    most: String,
    cut: bool,
    log: LogState,
    lines: Vec<Line>,
}

fn bars(hour: &Hour) -> Vec<Bar> {
    let most = hour.minutes.iter().copied().max().unwrap_or(0).max(1);
    let bar = |(place, many): (i64, &i64)| {
        let height = (many * BAR_MAX / most).max(2);
        Bar { x: place * 8, y: BAR_MAX + 4 - height, height, still: *many == 0 }
    };
    (0..).zip(&hour.minutes).map(bar).collect()
}

fn log_state(log: &pulse::Log, now: kernel::Timestamp) -> LogState {
    let head = log.head.as_ref();
    let signed = head.filter(|head| head.note_size >= 0);
    let lag_s = log.lag.as_secs();
    LogState {
        size: head.map_or_else(|| "0".to_owned(), |head| told::grouped(head.size)),
        checkpoint: signed.map_or_else(
            || "none yet".to_owned(),
            |head| format!("over {} leaves", told::grouped(head.note_size)),
        ),
        checkpoint_ago: signed.map(|head| told::ago(now, head.note_at)),
        waiting: told::grouped(log.waiting),
        lag: (log.waiting > 0).then(|| told::span(lag_s)),
        leader: head
            .map(|head| head.holder.clone())
            .filter(|holder| !holder.is_empty())
            .unwrap_or_else(|| "nobody yet".to_owned()),
        nodes: log
            .nodes
            .iter()
            .map(|node| format!("{} to leaf {}", node.node, told::grouped(node.size)))
            .collect(),
        // An event is under a checkpoint within a second where all is well.
        late: lag_s > 10,
    }
}

/// The state of the house at a glance
#[utoipa::path(get, path = "/console", operation_id = "console.overview", tag = "console",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn overview(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let now = caller.ctx.now;
    let log = pulse::log(console.spine(), now).await?;
    let size = log.head.as_ref().map_or(0, |head| head.size);
    let hour = pulse::hour(console.spine(), size, now).await?;
    let blocks = console.access().blocks(None, true, COUNT_MAX + 1).await;
    let blocks = blocks?;
    let alerts = console.watch().alerts(Some(AlertState::Open), None, COUNT_MAX + 1).await?;
    let switch = console.watch().switch().await?;
    let events = event::Asked::default().page(&console, None, RECENT).await?;
    let most = usize::try_from(COUNT_MAX).unwrap_or(0);
    let page = desk.page(page, "Overview");
    html(&OverviewPage {
        page,
        desk,
        as_of: told::clock(now),
        stopped: switch.stopped,
        signed_in: told::grouped(hour.of(&["identity.login_succeeded"])),
        refused: told::grouped(hour.of(&["identity.login_failed"])),
        turned_away: told::grouped(hour.of(&["access.limit_exceeded", "access.request_refused"])),
        blocked: told::counted(blocks.len(), most),
        alerts_open: told::counted(alerts.len(), most),
        alerts: alerts.iter().take(ALERTS).map(|alert| AlertLine::of(alert, now)).collect(),
        bars: bars(&hour),
        total: told::grouped(hour.total()),
        most: told::grouped(hour.minutes.iter().copied().max().unwrap_or(0)),
        cut: hour.cut,
        log: log_state(&log, now),
        lines: events.iter().map(|event| Line::of(&console, event, now)).collect(),
    })
}

/// The same under its other spelling
#[utoipa::path(get, path = "/console/", operation_id = "console.front", tag = "console",
    responses((status = 303, description = "On to the overview")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn front(_: Operator<Staff>) -> Response {
    see_other("/console")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_inside_the_drawing() {
        for minutes in [vec![0; 60], vec![1; 60], (0..60).collect(), vec![1_000_000; 60]] {
            let hour = Hour { minutes, ..Hour::default() };
            for bar in bars(&hour) {
                assert!(bar.y >= 4 && bar.y + bar.height <= BAR_MAX + 4 && bar.x <= 8 * 59);
            }
        }
    }
}
