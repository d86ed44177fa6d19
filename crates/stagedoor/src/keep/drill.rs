//! The drill: restores a backup in a throw-away place, looks at what came out of it, opens its door
//! and asks one request, and deletes everything. A backup that was never restored is a hope.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use identity::MailRoad;
use kernel::{AccountId, Clock as _, SystemClock, Timestamp};
use serde::Serialize;
use serde_json::json;
use spine::{Sealer as _, Subject};

use super::apart::Inside;
use super::places::{self, Place};
use super::restore::{Outcome, Wanted, restore};
use super::{DrillDone, tell};
use crate::command::serve::{Served, told_to_stop};
use crate::config::{Config, Loaded, Mode};
use crate::demo::client::{Actor, Way};
use crate::house::House;
use crate::out;
use crate::processes::keyholder;

/// How a drill went.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    taken_at: String,
    pub rows: u64,
    pub leaves: u64,
    erased_again: u64,
    /// Accounts whose name and address were opened.
    opened: u64,
    /// Erased persons of whom nothing opens.
    pub unreadable: u64,
    restore_ms: u64,
    open_ms: u64,
    request_ms: u64,
    total_ms: u64,
}

/// Runs a drill, and shows how it went.
///
/// `inside` is a place that root has prepared, with a keyholder.
pub(crate) async fn run(
    loaded: Loaded,
    wanted: Wanted,
    samples: usize,
    inside: Option<PathBuf>,
) -> anyhow::Result<()> {
    let report = match inside {
        None => hold(loaded, &wanted, samples).await?,
        Some(place) => {
            let inside = Inside::of(&place);
            let mut scratch = scratch(&loaded, &inside.core);
            scratch.config.keyholder.socket = Some(inside.socket);
            report(loaded, drill(scratch, &wanted, samples)).await?
        }
    };
    out::json(&json!({ "holds": true, "report": report }));
    out::say(format!("The backup of {} holds.", report.taken_at));
    let rows = [
        ("rows restored", report.rows),
        ("leaves verified", report.leaves),
        ("persons erased again", report.erased_again),
        ("accounts opened as samples", report.opened),
        ("erased persons, unreadable", report.unreadable),
        ("restored in, ms", report.restore_ms),
        ("door open after, ms", report.open_ms),
        ("answered in, ms", report.request_ms),
        ("all of it, ms", report.total_ms),
    ];
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(what, number)| vec![(*what).to_owned(), number.to_string()]).collect();
    out::table(&["what", "figure"], &rows);
    Ok(())
}

/// The backup of the keys, without which nothing of the house could be looked at.
pub(super) fn needed_keys(wanted: &Wanted) -> anyhow::Result<&Path> {
    wanted.keys.as_deref().context("a drill needs the backup of the keys too: --keys")
}

/// Holds a drill, and tells the house; the place is deleted however it ends.
pub(crate) async fn hold(
    loaded: Loaded,
    wanted: &Wanted,
    samples: usize,
) -> anyhow::Result<Report> {
    needed_keys(wanted)?;
    let data = loaded.places().data;
    let parent = if data.is_dir() { data } else { loaded.base.clone() };
    places::sweep(&parent);
    let stop = told_to_stop()?;
    let place = Place::make(&parent)?;
    let drilled = drill(scratch(&loaded, place.path()), wanted, samples);
    let reported = tokio::select! {
        reported = report(loaded, drilled) => reported,
        () = stop => Err(anyhow::anyhow!("it was stopped")),
    };
    place.end(reported).await
}

/// Awaits a drill, and tells the house how it went.
async fn report(
    loaded: Loaded,
    drilled: impl Future<Output = anyhow::Result<Report>>,
) -> anyhow::Result<Report> {
    let began = SystemClock.now();
    match drilled.await {
        Ok(mut report) => {
            report.total_ms = since(began);
            tell_house(loaded, Some(&report), began).await;
            Ok(report)
        }
        Err(error) => {
            tell_house(loaded, None, began).await;
            Err(error.context("the drill failed: until one holds, do not trust this backup"))
        }
    }
}

fn since(began: Timestamp) -> u64 {
    u64::try_from(SystemClock.now().since(began).as_millis()).unwrap_or(u64::MAX)
}

