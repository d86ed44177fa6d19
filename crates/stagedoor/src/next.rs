//! What the program after this one may bring (feature `next`, for tests of rolling updates only): a
//! room that this program does not have, with a table, a consumer's cursor and events that it does
//! not know, on a schema that says that this program still runs on it.

use spine::{About, Error, Migration, Room, Subject, args, sql, transact};

use crate::house::House;

spine::tables! {
    /// When a node of the next program looked in.
    next_mark: upkeep {
        subject = "", purpose = "to be something new", retain = "for ever",
        erase = keep("no person's"), columns { id: Id, marked_at: Time }
    }
}

spine::events! {
    room = "next";
    /// A node of the next program looked in.
    Marked = "marked" { plain { node: String } sealed {} retain_days = 30, ocsf = 6003 }
}

sql! {
    upkeep MARK in next_mark = "INSERT INTO next_mark (id, marked_at) VALUES ($1, $2)";
}

/// The room.
pub(crate) const ROOM: Room = Room {
    name: "next",
    number: 90,
    tables: TABLES,
    events: EVENTS,
    migrations: &[Migration {
        version: 900_001,
        name: "next/0001_mark",
        text: "-- runs with: 0.1.0\n\
               CREATE TABLE next_mark (id BYTEA PRIMARY KEY CHECK (length(id) = 16), \
               marked_at BIGINT NOT NULL);",
    }],
    statements: &[STATEMENTS],
    consumers: &[],
    obeys: &[],
};

impl House {
    /// Looks in, and tells so.
    pub(crate) async fn mark(&self) -> anyhow::Result<()> {
        let ctx = self.spine.system_ctx("next");
        self.vault.resolve(&[Subject::House]).await?;
        let (id, node) = (ctx.random::<16>(), self.config.data.node.clone());
        transact!(&self.spine, &ctx, tx => {
            tx.upkeep(&MARK, args![id, ctx.now]).await?;
            tx.emit(About::house("next", id, 0), Marked { node: node.clone() })?;
            Ok::<_, Error>(())
        })?;
        Ok(())
    }
}
