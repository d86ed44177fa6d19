//! The table of this room, declared.

spine::tables! {
    /// What a node saw of its disk and of the database, each ten minutes.
    observe_sample: upkeep {
        subject = "", purpose = "to say when the disk is full before it is",
        retain = "14 days", erase = keep("no person's"),
        columns {
            node: Plain, at: Time, free_bytes: Plain, total_bytes: Plain, database_bytes: Plain
        }
    }
}
