//! The steps of a check, in the order in which they find mistakes cheapest first, and each to be
//! run alone by its name. A step that fails does not stop the others, so that one run tells all;
//! only what needs a build is passed by where there is none.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::house::{House, which};
use crate::services::Services;
use crate::{books, floors, generated, package, say, sbom, screens, sdk, setup, style};

/// One step.
pub(crate) struct Step {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it holds, for the list.
    pub(crate) what: &'static str,
    run: fn(&House) -> Result<String>,
    needs: Needs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Everything compiles.
    Build,
    /// Everything compiles, and PostgreSQL and Redis answer.
    Servers,
}

/// A step that was run.
pub(crate) struct Ran {
    name: &'static str,
    taken: Duration,
    outcome: Outcome,
}

enum Outcome {
    Held(String),
    Failed,
    PassedBy,
}

/// All steps of `check`, in order.
pub(crate) const STEPS: &[Step] = &[
    step("setup", "programs and servers that the checks need", setup::check, Needs::Nothing),
    step("fmt", "rustfmt", fmt, Needs::Nothing),
    step("floors", "who may import whom", floors::check, Needs::Nothing),
    step("style", "heads, sizes and words of our files", style::check, Needs::Nothing),
    step("unused", "no dependency without a use", style::unused, Needs::Nothing),
    step("deny", "bans, licences, sources, second versions", deny, Needs::Nothing),
    step("sbom", "bill of materials, CycloneDX 1.5", sbom::write, Needs::Nothing),
    step("docs", "links, summary, dependency table; mdbook", books::check, Needs::Nothing),
    step("clippy", "lints, warnings are errors", clippy, Needs::Nothing),
    step("build", "everything, tests too", build, Needs::Nothing),
    step("test", "units, rooms on SQLite and PostgreSQL, fuzz smoke", test, Needs::Servers),
    step("doctest", "examples in the documentation", doctest, Needs::Build),
    step("simulation", "seeded runs of a whole shop", simulation, Needs::Servers),
    step("e2e", "the real binary, killed and restarted", e2e, Needs::Servers),
    step(
        "sdk",
        "the shop's kit in TypeScript, against the real binary",
        sdk::check,
        Needs::Servers,
    ),
    step("generated", "schema, OpenAPI, catalogue as checked in", generated::check, Needs::Build),
    step("package", "Debian package, unit, licences", package::check, Needs::Build),
    step("screens", "pages in headless Chromium", screens::check, Needs::Build),
];

/// Tests that walk a seed; all others are not.
const SIMULATED: &str = "test(/(^|::)sim(ulation)?::/)";
/// Tests that start the binary.
const WHOLE: &str = "package(stagedoor) & kind(test)";

const fn step(
    name: &'static str,
    what: &'static str,
    run: fn(&House) -> Result<String>,
    needs: Needs,
) -> Step {
    Step { name, what, run, needs }
}

/// Runs these steps, shows a table of their times, and what was left out.
///
/// # Errors
/// Where a step failed, or CI had to leave something out.
pub(crate) fn run(house: &House, steps: &[&Step]) -> Result<()> {
    let mut ran: Vec<Ran> = Vec::new();
    let mut servers = None;
    for (at, step) in steps.iter().enumerate() {
        say::step(&format!("[{}/{}]", at + 1, steps.len()), step.name, step.what);
        let build_failed = ran.iter().any(|ran| ran.name == "build" && ran.failed());
        if step.needs != Needs::Nothing && build_failed {
            say::warning("passed by: there is no build");
            ran.push(Ran::new(step, Duration::ZERO, Outcome::PassedBy));
            continue;
        }
        let start = now();
        let result = if step.needs == Needs::Servers && servers.is_none() {
            Services::start(house).map(|started| servers = Some(started))
        } else {
            Ok(())
        };
        let outcome = match result.and_then(|()| (step.run)(house)) {
            Ok(said) => Outcome::Held(said),
            Err(error) => {
                say::line(format!("FAILED {}: {error:#}", step.name));
                Outcome::Failed
            }
        };
        ran.push(Ran::new(step, start.elapsed(), outcome));
    }
    drop(servers);
    report(house, &ran);
    let failed: Vec<&str> = ran.iter().filter(|ran| ran.failed()).map(|ran| ran.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    if house.ci && !house.left_out().is_empty() {
        bail!("in CI nothing may be left out");
    }
    Ok(())
}

impl Ran {
    const fn new(step: &Step, taken: Duration, outcome: Outcome) -> Self {
        Self { name: step.name, taken, outcome }
    }

    const fn failed(&self) -> bool {
        !matches!(self.outcome, Outcome::Held(_))
    }
}

fn report(house: &House, ran: &[Ran]) {
    say::line("");
    for step in ran {
        let (mark, said) = match &step.outcome {
            Outcome::Held(said) => ("ok", said.as_str()),
            Outcome::Failed => ("FAILED", ""),
            Outcome::PassedBy => ("passed by", ""),
        };
        say::line(format!("{:<11} {:>10}  {mark:<9} {said}", step.name, say::time(step.taken)));
    }
    let whole = ran.iter().map(|step| step.taken).sum();
    say::line(format!("{:<11} {:>10}", "all", say::time(whole)));
    for what in house.left_out() {
        say::left_out(&what);
    }
    let closing = house.closing_lines();
    for line in &closing {
        say::line(line);
    }
    if !closing.is_empty() {
        let sum = |word| closing.iter().map(|line| count(line, word)).sum::<u64>();
        say::line(format!("{} passed, {} failed", sum("passed"), sum("failed")));
    }
}

/// `343` of `345 tests run: 343 passed (2 slow), 2 failed` for `passed`.
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let found = words.windows(2).find_map(|pair| match pair {
        [number, named] if named.trim_end_matches([',', ';']) == word => number.parse().ok(),
        _ => None,
    });
    found.unwrap_or(0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "times of steps are for people; nothing decides by them"
)]
fn now() -> Instant {
    Instant::now()
}

