//! Where the house stands on this machine, and how the checks start other programs in it.
//! Every program runs in the workspace's root, with the addresses of the test servers in its
//! environment, and a failure names the whole command so that a person can repeat it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::say;

/// The workspace, and what this run of the checks found out.
#[derive(Debug)]
pub(crate) struct House {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// A run that may leave nothing out.
    pub(crate) ci: bool,
    environment: RefCell<BTreeMap<&'static str, String>>,
    left_out: RefCell<Vec<String>>,
    closing_lines: RefCell<Vec<String>>,
}

impl House {
    /// The house that this program was built from.
    ///
    /// # Errors
    /// Where the root cannot be found.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask stands in a folder of the workspace")?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |folder| root.join(folder));
        Ok(Self::at(root, target, std::env::var_os("CI").is_some()))
    }

    /// A house at these places.
    pub(crate) fn at(root: PathBuf, target: PathBuf, ci: bool) -> Self {
        Self {
            root,
            target,
            ci,
            environment: RefCell::default(),
            left_out: RefCell::default(),
            closing_lines: RefCell::default(),
        }
    }

    /// Sets an environment variable of every program started from now on.
    pub(crate) fn set(&self, name: &'static str, value: String) {
        self.environment.borrow_mut().insert(name, value);
    }

    /// Notes, and says at once, that something is not checked on this machine.
    pub(crate) fn leave_out(&self, what: String) {
        say::left_out(&what);
        self.left_out.borrow_mut().push(what);
    }

    /// All that was left out so far.
    pub(crate) fn left_out(&self) -> Vec<String> {
        self.left_out.borrow().clone()
    }

    /// The test runners' closing lines so far.
    pub(crate) fn closing_lines(&self) -> Vec<String> {
        self.closing_lines.borrow().clone()
    }

    /// A program, to be run in the root.
    pub(crate) fn command(&self, program: impl Into<OsString>, args: &[&str]) -> Command {
        let mut command = Command::new(program.into());
        command.args(args).current_dir(&self.root).stdin(Stdio::null());
        command.envs(self.environment.borrow().iter());
        command
    }

    /// Cargo, the very one that runs this.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        self.command(cargo, args)
    }

    /// Runs to the end, showing what it prints; the lines that close a test run are kept.
    ///
    /// # Errors
    /// Where it cannot start, or ends with a failure.
    pub(crate) fn run(&self, mut command: Command) -> Result<()> {
        let shown = shown(&command);
        say::line(format!("$ {shown}"));
        command.stdout(Stdio::inherit()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start: {shown}"))?;
        if let Some(errors) = child.stderr.take() {
            // test names and compilers may print bytes that are no UTF-8
            for part in BufReader::new(errors).split(b'\n') {
                let text = String::from_utf8_lossy(&part?).into_owned();
                say::line(&text);
                if is_closing_line(&text) {
                    self.closing_lines.borrow_mut().push(text.trim().to_owned());
                }
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("{status} of: {shown}");
        }
        Ok(())
    }

    /// Runs to the end and gives what it wrote to standard output.
    ///
    /// # Errors
    /// Where it cannot start, or ends with a failure; its error output is shown then.
    pub(crate) fn output(&self, mut command: Command) -> Result<String> {
        let shown = shown(&command);
        let output = command.output().with_context(|| format!("cannot start: {shown}"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("{} of: {shown}\n{}", output.status, errors.trim_end());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The program of this name on the PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // as root on Debian, servers stand in sbin, which is not on every PATH
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether this process is root (Linux only; elsewhere false).
pub(crate) fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")))
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let mut words = vec![program.file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn is_closing_line(text: &str) -> bool {
    text.trim_start().starts_with("Summary [")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_command() {
        let house = House::at(std::env::temp_dir(), std::env::temp_dir(), false);
        let failed = house.run(house.command("sh", &["-c", "exit 3"])).unwrap_err().to_string();
        assert!(failed.contains("sh -c exit 3") && failed.contains('3'), "{failed}");
        assert!(house.output(house.command("no-such-program-here", &[])).is_err());
    }

    #[test]
    fn programs_see_the_environment_that_was_set() {
        let house = House::at(std::env::temp_dir(), std::env::temp_dir(), false);
        house.set("STAGEDOOR_TEST_WORD", "open".to_owned());
        let said = house.output(house.command("sh", &["-c", "echo $STAGEDOOR_TEST_WORD"]));
        assert_eq!(said.unwrap(), "open\n");
    }

    #[test]
    fn closing_lines_are_kept() {
        let house = House::at(std::env::temp_dir(), std::env::temp_dir(), false);
        let text = "echo '     Summary [   1.0s] 7 tests run: 7 passed, 0 skipped' >&2";
        house.run(house.command("sh", &["-c", text])).unwrap();
        assert_eq!(house.closing_lines(), ["Summary [   1.0s] 7 tests run: 7 passed, 0 skipped"]);
    }
}
