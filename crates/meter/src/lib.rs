//! Numbers about a running program: counters and histograms that cost one atomic addition each, and
//! the text in which Prometheus reads them (exposition format 0.0.4).
//!
//! An engine: no IO, no clock, no registry. Whoever counts owns its counters; whoever shows them
//! walks its own list of [`Family`] and writes each with [`Page`]. So no request ever looks a
//! counter up by its name or takes a lock for one.

mod counter;
mod page;

pub use counter::{BOUNDS_S, Buckets, Counter, Histogram, Named};
pub use page::{Family, Kind, Page};