fn fmt(house: &House) -> Result<String> {
    house.run(house.cargo(&["fmt", "--all", "--check"]))?;
    let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    house.run(house.cargo(&fuzz))?;
    Ok("as rustfmt writes it".to_owned())
}

fn clippy(house: &House) -> Result<String> {
    house.run(house.cargo(&locked(
        house,
        &["clippy", "--workspace", "--all-targets", "--keep-going"],
        &["--", "-D", "warnings"],
    )))?;
    Ok("no warning".to_owned())
}

fn deny(house: &House) -> Result<String> {
    if which("cargo-deny").is_none() {
        say::line("cargo-deny is missing: building it once, a few minutes");
        house.run(house.cargo(&["install", "cargo-deny", "--locked", "--quiet"]))?;
    }
    let args = [
        "deny",
        "--all-features",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ];
    house.run(house.cargo(&args))?;
    Ok("advisories need the network: not asked".to_owned())
}

fn build(house: &House) -> Result<String> {
    house.run(house.cargo(&locked(house, &["build", "--workspace", "--all-targets"], &[])))?;
    Ok("all targets".to_owned())
}

fn test(house: &House) -> Result<String> {
    if has_nextest() {
        return nextest(house, &format!("not ({SIMULATED}) and not ({WHOLE})"));
    }
    house.run(house.cargo(&[
        "test",
        "--workspace",
        "--exclude",
        "stagedoor",
        "--lib",
        "--bins",
        "--tests",
        "--",
        "--skip",
        "sim::",
        "--skip",
        "simulation::",
    ]))?;
    house.run(house.cargo(&["test", "--package", "stagedoor", "--bins"]))?;
    Ok("by cargo test; cargo-nextest is faster".to_owned())
}

fn doctest(house: &House) -> Result<String> {
    house.run(house.cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    Ok("all examples".to_owned())
}

fn simulation(house: &House) -> Result<String> {
    if has_nextest() {
        return nextest(house, SIMULATED);
    }
    house.run(house.cargo(&["test", "--workspace", "--tests", "--", "sim"]))?;
    Ok("by cargo test".to_owned())
}

/// Names the program after this one, for the test of rolling updates.
const NEXT: &str = "STAGEDOOR_TEST_NEXT";

fn e2e(house: &House) -> Result<String> {
    next_program(house)?;
    if has_nextest() {
        return nextest(house, WHOLE);
    }
    house.run(house.cargo(&["test", "--package", "stagedoor", "--test", "*"]))?;
    Ok("by cargo test".to_owned())
}

/// Builds the program with what the next one may bring, and lays it aside.
fn next_program(house: &House) -> Result<()> {
    // All targets, as everywhere else: then nothing but the program itself is built anew.
    let args = ["build", "--workspace", "--all-targets", "--features", "stagedoor/next"];
    house.run(house.cargo(&locked(house, &args, &[])))?;
    let aside = house.target.join("next");
    std::fs::create_dir_all(&aside)?;
    let program = aside.join("stagedoor");
    // Cargo's own is replaced in place by the next build.
    std::fs::copy(house.target.join("debug/stagedoor"), &program)?;
    house.set(NEXT, program.display().to_string());
    Ok(())
}

fn has_nextest() -> bool {
    which("cargo-nextest").is_some()
}

fn nextest(house: &House, filter: &str) -> Result<String> {
    let args = ["nextest", "run", "--workspace", "--no-tests", "warn", "-E", filter];
    house.run(house.cargo(&locked(house, &args, &[])))?;
    let closing = house.closing_lines().pop().unwrap_or_default();
    let passed = count(&closing, "passed");
    if passed == 0 {
        house.leave_out(format!("no test meets {filter}"));
    }
    Ok(format!("{passed} tests"))
}

/// In CI the lock file is what was reviewed: it may not change on the way.
fn locked<'a>(house: &House, args: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    let lock = house.ci.then_some("--locked");
    args.iter().copied().chain(lock).chain(rest.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: Step = step("held", "", |_| Ok("well".to_owned()), Needs::Nothing);
    const FAILS: Step = step("build", "", |_| bail!("broken"), Needs::Nothing);
    const AFTER: Step = step("after", "", |_| Ok(String::new()), Needs::Build);
    const LEAVES: Step = step(
        "leaves",
        "",
        |house| {
            house.leave_out("something".to_owned());
            Ok(String::new())
        },
        Needs::Nothing,
    );

    fn house(ci: bool) -> House {
        House::at(std::env::temp_dir(), std::env::temp_dir(), ci)
    }

    #[test]
    fn all_that_failed_is_named_and_what_needs_a_build_is_passed_by() {
        assert!(run(&house(true), &[&HELD]).is_ok());
        let failed = run(&house(false), &[&FAILS, &HELD, &AFTER]).unwrap_err();
        assert_eq!(failed.to_string(), "failed: build, after");
    }

    #[test]
    fn only_a_person_may_leave_something_out() {
        assert!(run(&house(false), &[&LEAVES]).is_ok());
        assert!(run(&house(true), &[&LEAVES]).is_err());
    }

    #[test]
    fn closing_lines_are_counted() {
        let line = "Summary [  12.345s] 345 tests run: 343 passed (2 slow), 2 failed, 3 skipped";
        assert_eq!((count(line, "passed"), count(line, "failed")), (343, 2));
        assert_eq!(count("Summary [ 0.0s] 1 test run: 1 passed, 0 skipped", "failed"), 0);
    }

    #[test]
    fn every_step_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
    }
}
