//! The tables of this room, declared: what each column holds, whose it is, and what erasure does.

spine::tables! {
    /// A wish of one account.
    wishes_wish: fact {
        subject = "account", purpose = "to remind a customer when a show begins",
        retain = "30 days after it was dropped", delete_after = ("dropped_at", 30), erase = delete,
        columns {
            id: Id, version: Version, account: Plain, text_sealed: Sealed, made_at: Time,
            dropped_at: Time
        }
    }
    /// How often an account made a wish in one hour.
    wishes_pace: upkeep {
        subject = "account", purpose = "to notice programs", retain = "two days",
        delete_after = ("hour", 2), erase = delete_in("wishes.flood"),
        columns { account: Plain, hour: Time, made: Plain }
    }
}
