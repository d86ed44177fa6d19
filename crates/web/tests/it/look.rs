//! The style sheet's colours can be read by day and by night (WCAG 2.2, 1.4.3 and 1.4.11).

use std::collections::BTreeMap;

const CSS: &str = include_str!("../../assets/stagedoor.css");

/// (ink, ground, the least contrast)
const PAIRS: &[(&str, &str, f64)] = &[
    ("ink", "bg", 7.0),
    ("ink", "surface", 7.0),
    ("muted", "bg", 4.5),
    ("muted", "surface", 4.5),
    ("muted", "sunk", 4.5),
    ("link", "bg", 4.5),
    ("link", "surface", 4.5),
    ("accent", "accent-soft", 4.5),
    ("accent-ink", "accent", 4.5),
    ("accent-ink", "accent-hover", 4.5),
    ("good", "good-soft", 4.5),
    ("warn", "warn-soft", 4.5),
    ("bad", "bad-soft", 4.5),
    ("bad", "surface", 4.5),
    ("note", "note-soft", 4.5),
    ("ink", "good-soft", 4.5),
    ("ink", "warn-soft", 4.5),
    ("ink", "bad-soft", 4.5),
    ("ink", "note-soft", 4.5),
    ("edge", "surface", 3.0),
    ("edge", "bg", 3.0),
    ("accent", "bg", 3.0),
];

fn tokens(block: &str) -> BTreeMap<String, String> {
    let lines = block.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(": "));
    lines.map(|(name, value)| (name.to_owned(), value.trim_end_matches(';').to_owned())).collect()
}

/// Relative luminance of `#rgb` or `#rrggbb`.
fn luminance(colour: &str) -> f64 {
    let hex = colour.trim_start_matches('#');
    let hex = match hex.len() {
        3 => hex.chars().flat_map(|digit| [digit, digit]).collect(),
        _ => hex.to_owned(),
    };
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
}

#[test]
fn every_pair_has_its_contrast() {
    let (day, rest) = CSS.split_once("@media (prefers-color-scheme: dark)").unwrap();
    let day = tokens(day);
    let mut night = day.clone();
    night.extend(tokens(rest.split_once("\n}").unwrap().0));
    for (name, scheme) in [("day", &day), ("night", &night)] {
        for (ink, ground, least) in PAIRS {
            let (a, b) = (luminance(&scheme[*ink]), luminance(&scheme[*ground]));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= *least, "{name}: {ink} on {ground} is {contrast:.2}");
        }
    }
}
