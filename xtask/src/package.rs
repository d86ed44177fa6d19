//! The Debian package: the program, its unit, its users, its licences and its bill of materials, put
//! together from `package/` by dpkg-deb. `cargo xtask ship` builds what a shop installs, from the
//! `dist` profile; the check puts the same together around the program that it built anyway.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::Package;

use crate::graph::Graph;
use crate::house::{House, which};
use crate::sbom;

/// The worst exposure that the unit may have, in tenths, by systemd's own measure (0 is best).
const EXPOSURE_MAX_TENTHS: u32 = 30;
/// The units of the program, and of a keyholder that is a program of its own.
const UNIT: &str = "package/systemd/stagedoor.service";
const KEYHOLDER_UNIT: &str = "package/systemd/stagedoor-keyholder.service";
/// What stands where in the package, from the workspace's root.
const FILES: &[(&str, &str)] = &[
    (UNIT, "usr/lib/systemd/system/stagedoor.service"),
    (KEYHOLDER_UNIT, "usr/lib/systemd/system/stagedoor-keyholder.service"),
    ("package/systemd/sysusers.conf", "usr/lib/sysusers.d/stagedoor.conf"),
    ("docs/stagedoor.toml", "usr/share/doc/stagedoor/examples/stagedoor.toml"),
    ("README.md", "usr/share/doc/stagedoor/README.md"),
    ("SECURITY.md", "usr/share/doc/stagedoor/SECURITY.md"),
    ("LICENSE", "usr/share/doc/stagedoor/copyright"),
];
/// What the processes close themselves by: a unit that refuses these leaves all else open.
const OWN_SANDBOX: [&str; 4] =
    ["seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"];
/// The users of the processes.
const USERS: usize = 3;
/// What dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];
/// The names of files with the words of a licence.
const LICENCE_NAMES: &[&str] = &["licen", "copying", "notice", "copyright"];
/// The largest file that is taken for a licence, bytes.
const LICENCE_MAX_BYTES: u64 = 256 * 1024;

/// Builds the program as it is shipped, and the package around it.
///
/// # Errors
/// Where it cannot be built, or is not what it should be.
pub(crate) fn ship(house: &House) -> Result<String> {
    house.run(house.cargo(&["build", "--profile", "dist", "--locked", "-p", "stagedoor"]))?;
    put_together(house, &house.target.join("dist/stagedoor"))
}

/// The step: the package around the program of the check.
///
/// # Errors
/// As [`ship`].
pub(crate) fn check(house: &House) -> Result<String> {
    if which("dpkg-deb").is_none() {
        house.leave_out("the Debian package: dpkg-deb is missing".to_owned());
        return Ok("left out".to_owned());
    }
    for unit in [UNIT, KEYHOLDER_UNIT] {
        check_filter(&house.root.join(unit))?;
    }
    let exposure = exposure(house, &house.root.join(UNIT))?;
    let made = put_together(house, &house.target.join("debug/stagedoor"))?;
    Ok(format!("{made}; {exposure}"))
}

/// Writes the licences of everything that is built in to `licences.txt` in the target folder.
///
/// # Errors
/// Where a crate brings no words of its licence and names none that all know.
pub(crate) fn licences(house: &House) -> Result<String> {
    let graph = Graph::read(house)?;
    let shipped = graph.shipped(&["stagedoor".to_owned()]);
    let packages = graph.packages(&shipped);
    let mut text = String::from("Stagedoor is built from these crates, under these licences.\n");
    let mut texts = BTreeSet::new();
    for package in packages.iter().filter(|package| package.source.is_some()) {
        let licence = package.license.as_deref().unwrap_or("see below");
        text.push_str(&format!("\n== {} {} ({licence})\n", package.name, package.version));
        for words in words_of(package)? {
            // most crates bring the same words: each stands once
            if texts.insert(words.clone()) {
                text.push_str(&format!("\n{words}\n"));
            }
        }
    }
    fs::create_dir_all(&house.target)?;
    let path = house.target.join("licences.txt");
    fs::write(&path, text)?;
    Ok(format!("{} crates, {} texts in {}", packages.len(), texts.len(), path.display()))
}

/// The words of a crate's licence, as its authors wrote them down.
fn words_of(package: &Package) -> Result<Vec<String>> {
    let folder = package.manifest_path.parent().context("a manifest stands in a folder")?;
    let mut words = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_licence = LICENCE_NAMES.iter().any(|start| name.starts_with(start));
        let meta = entry.metadata()?;
        if is_licence && meta.is_file() && meta.len() <= LICENCE_MAX_BYTES {
            words.push(fs::read_to_string(entry.path())?.trim().to_owned());
        }
    }
    if words.is_empty() && package.license.is_none() {
        bail!("{} {} says nothing of its licence", package.name, package.version);
    }
    Ok(words)
}

