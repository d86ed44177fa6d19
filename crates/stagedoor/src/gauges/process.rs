//! This process as the system sees it (`/proc/self`, Linux). What cannot be read is left out.

use serde::{Deserialize, Serialize};

/// What the system says of this process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<f64>,
    pub(super) cpu_s: Option<f64>,
    pub(super) open_fds: Option<f64>,
    pub(super) max_fds: Option<f64>,
    pub(super) threads: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        let status = read("status").unwrap_or_default();
        let limits = read("limits").unwrap_or_default();
        let fds = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self {
            resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1_024.0),
            cpu_s: read("stat").ok().as_deref().and_then(cpu_s),
            // The look itself holds one.
            open_fds: fds
                .and_then(|many| u32::try_from(many.saturating_sub(1)).ok())
                .map(f64::from),
            max_fds: number_after(&limits, "Max open files"),
            threads: number_after(&status, "Threads:"),
        }
    }
}

/// The first number of the line that begins so.
fn number_after(text: &str, begin: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(begin))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Time in user and kernel mode, in ticks of a hundredth of a second: the 14th and 15th field, of
/// which the second may hold anything between its brackets.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_read() {
        let process = Process::read();
        assert!(process.resident_bytes.unwrap() > 1_000_000.0);
        assert!(process.open_fds.unwrap() >= 3.0);
        assert!(process.max_fds.unwrap() >= process.open_fds.unwrap());
        assert!(process.cpu_s.is_some() && process.threads.unwrap() >= 1.0);
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_s(stat), Some(2.0));
    }
}
