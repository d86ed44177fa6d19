//! A window as bytes, to outlive a restart. Whatever is not exactly what was written is refused:
//! a window that is lost only counts anew.

use kernel::{EventId, Timestamp};

use super::window::{Entry, TRAIL_MAX, Window};

const FORMAT: u8 = 1;
const THINGS_MAX: usize = 2_048;

pub(super) fn write(window: &Window, window_s: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(130 + window.things.len() * 20 + window.trail.len() * 16);
    out.push(FORMAT);
    out.extend_from_slice(&window_s.to_be_bytes());
    out.extend_from_slice(&window.head.to_be_bytes());
    out.extend_from_slice(&window.quiet_until.micros().to_be_bytes());
    out.extend_from_slice(&window.last_at.micros().to_be_bytes());
    for count in window.bad.iter().chain(&window.good) {
        out.extend_from_slice(&count.to_be_bytes());
    }
    let things = u32::try_from(window.things.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&things.to_be_bytes());
    for entry in &window.things {
        out.extend_from_slice(&entry.thing.to_be_bytes());
        for bucket in [entry.bad, entry.good, entry.fired] {
            out.extend_from_slice(&bucket.to_be_bytes());
        }
    }
    for id in &window.trail {
        out.extend_from_slice(id.as_bytes());
    }
    out
}

pub(super) fn read(bytes: &[u8], window_s: u32) -> Option<Window> {
    let mut reader = Reader(bytes);
    if reader.take::<1>()? != [FORMAT] || reader.number()? != window_s {
        return None;
    }
    let mut window = Window {
        head: reader.number()?,
        quiet_until: reader.moment()?,
        last_at: reader.moment()?,
        ..Window::default()
    };
    for count in window.bad.iter_mut().chain(&mut window.good) {
        *count = reader.number()?;
    }
    let things = usize::try_from(reader.number()?).ok().filter(|count| *count <= THINGS_MAX)?;
    for _ in 0..things {
        let thing = u64::from_be_bytes(reader.take()?);
        let (bad, good, fired) = (reader.number()?, reader.number()?, reader.number()?);
        window.things.push(Entry { thing, bad, good, fired });
    }
    while !reader.0.is_empty() && window.trail.len() < TRAIL_MAX {
        window.trail.push(EventId::from_bytes(reader.take()?));
    }
    reader.0.is_empty().then_some(window)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn moment(&mut self) -> Option<Timestamp> {
        self.take().map(|bytes| Timestamp::from_micros(i64::from_be_bytes(bytes)))
    }
}
