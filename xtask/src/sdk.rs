//! The shop's kit: built and tested with Node, against the binary of this tree. Node is the user's
//! own where there is one; npm fetches the kit's few tools by its lock file.

use anyhow::Result;

use crate::generated::binary;
use crate::house::{House, which};
use crate::say;
use crate::services::POSTGRES;

/// The oldest Node that the kit supports.
const NODE_LEAST: u32 = 20;

/// The step.
///
/// # Errors
/// Where the kit does not build, or a test of it fails.
pub(crate) fn check(house: &House) -> Result<String> {
    let Some(npm) = which("npm") else {
        house.leave_out("the TypeScript kit: npm is missing".to_owned());
        return Ok("no npm".to_owned());
    };
    let version = house.output(house.command("node", &["--version"]))?;
    if major(&version).is_none_or(|major| major < NODE_LEAST) {
        house.leave_out(format!("the TypeScript kit: node {NODE_LEAST} or newer is wanted"));
        return Ok(format!("node {}", version.trim()));
    }
    let folder = house.root.join("sdk/typescript");
    let program = binary(house)?;
    for words in [&["ci", "--no-audit", "--no-fund"][..], &["test"]] {
        let mut command = house.command(&npm, words);
        command.current_dir(&folder).env("STAGEDOOR_BIN", &program);
        // the kit's outbox is tested on the database that the other tests use
        if let Some(url) = std::env::var_os(POSTGRES) {
            command.env(POSTGRES, url);
        }
        house.run(command)?;
    }
    say::line("the kit holds");
    Ok(format!("node {}", version.trim()))
}

/// `20` of `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_first_number_counts() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20.1"), None);
    }
}