/// Refuses a unit in which the processes could not close themselves.
fn check_filter(unit: &Path) -> Result<()> {
    let text = fs::read_to_string(unit)?;
    let filter = text.lines().find_map(|line| line.strip_prefix("SystemCallFilter="));
    let allowed: Vec<&str> = filter.unwrap_or_default().split(' ').collect();
    let missing: Vec<_> = OWN_SANDBOX.iter().filter(|call| !allowed.contains(call)).collect();
    if !missing.is_empty() {
        bail!("{}: SystemCallFilter lacks {missing:?}, which the sandbox takes", unit.display());
    }
    Ok(())
}

/// How exposed the unit is by systemd's own measure, which must stay below the bound.
fn exposure(house: &House, unit: &Path) -> Result<String> {
    if which("systemd-analyze").is_none() {
        house.leave_out("the unit's exposure: systemd-analyze is missing".to_owned());
        return Ok("exposure not measured".to_owned());
    }
    let (unit, bound) = (unit.display().to_string(), EXPOSURE_MAX_TENTHS.to_string());
    let threshold = format!("--threshold={bound}");
    let args = ["security", "--offline=true", &threshold, "--no-pager", &unit];
    let said = house.output(house.command("systemd-analyze", &args))?;
    let last = said.lines().rev().find(|line| line.contains("exposure level"));
    Ok(last.context("systemd-analyze said no exposure")?.trim_start_matches(['→', ' ']).to_owned())
}

fn put_together(house: &House, program: &Path) -> Result<String> {
    licences(house)?;
    sbom::write(house)?;
    let folder = house.target.join("package");
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    place(program, &root.join("usr/bin/stagedoor"), 0o755)?;
    for (from, to) in FILES {
        place(&house.root.join(from), &root.join(to), 0o644)?;
    }
    for name in ["licences.txt", "sbom.cdx.json"] {
        let to = root.join("usr/share/doc/stagedoor").join(name);
        place(&house.target.join(name), &to, 0o644)?;
    }
    for name in SCRIPTS {
        place(
            &house.root.join("package/debian").join(name),
            &root.join("DEBIAN").join(name),
            0o755,
        )?;
    }
    let version = version(house)?;
    let architecture = house.output(house.command("dpkg", &["--print-architecture"]))?;
    let architecture = architecture.trim();
    let control = fs::read_to_string(house.root.join("package/debian/control"))?
        .replace("@VERSION@", &version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE@", &(fs::metadata(program)?.len() / 1024).to_string())
        .replace("@DEPENDS@", &depends(house, program)?);
    fs::write(root.join("DEBIAN/control"), control)?;
    let package = folder.join(format!("stagedoor_{version}_{architecture}.deb"));
    let (from, to) = (root.display().to_string(), package.display().to_string());
    house.output(house.command("dpkg-deb", &["--root-owner-group", "--build", &from, &to]))?;
    try_out(house, &package, &version)?;
    Ok(format!("{} MB in {to}", fs::metadata(&package)?.len() / 1_000_000))
}

/// Takes the package apart as dpkg would, and asks the program in it who it is.
fn try_out(house: &House, package: &Path, version: &str) -> Result<()> {
    let apart = house.target.join("package/apart");
    if apart.exists() {
        fs::remove_dir_all(&apart)?;
    }
    let (from, to) = (package.display().to_string(), apart.display().to_string());
    house.output(house.command("dpkg-deb", &["--raw-extract", &from, &to]))?;
    let said = house.output(house.command(apart.join("usr/bin/stagedoor"), &["--version"]))?;
    if said.trim() != format!("stagedoor {version}") {
        bail!("the program in the package says that it is {said}");
    }
    if which("systemd-sysusers").is_some() {
        // Makes the users in the place that was unpacked, not on this host.
        let users = apart.join("usr/lib/sysusers.d/stagedoor.conf").display().to_string();
        fs::create_dir_all(apart.join("etc"))?;
        house.output(house.command("systemd-sysusers", &["--root", &to, &users]))?;
        let made = fs::read_to_string(apart.join("etc/passwd")).context("no user was made")?;
        if made.matches("stagedoor-").count() != USERS {
            bail!("not every user was made: {made}");
        }
    }
    for name in SCRIPTS {
        let script = apart.join("DEBIAN").join(name).display().to_string();
        house.output(house.command("sh", &["-n", &script]))?;
    }
    fs::remove_dir_all(&apart)?;
    Ok(())
}

fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder: PathBuf = to.parent().context("a file stands in a folder")?.to_owned();
    fs::create_dir_all(&folder)?;
    fs::copy(from, to).with_context(|| format!("{} cannot be placed", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn version(house: &House) -> Result<String> {
    let graph = Graph::read(house)?;
    let own = graph.own();
    let main = own.iter().find(|package| package.name.as_str() == "stagedoor");
    Ok(main.context("the workspace has no crate `stagedoor`")?.version.to_string())
}

/// The libraries that the program is linked to: the C library in the version that it asks for.
fn depends(house: &House, program: &Path) -> Result<String> {
    let said = house.output(house.command("readelf", &["-V", &program.display().to_string()]))?;
    let newest = said
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("GLIBC_"))
        .filter_map(|version| {
            let (major, minor) = version.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        })
        .max();
    let (major, minor) = newest.context("the program asks for no version of the C library")?;
    Ok(format!("libc6 (>= {major}.{minor}), libgcc-s1"))
}
