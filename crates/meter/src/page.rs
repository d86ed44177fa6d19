//! The page that Prometheus reads: families with their help and type, samples with their labels.

use std::fmt::Write as _;

use crate::counter::{BOUNDS_S, Buckets};

/// What sort of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, and begins at nothing when the program starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Spans of time in buckets.
    Histogram,
}

impl Kind {
    /// As the exposition format names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric, whatever its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, with the unit at its end; a counter's ends in `_total`.
    pub name: &'static str,
    /// What sort of number.
    pub kind: Kind,
    /// What it says, in one line.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// The page, as far as it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// What a scraper is told that it reads.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a family: all its samples follow before the next begins.
    pub fn begin(&mut self, family: &Family) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {} {}", family.name, family.help);
        let _ = writeln!(self.0, "# TYPE {} {}", family.name, family.kind.name());
    }

    /// One sample, with the values of the family's labels in their order.
    pub fn sample(&mut self, family: &Family, values: &[&str], number: f64) {
        self.line(family.name, "", (family.labels, values), None, number);
    }

    /// One histogram.
    pub fn histogram(&mut self, family: &Family, values: &[&str], buckets: &Buckets) {
        let cumulated = &buckets.cumulated;
        let labels = (family.labels, values);
        for (place, many) in cumulated.iter().enumerate() {
            let bound = BOUNDS_S.get(place).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.line(family.name, "_bucket", labels, Some(&bound), count(*many));
        }
        let all = cumulated.last().copied().unwrap_or(0);
        self.line(family.name, "_sum", labels, None, buckets.sum_s);
        self.line(family.name, "_count", labels, None, count(all));
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        (labels, values): (&[&str], &[&str]),
        bound: Option<&str>,
        number: f64,
    ) {
        self.0.push_str(name);
        self.0.push_str(suffix);
        let named = labels.iter().copied().zip(values.iter().copied());
        let mut opened = false;
        for (label, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.0.push(if opened { ',' } else { '{' });
            opened = true;
            let _ = write!(self.0, "{label}=\"");
            self.escaped(value);
            self.0.push('"');
        }
        if opened {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {number}");
    }

    fn escaped(&mut self, value: &str) {
        for letter in value.chars() {
            match letter {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                letter => self.0.push(letter),
            }
        }
    }

    /// The whole text.
    #[must_use]
    pub fn text(self) -> String {
        self.0
    }
}

/// A count as the number that a page holds: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a page holds floating-point numbers only")]
const fn count(many: u64) -> f64 {
    many as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Histogram;

    #[test]
    fn a_page_reads_as_the_format_says() {
        const ASKED: Family = Family {
            name: "asked_total",
            kind: Kind::Counter,
            help: "Questions.",
            labels: &["who", "how"],
        };
        const TOOK: Family =
            Family { name: "took_seconds", kind: Kind::Histogram, help: "Spans.", labels: &[] };
        let mut page = Page::default();
        page.begin(&ASKED);
        page.sample(&ASKED, &["a\"\\\nb", ""], 3.0);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(1_500));
        page.begin(&TOOK);
        page.histogram(&TOOK, &[], &histogram.read());
        let text = page.text();
        assert!(text.starts_with(
            "# HELP asked_total Questions.\n# TYPE asked_total counter\n\
             asked_total{who=\"a\\\"\\\\\\nb\",how=\"\"} 3\n# HELP took_seconds Spans.\n"
        ));
        for line in [
            "took_seconds_bucket{le=\"1\"} 0\n",
            "took_seconds_bucket{le=\"2.5\"} 1\n",
            "took_seconds_bucket{le=\"+Inf\"} 1\n",
            "took_seconds_sum 1.5\n",
            "took_seconds_count 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
