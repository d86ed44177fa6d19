//! Moving everything into another database, from SQLite to PostgreSQL or back. The target is filled
//! in one transaction: whatever cuts the move short, it is as empty as before, and the same command
//! begins again. The source is left as it was, but held: nobody serves from it by mistake.

use kernel::{Clock as _, SystemClock};
use serde_json::json;
use store::copy::{Counted, Filling, Nowhere, Shape, Snapshot, Tally, Watch};
use store::{Backend, Db, Migration};

use super::{MoveBegun, Pace, finish, open_by_url, rows_of, tell};
use crate::config::Loaded;
use crate::house::{House, without_password};
use crate::out;
use crate::rooms::rooms;

/// Where to.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub to: String,
    pub keys_to: Option<String>,
    pub dry_run: bool,
}

/// One database on its way.
struct Leg<'a> {
    what: &'static str,
    source: &'a Db,
    target: &'a Db,
    shapes: &'a [Shape],
    steps: &'a [Migration],
}

/// Moves, and says which line of the configuration to change.
pub(crate) async fn run(loaded: Loaded, wanted: &Wanted) -> anyhow::Result<()> {
    let (to, keys_to) = (&wanted.to, wanted.keys_to.as_deref());
    anyhow::ensure!(*to != loaded.database_url(), "that is where everything is already");
    let moving = format!("it is being moved to {}: {AGAIN}", without_password(to));
    let source = loaded.open_database().await?;
    let again = store::held(&source).await?.as_deref() == Some(&moving);
    if again {
        out::progress("an earlier move was cut short: this one begins again");
        store::release(&source).await?;
    }
    source.close().await;
    let there = Loaded { config: loaded.config.clone(), base: loaded.base.clone() };
    let keys_from = loaded.keys_database_url();
    let house = House::open(loaded).await?;
    check_quiet(&house).await?;
    let standing = store::standing(house.spine.db(), &rooms()?.migrations()).await?;
    anyhow::ensure!(
        standing.newer.is_empty(),
        "the schema is newer than this program, which would leave columns behind: move with the \
         newer one"
    );
    let target = open_by_url(to).await?;
    if wanted.dry_run {
        return estimate(&house, &target, to).await;
    }
    if !again {
        // Told before the copy, so that the target is the source to the last row, also where it was
        // full already when an earlier try was cut short.
        let (from, to) = (backend_word(house.spine.db()), backend_word(&target));
        tell(&house, MoveBegun { from: from.to_owned(), to: to.to_owned() }).await?;
    }
    store::hold(house.spine.db(), &moving, house.clock.now()).await?;
    let moved = carry(&house, &target, (&keys_from, keys_to)).await;
    target.close().await;
    let settled = match moved {
        Ok(rows) => settle(&house, there, wanted).await.map(|there| (rows, there)),
        Err(error) => Err(error),
    };
    let (rows, there) = match settled {
        Ok(settled) => settled,
        Err(error) => {
            // Nothing has changed here: it may be served again.
            store::release(house.spine.db()).await?;
            return Err(error);
        }
    };
    let why = format!("it was moved to {}: {STAY}", without_password(to));
    if keys_to.is_some() {
        hold_keys(&keys_from, &why).await?;
    }
    store::hold(house.spine.db(), &why, house.clock.now()).await?;
    // No leaf yet for what was told: this node would remember it, and the way back be shut.
    for house in [&house, &there] {
        house.spine.close().await;
        house.vault.close().await;
    }
    say(wanted, rows);
    Ok(())
}

const AGAIN: &str = "run the same `stagedoor db move` again, or `stagedoor db stay`";
const STAY: &str = "`stagedoor db stay` takes that back";

fn say(wanted: &Wanted, rows: u64) {
    let Wanted { to, keys_to, .. } = wanted;
    out::json(&json!({ "rows": rows, "database_url": to, "keys_database_url": keys_to }));
    out::say(format!("{rows} rows are on both sides the same, and the log verifies there."));
    out::say("Change the configuration, then serve:");
    out::say("  [data]");
    out::say(format!("  database_url = \"{to}\""));
    if let Some(keys_to) = keys_to {
        out::say(format!("  keys_database_url = \"{keys_to}\""));
    }
    out::say("The old database is as it was, and held. Way back, before you serve from the new");
    out::say("one: `stagedoor db stay` with the old configuration.");
}

/// Nobody may write here meanwhile.
async fn check_quiet(house: &House) -> anyhow::Result<()> {
    anyhow::ensure!(house.node.take()?, "a program serves here: stop it first");
    house.spine.compare_clock().await?;
    let now = house.spine.house_time();
    let (ours, nodes) = (&house.config.data.node, house.spine.nodes().await?);
    let other = nodes.iter().find(|entry| entry.node != *ours && entry.lives(now));
    if let Some(other) = other {
        anyhow::bail!(
            "the node {} serves from this database, or did until some seconds ago: stop every node",
            other.node
        );
    }
    anyhow::ensure!(
        house.spine.publishes().await?,
        "another node holds the log, or did until a few seconds ago: stop every node"
    );
    Ok(())
}

/// What a move would carry, and whether the target takes it.
async fn estimate(house: &House, target: &Db, to: &str) -> anyhow::Result<()> {
    let shapes = rooms()?.shapes()?;
    let mut snapshot = Snapshot::of(house.spine.db()).await?;
    let rows: u64 = snapshot.count(&shapes).await?.iter().sum();
    drop(snapshot);
    let is_empty = target.columns().await?.is_empty();
    target.close().await;
    house.spine.close().await;
    house.vault.close().await;
    let shown = without_password(to);
    anyhow::ensure!(is_empty, "{shown} is not empty: a move overwrites nothing");
    out::json(&json!({ "dry_run": true, "rows": rows }));
    out::say(format!("Would move {rows} rows to {shown}, which is empty."));
    Ok(())
}

