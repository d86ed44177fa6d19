//! What a process may still ask of the kernel, given away before its first thread and before it
//! reads anything hostile. Nothing here can be taken back, and each part says whether this kernel
//! has it: what it lacks is a promise that is off.

use std::path::PathBuf;

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, RestrictionStatus,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, Scope, path_beneath_rules,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::syscalls::{self, Calls};

/// Processes of the host that are looked at.
const PROCESSES_MAX: usize = 65_536;

/// What a process needs.
pub(super) struct Needs {
    /// Files and folders that it reads.
    pub reads: Vec<PathBuf>,
    /// Folders in which it may do everything but execute.
    pub writes: Vec<PathBuf>,
    /// TCP ports that it may not reach, where it is kept from any.
    pub closed_ports: Option<Vec<u16>>,
    /// Calls of the kernel.
    pub calls: Calls,
}

/// What looking up a name reads.
pub(super) fn name_look_up() -> Vec<PathBuf> {
    ["resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf"]
        .map(|file| PathBuf::from("/etc").join(file))
        .to_vec()
}

/// Gives everything else away; the promises that this kernel cannot keep.
pub(super) fn enter(needs: &Needs) -> anyhow::Result<Vec<String>> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("the memory cannot be closed to others")?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).context("core dumps cannot be turned off")?;
    rustix::thread::set_no_new_privs(true).context("no_new_privs")?;
    let landlock = restrict(needs).context("landlock")?;
    let mut off = lacks(&landlock.landlock, needs.closed_ports.is_some());
    if let Err(error) = syscalls::restrict(needs.calls) {
        off.push(format!("every system call is open (seccomp: {error:#})"));
    }
    Ok(off)
}

/// The files and the network.
fn restrict(needs: &Needs) -> anyhow::Result<RestrictionStatus> {
    // Later versions also keep a process from local sockets, of which core may need a database's.
    let abi = if needs.closed_ports.is_some() { ABI::V10 } else { ABI::V6 };
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    if needs.closed_ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let reads = AccessFs::ReadFile | AccessFs::ReadDir;
    let writes: BitFlags<AccessFs> = AccessFs::from_all(ABI::V6) & !AccessFs::Execute;
    let ruleset = ruleset
        .create()?
        .add_rules(path_beneath_rules(&needs.reads, reads))?
        .add_rules(path_beneath_rules(&needs.writes, writes))?;
    let ruleset = match &needs.closed_ports {
        Some(closed) => open_ports(ruleset, closed)?,
        None => ruleset,
    };
    Ok(ruleset.restrict_self()?)
}

/// Every port but these: an upstream that is added while the edge runs may be on any of them.
fn open_ports(mut ruleset: RulesetCreated, closed: &[u16]) -> anyhow::Result<RulesetCreated> {
    for port in (1..=u16::MAX).filter(|port| !closed.contains(port)) {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset)
}

/// What a kernel of this Landlock does not promise.
fn lacks(landlock: &LandlockStatus, ports: bool) -> Vec<String> {
    let abi = match landlock {
        LandlockStatus::Available { effective_abi, .. } => *effective_abi,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => ABI::Unsupported,
    };
    let mut off = Vec::new();
    if abi < ABI::V1 {
        off.push("files are closed by their owners and modes only (no Landlock)".to_owned());
    }
    if abi < ABI::V4 && ports {
        off.push("the databases' ports can be reached (Landlock before Linux 6.7)".to_owned());
    }
    if abi < ABI::V6 {
        off.push("processes of the same user can be signalled (Landlock before 6.12)".to_owned());
    }
    off
}

/// Processes of a program that serves here and could not close their system calls: whoever started it
/// forbids that, by a filter of its own.
pub(crate) fn open_processes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut open = Vec::new();
    for entry in entries.flatten().take(PROCESSES_MAX) {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).ok();
        let Some(line) = read("cmdline").filter(|line| line.starts_with("stagedoor\0process\0"))
        else {
            continue;
        };
        let Some(status) = read("status") else { continue };
        let parent = field(&status, "PPid").unwrap_or(0);
        let above = std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap_or_default();
        // A kernel before 5.9 does not count them.
        let filters = |status: &str| field(status, "Seccomp_filters");
        if filters(&status).zip(filters(&above)).is_some_and(|(own, above)| own <= above) {
            let kind = line.trim_end_matches('\0').rsplit('\0').next().unwrap_or_default();
            open.push(format!(
                "the running {kind} could not close its system calls (its log says why)"
            ));
        }
    }
    open
}

/// A number of a process's status.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

/// What this kernel does not promise, found out without giving anything away here.
pub(crate) fn kernel_lacks() -> Vec<String> {
    let tried = std::thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1))?.create()?;
        // The thread gives itself away, and ends.
        ruleset.restrict_self()
    });
    let status = tried.join().ok().and_then(Result::ok);
    let landlock = status.map_or(LandlockStatus::NotImplemented, |status| status.landlock);
    let mut off = lacks(&landlock, true);
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    if !actions.unwrap_or_default().contains("errno") || !syscalls::IS_KNOWN {
        off.push("every system call is open (no seccomp)".to_owned());
    }
    off
}