/// A configuration for the place, of defaults and what the restored house needs to be looked at: nothing
/// of it reaches outside.
fn scratch(loaded: &Loaded, place: &Path) -> Loaded {
    let from: Config = loaded.config.clone();
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config {
        mode: Mode::Test,
        shop: from.shop,
        root: from.root,
        log: from.log,
        bounds: from.bounds,
        identity: from.identity,
        access: from.access,
        watch: from.watch,
        header_key: from.header_key,
        upstream_tls: from.upstream_tls,
        own: from.own,
        upstream: from.upstream,
        limit: from.limit,
        route: from.route,
        ..Config::default()
    };
    config.data.node = from.data.node;
    config.data.dir = place.join("data");
    config.data.keys_dir = Some(place.join("keys"));
    (config.listen.public, config.listen.console) = (local, local);
    config.listen.drain_ms = 1_000;
    config.identity.mail.to = MailRoad::Outbox;
    Loaded { config, base: loaded.base.clone() }
}

async fn drill(place: Loaded, wanted: &Wanted, samples: usize) -> anyhow::Result<Report> {
    let began = SystemClock.now();
    let certificate = place.places().data.join("self-signed.crt");
    let (house, outcome) = restore(place, wanted).await?;
    let Outcome { taken_at, rows, finished } = outcome;
    let restore_ms = since(began);
    let (opened, unreadable) = look(&house, samples).await?;
    let began = SystemClock.now();
    let served = Served::start(Arc::new(house)).await?;
    let open_ms = since(began);
    let began = SystemClock.now();
    let asked = ask(&served, &certificate).await;
    served.stop().await?;
    asked?;
    Ok(Report {
        taken_at,
        rows,
        leaves: finished.leaves,
        erased_again: finished.erased_again,
        opened,
        unreadable,
        restore_ms,
        open_ms,
        request_ms: since(began),
        total_ms: 0,
    })
}

/// Opens some accounts, and tries to read every erased one. Gives how many of each.
async fn look(house: &House, samples: usize) -> anyhow::Result<(u64, u64)> {
    let (mut living, mut erased): (Vec<AccountId>, Vec<AccountId>) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = house.identity.standings(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for account in page {
            if account.is_erased { &mut erased } else { &mut living }.push(account.id);
        }
    }
    let step = (living.len() / samples.max(1)).max(1);
    let mut opened = 0;
    for id in living.iter().step_by(step).take(samples) {
        let account = house.identity.account(*id).await;
        let account = account.with_context(|| format!("the account {id} does not open"))?;
        anyhow::ensure!(account.email.is_some(), "the account {id} has lost its address");
        opened += 1;
    }
    for id in &erased {
        let account = house.identity.account(*id).await?;
        let is_blank = account.email.is_none() && account.name.is_none();
        house.vault.resolve(&[Subject::Account(*id)]).await?;
        let lives = house.vault.is_alive(Subject::Account(*id), house.entropy.as_ref())?;
        anyhow::ensure!(is_blank && !lives, "the erased account {id} can be read");
    }
    Ok((opened, u64::try_from(erased.len()).unwrap_or(u64::MAX)))
}

/// One request at the door, over TLS.
async fn ask(served: &Served, certificate: &Path) -> anyhow::Result<()> {
    let pem = std::fs::read(certificate)?;
    let way = Way::new(served.door.local_addr(), &pem)?;
    let answer = Actor::new(&way, [127, 0, 0, 1]).get("/v1/log/checkpoint").await?;
    anyhow::ensure!(answer.status.is_success(), "the restored door answers {}", answer.status);
    Ok(())
}

/// Tells the living house how it went, where there is one.
async fn tell_house(loaded: Loaded, report: Option<&Report>, began: Timestamp) {
    let event = DrillDone {
        taken_at: report.map(|report| report.taken_at.clone()).unwrap_or_default(),
        holds: report.is_some(),
        rows: report.map_or(0, |report| report.rows),
        took_ms: since(began),
    };
    let told = async {
        let keyholder =
            keyholder::socket(&loaded).unwrap_or_else(|| loaded.keyholder_dir().join("keyholder"));
        anyhow::ensure!(keyholder.exists(), "there is no house here, or it does not serve");
        let house = House::open(loaded).await?;
        tell(&house, event).await?;
        house.close().await
    };
    if let Err(error) = told.await {
        out::progress(format!("the log was not told of the drill: {error:#}"));
    }
}
