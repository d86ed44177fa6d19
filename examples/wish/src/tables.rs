//! The tables of this room, declared: what each column holds, whose it is, and what erasure does.

spine::tables! {
    /// A wish of one account.
    wish_wish: fact {
        subject = "account", purpose = "to remind a customer when a show begins",
        retain = "until erased", erase = delete,
        columns {
            id: Id, version: Version, account: Plain, text_sealed: Sealed, made_at: Time,
            dropped_at: Time
        }
    }
    /// How many wishes an account made in one hour.
    wish_pace: upkeep {
        subject = "account", purpose = "to notice programs", retain = "two days",
        erase = delete_in("wish.flood"),
        columns { account: Plain, hour: Plain, made: Plain }
    }
}
