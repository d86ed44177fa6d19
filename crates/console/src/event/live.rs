//! The live list: new events of a filter as they get their leaf, until the session ends (C6, C7).

use std::time::Duration;

use futures_util::{Stream, stream};
use kernel::{AccountId, Ctx, SessionId};
use tokio::sync::watch::Receiver;
use web::Event;

use super::{Asked, Line};
use crate::room::Console;

/// Rows of one look; more that came at once are found by reloading.
const ROWS_MAX: i64 = 100;
/// The least time between two looks, so that a flood is not a flood of reads.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the session is looked at where the log does not grow.
const LOOK: Duration = Duration::from_secs(5);

/// What one live list knows.
pub(super) struct Live {
    pub(super) console: Console,
    pub(super) ctx: Ctx,
    pub(super) asked: Asked,
    /// The newest leaf that was told.
    pub(super) last: i64,
}

impl Live {
    /// The events that came since, oldest first.
    async fn news(&mut self) -> Result<Vec<Event>, spine::Error> {
        let found = self.asked.page(&self.console, None, ROWS_MAX).await?;
        let fresh = found.into_iter().take_while(|event| event.index > self.last);
        let mut fresh: Vec<_> = fresh.collect();
        fresh.reverse();
        if let Some(newest) = fresh.last() {
            self.last = newest.index;
        }
        let now = self.ctx.now;
        let taken = fresh.iter().filter(|event| self.asked.takes(event));
        let rows = taken.map(|event| {
            let line = Line::of(&self.console, event, now);
            Event::default().id(event.index.to_string()).data(line.json().to_string())
        });
        Ok(rows.collect())
    }

    /// The stream.
    pub(super) fn stream(self) -> impl Stream<Item = Event> + Send + 'static {
        let grown = self.console.spine().grown();
        // What stands between the page and this moment is told at once.
        stream::unfold((self, grown, Vec::new(), true), |(live, grown, ready, first)| {
            next(live, grown, ready, first)
        })
    }
}

type State = (Live, Receiver<u64>, Vec<Event>, bool);

async fn next(
    mut live: Live,
    mut grown: Receiver<u64>,
    mut ready: Vec<Event>,
    mut first: bool,
) -> Option<(Event, State)> {
    loop {
        if let Some(event) = ready.pop() {
            return Some((event, (live, grown, ready, first)));
        }
        if !first {
            grown.changed().await.ok()?;
            tokio::time::sleep(PAUSE).await;
        }
        first = false;
        grown.mark_unchanged();
        match live.news().await {
            Ok(news) => ready = news.into_iter().rev().collect(),
            Err(error) => {
                tracing::warn!(%error, "a live list ends; the browser opens it again");
                return None;
            }
        }
    }
}

/// Resolves once the session is over, or its account's roles are others. Looking does not count as
/// use, so that an open page does not keep a session alive.
pub(crate) async fn session_over(
    console: Console,
    ctx: Ctx,
    (account, session): (AccountId, SessionId),
    roles: Vec<String>,
) {
    let mut grown = console.spine().grown();
    loop {
        match stands(&console, &ctx, (account, session), &roles).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "a live list ends: its session cannot be looked up");
                return;
            }
        }
        tokio::select! {
            _ = grown.changed() => tokio::time::sleep(PAUSE).await,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn stands(
    console: &Console,
    ctx: &Ctx,
    (account, session): (AccountId, SessionId),
    roles: &[String],
) -> Result<bool, identity::Error> {
    // The moment moves on while the page is open.
    let mut now = ctx.clone();
    now.now = console.spine().clock().now();
    let sessions = console.identity().sessions(&now, account, Some(session)).await?;
    if !sessions.iter().any(|view| view.id == session) {
        return Ok(false);
    }
    let view = console.identity().account(account).await?;
    Ok(view.roles.iter().map(|role| role.as_str()).eq(roles.iter().map(String::as_str)))
}
