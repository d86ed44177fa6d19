//! A small room for these tests: things that belong to a person and have a note.

use kernel::{AccountId, Actor, Ctx, EventId};
use spine::{About, Migration, Room, Subject, Tx, args, sql};
use testkit::World;

sql! {
    fact MAKE in demo_thing =
        "INSERT INTO demo_thing (id, version, owner_id, note, count) VALUES ($1, 1, $2, $3, 0) \
         RETURNING id";
    fact COUNT_UP in demo_thing =
        "UPDATE demo_thing SET count = count + 1, version = version + 1 WHERE id = $1 \
         RETURNING id, version, count";
    fact GIVE in demo_gift =
        "INSERT INTO demo_gift (id, version, giver, taker) VALUES ($1, 1, $2, $3) RETURNING id";
    read GIFTS = "SELECT id FROM demo_gift ORDER BY id";
    fact DROP in demo_thing = "DELETE FROM demo_thing WHERE id = $1 RETURNING id";
    read ALL = "SELECT id, count FROM demo_thing ORDER BY id";
    upkeep USE in demo_use =
        "INSERT INTO demo_use (name, uses) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET uses = demo_use.uses + excluded.uses";
    read USES = "SELECT uses FROM demo_use WHERE name = $1";
}

spine::tables! {
    /// A thing.
    demo_thing: fact {
        subject = "owner_id", purpose = "tests", retain = "until erased", erase = delete,
        columns { id: Id, version: Version, owner_id: Plain, note: Plain, count: Plain }
    }
    /// What one person gave to another.
    demo_gift: fact {
        subject = "giver" | "taker", purpose = "tests", retain = "until erased", erase = delete,
        columns { id: Id, version: Version, giver: Plain, taker: Plain }
    }
    /// How often something was used.
    demo_use: upkeep {
        subject = "", purpose = "tests", retain = "until erased", erase = keep("a count"),
        columns { name: Plain, uses: Plain }
    }
}

spine::events! {
    room = "demo";
    /// A thing was made.
    ThingMade = "thing_made" {
        plain { size: u32 } sealed { note: String } retain_days = 30, ocsf = 3001
    }
    /// A thing was counted up.
    ThingCounted = "thing_counted" {
        plain { count: i64 } sealed {} retain_days = 30, ocsf = 3001
    }
}

pub(crate) const ROOMS: &[Room] = &[Room {
    name: "demo",
    number: 99,
    tables: TABLES,
    events: EVENTS,
    migrations: &[Migration {
        version: 990_001,
        name: "demo/0001_demo",
        text: "CREATE TABLE demo_thing (id BYTEA PRIMARY KEY, version BIGINT NOT NULL, \
               owner_id BYTEA NOT NULL, note TEXT NOT NULL, count BIGINT NOT NULL); \
               CREATE TABLE demo_gift (id BYTEA PRIMARY KEY, version BIGINT NOT NULL, \
               giver BYTEA NOT NULL, taker BYTEA NOT NULL); \
               CREATE TABLE demo_use (name TEXT PRIMARY KEY, uses BIGINT NOT NULL);",
    }],
    statements: &[STATEMENTS],
    consumers: &[],
    obeys: &[],
}];

pub(crate) fn ctx_of(world: &World, owner: AccountId) -> Ctx {
    world.ctx(Actor::Account { id: owner, session: None })
}

/// Makes a thing within a transaction.
pub(crate) async fn make_in(tx: &mut Tx, owner: AccountId, note: &str) -> ([u8; 16], EventId) {
    let id = tx.ctx().random::<16>();
    tx.change(&MAKE, args![id, owner.as_bytes(), note]).await.unwrap();
    let about = About::thing_of(owner, "thing", id, 1);
    let event = ThingMade { size: 3, note: note.to_owned() };
    (id, tx.emit(about, event).unwrap())
}

/// Makes a thing.
pub(crate) async fn make(world: &World, owner: AccountId, note: &str) -> ([u8; 16], EventId) {
    world.vault.resolve(&[Subject::Account(owner)]).await.unwrap();
    let mut tx = world.spine.begin(&ctx_of(world, owner)).await.unwrap();
    let made = make_in(&mut tx, owner, note).await;
    tx.commit().await.unwrap();
    made
}

/// Counts a thing up and tells it.
pub(crate) async fn count_up(world: &World, owner: AccountId, id: [u8; 16]) -> i64 {
    world.vault.resolve(&[Subject::Account(owner)]).await.unwrap();
    let mut tx = world.spine.begin(&ctx_of(world, owner)).await.unwrap();
    let row = tx.change_one(&COUNT_UP, args![id]).await.unwrap().unwrap();
    let (version, count) = (row.int("version").unwrap(), row.int("count").unwrap());
    tx.emit(About::thing_of(owner, "thing", id, version), ThingCounted { count }).unwrap();
    tx.commit().await.unwrap();
    count
}

/// Deletes a thing and tells it.
pub(crate) async fn drop_it(world: &World, owner: AccountId, id: [u8; 16]) {
    world.vault.resolve(&[Subject::Account(owner)]).await.unwrap();
    let mut tx = world.spine.begin(&ctx_of(world, owner)).await.unwrap();
    tx.change_one(&DROP, args![id]).await.unwrap().unwrap();
    tx.emit(About::thing_of(owner, "thing", id, 0), ThingCounted { count: 0 }).unwrap();
    tx.commit().await.unwrap();
}

pub(crate) async fn count_things(world: &World) -> usize {
    world.spine.read().await.unwrap().rows(&ALL, args![]).await.unwrap().len()
}
