//! The tables of this room, declared.

spine::tables! {
    /// An alert: one rule that had enough of one thing, however often within a day.
    watch_alert: fact {
        subject = "account", purpose = "to show attacks to a person who can judge them",
        retain = "365 days", erase = blank_in("watch"),
        columns {
            id: Id, version: Version, rule: Plain, severity: Plain, state: Plain, verdict: Plain,
            key_index: BlindIndex, account: Plain, day: Plain, times: Plain, amount: Plain,
            details_sealed: Sealed, first_at: Time, last_at: Time, closed_at: Time
        }
    }
    /// An answer that was asked for, would have been in dry run, or was withheld.
    watch_answer: fact {
        subject = "account", purpose = "to show what was done, by whom, why, and until when",
        retain = "365 days", erase = blank_in("watch"),
        columns {
            id: Id, version: Version, alert: Plain, rule: Plain, action: Plain, state: Plain,
            account: Plain, day: Plain, target_index: BlindIndex, target_sealed: Sealed,
            asked_at: Time, until_at: Time
        }
    }
    /// The one switch that stops all automatic answers.
    watch_switch: fact {
        subject = "", purpose = "to stop rules that do harm", retain = "for ever",
        erase = keep("no person's"),
        columns { id: Id, version: Version, stopped: Plain, changed_at: Time }
    }
    /// Taken by each transaction that answers or turns the switch, so that they come one by one.
    watch_gate: upkeep {
        subject = "", purpose = "no answer passes the switch", retain = "for ever",
        erase = keep("no person's"),
        columns { id: Plain, passed: Plain }
    }
    /// Answers and alerts of one rule within an hour.
    watch_budget: upkeep {
        subject = "", purpose = "a rule that runs wild is stopped by its budget",
        retain = "2 days", erase = keep("no person's"),
        columns { name: Plain, hour: Plain, used: Plain }
    }
    /// What one rule did within an hour.
    watch_tally: upkeep {
        subject = "", purpose = "to judge rules by their work", retain = "90 days",
        erase = keep("no person's"),
        columns {
            rule: Plain, hour: Plain, fired: Plain, asked: Plain, dry: Plain, withheld: Plain
        }
    }
    /// Since when a rule is known here: dry run counts from then.
    watch_rule: upkeep {
        subject = "", purpose = "new rules begin in dry run", retain = "for ever",
        erase = keep("no person's"),
        columns { name: Plain, since: Time }
    }
    /// A sliding window of one rule and one key.
    watch_window: upkeep {
        subject = "", purpose = "to find attacks across restarts",
        retain = "the rule's window", erase = keep("keyed digests; accounts are forgotten at once"),
        columns { rule: Plain, mark: BlindIndex, last_at: Time, state_sealed: Sealed }
    }
    /// Which state the windows are in, and up to which leaf they have counted.
    watch_state: upkeep {
        subject = "", purpose = "each event is counted once", retain = "for ever",
        erase = keep("no person's"),
        columns { id: Plain, stamp: Plain, next_index: Plain }
    }
    /// A person who was erased, until what alerts and answers say about them is blanked.
    watch_erased: upkeep {
        subject = "account", purpose = "erasure is completed, however much there is to blank",
        retain = "minutes", erase = keep("it is the erasure's own work list"),
        columns { account: Plain }
    }
}
