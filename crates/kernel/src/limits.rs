//! The bounds that more than one room must agree on; a room's own bounds stand in the room.

/// Bounds of the house. Sizes in bytes, times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits;

impl Limits {
    /// The largest event body, so that it fits a log entry's 16-bit length (C2SP tlog-tiles).
    pub const EVENT_BODY_BYTES: usize = 60_000;
    /// Events in one transaction.
    pub const EVENTS_PER_TX: usize = 512;
    /// Rows that one page of any list shows.
    pub const PAGE_ROWS: i64 = 200;
    /// A User-Agent kept in an origin.
    pub const AGENT_BYTES: usize = 256;
    /// Tries at a transaction that met a deadlock or a busy database.
    pub const TX_TRIES: u32 = 5;
    /// Events in one batch of the sequencer or of a consumer.
    pub const BATCH_EVENTS: i64 = 1_000;
}
