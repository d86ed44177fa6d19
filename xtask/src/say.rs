//! What the checks tell the person who runs them: one place, so that a run reads as one text.
//! Words go to standard output; colours only where that is a terminal.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// A line, as it is.
pub(crate) fn line(text: impl Display) {
    // a closed pipe is no reason to stop checking
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// The head of a step.
pub(crate) fn step(place: &str, name: &str, what: &str) {
    line(painted("1;36", &format!("\n== {place} {name}: {what}")));
}

/// What had to be left out, and what would mend it: never to be overlooked.
pub(crate) fn left_out(text: &str) {
    line(painted("1;33", &format!("!! LEFT OUT: {text}")));
}

/// What is not right but does not fail.
pub(crate) fn warning(text: impl Display) {
    line(painted("33", &format!("warning: {text}")));
}

/// `93 s` as `1:33`, short times with a tenth.
pub(crate) fn time(taken: Duration) -> String {
    let seconds = taken.as_secs();
    if seconds < 60 {
        format!("{:.1} s", taken.as_secs_f64())
    } else {
        format!("{}:{:02} min", seconds / 60, seconds % 60)
    }
}

fn painted(colour: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_a_person_says_them() {
        assert_eq!(time(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(time(Duration::from_secs(93)), "1:33 min");
    }
}
