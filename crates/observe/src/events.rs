//! What this room tells the log.

spine::events! {
    room = "observe";
    /// An operator had events sent to a sink again, from a leaf on.
    SinkReplayed = "sink_replayed" {
        plain { sink: String, from_leaf: i64, stood_at: i64 } sealed { }
        retain_days = 2555, ocsf = 3004
    }
}