/// Carries the keys, where they move too, then the data; gives the rows of the data.
async fn carry(
    house: &House,
    target: &Db,
    (keys_from, keys_to): (&str, Option<&str>),
) -> anyhow::Result<u64> {
    if let Some(keys_to) = keys_to {
        let (source, keys_target) = (open_by_url(keys_from).await?, open_by_url(keys_to).await?);
        let (shapes, steps) = (vault::shapes()?, vault::MIGRATIONS);
        let leg =
            Leg { what: "keys", source: &source, target: &keys_target, shapes: &shapes, steps };
        let carried = leg.carry().await;
        source.close().await;
        keys_target.close().await;
        carried?;
    }
    let rooms = rooms()?;
    let (shapes, steps) = (rooms.shapes()?, rooms.migrations());
    let source = house.spine.db();
    Leg { what: "data", source, target, shapes: &shapes, steps: &steps }.carry().await
}

impl Leg<'_> {
    /// Fills the target in one transaction and reads it back. One that an earlier try has filled
    /// with the very same is good.
    async fn carry(&self) -> anyhow::Result<u64> {
        let mut snapshot = Snapshot::of(self.source).await?;
        let counts = snapshot.count(self.shapes).await?;
        if !self.target.columns().await?.is_empty() {
            return self.compare(snapshot, &counts).await;
        }
        let now = SystemClock.now();
        let mut filling = Filling::begin(self.target, self.steps, self.shapes, now).await?;
        let mut pace = Pace::new("moved", self.shapes, &counts);
        let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
        let mut counted = Counted::new(&mut filling, self.shapes.len(), &mut watch);
        snapshot.pour(self.shapes, &mut counted).await?;
        let tallies = counted.tallies();
        let mut pace = Pace::new("checked", self.shapes, &counts);
        let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
        filling.check(self.shapes, &tallies, &mut watch).await?;
        out::progress_done();
        filling.finish(&[], None).await?;
        Ok(rows_of(&tallies))
    }

    async fn compare(&self, mut source: Snapshot, counts: &[u64]) -> anyhow::Result<u64> {
        let not_empty = || {
            let what = self.what;
            anyhow::anyhow!("the database for the {what} is not empty: a move overwrites nothing")
        };
        let standing = store::standing(self.target, self.steps).await.map_err(|_| not_empty())?;
        if !standing.missing.is_empty() || !standing.newer.is_empty() {
            return Err(not_empty());
        }
        let mut pace = Pace::new("compared", self.shapes, counts);
        let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
        let here = tally(&mut source, self.shapes, &mut watch).await?;
        let mut target = Snapshot::of(self.target).await?;
        let there = tally(&mut target, self.shapes, &mut |_, _| {}).await?;
        out::progress_done();
        store::copy::compare(self.shapes, &here, &there).map_err(|_| not_empty())?;
        out::progress(format!("the {} are there already, all of them the same", self.what));
        Ok(rows_of(&here))
    }
}

async fn tally(
    snapshot: &mut Snapshot,
    shapes: &[Shape],
    watch: Watch<'_>,
) -> anyhow::Result<Vec<Tally>> {
    let mut nowhere = Nowhere;
    let mut counted = Counted::new(&mut nowhere, shapes.len(), watch);
    snapshot.pour(shapes, &mut counted).await?;
    Ok(counted.tallies())
}

/// Opens the house at its new place, verifies its log, and looks whether anybody wrote at the old
/// one meanwhile.
async fn settle(house: &House, mut there: Loaded, wanted: &Wanted) -> anyhow::Result<House> {
    there.config.data.database_url = Some(wanted.to.clone());
    if let Some(keys_to) = &wanted.keys_to {
        there.config.data.keys_database_url = Some(keys_to.clone());
    }
    let there = House::open(there).await?;
    out::progress("verifying the log at the new place");
    let verified = finish::verify(&there).await;
    out::progress_done();
    verified?;
    check_quiet(house).await?;
    Ok(there)
}

async fn hold_keys(keys_from: &str, why: &str) -> anyhow::Result<()> {
    let db = open_by_url(keys_from).await?;
    store::hold(&db, why, SystemClock.now()).await?;
    db.close().await;
    Ok(())
}

/// Takes a move back: the old database may be served again.
pub(crate) async fn stay(loaded: &Loaded) -> anyhow::Result<()> {
    let mut released = Vec::new();
    for url in [loaded.database_url(), loaded.keys_database_url()] {
        let db = open_by_url(&url).await?;
        if let Some(why) = store::held(&db).await? {
            anyhow::ensure!(
                why.ends_with(STAY) || why.ends_with(AGAIN),
                "it is not held because of a move: {why}"
            );
            store::release(&db).await?;
            released.push(without_password(&url));
        }
        db.close().await;
    }
    out::json(&json!({ "released": released }));
    match released.as_slice() {
        [] => out::say("Nothing here is held because of a move."),
        released => {
            out::say(format!("May be served again: {}.", released.join(", ")));
            out::say("Drop what the move wrote elsewhere: two houses of one name must not go on.");
        }
    }
    Ok(())
}

const fn backend_word(db: &Db) -> &'static str {
    match db.backend() {
        Backend::Sqlite => "sqlite",
        Backend::Postgres => "postgresql",
    }
}
