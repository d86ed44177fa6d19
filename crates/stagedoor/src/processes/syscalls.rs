//! Which calls of the kernel a process may make (seccomp). A list of what is allowed, not of what
//! is bad: a call that nobody thought of answers "no such call", which a C library takes as an
//! older kernel's answer and does without.

use std::collections::BTreeMap;

use anyhow::Context as _;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Whether the calls of this machine are known here.
pub(super) const IS_KNOWN: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// Of a process that reads hostile bytes and speaks on the network: it opens no file for
    /// writing, no local socket, makes no process, no code.
    Edge,
    /// Of a process that also keeps files and databases.
    Core,
    /// Of a process that keeps files and answers at a local socket: it reaches no network.
    Keyholder,
}

/// Memory, threads, time, and bytes through what is open already.
const COMMON: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
];

/// The same by their names of x86.
#[cfg(target_arch = "x86_64")]
const COMMON_X86: &[i64] =
    &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_stat, libc::SYS_lstat, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const COMMON_X86: &[i64] = &[];

/// Files.
const FILES: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_preadv,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_umask,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_bind,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_socketpair,
];

#[cfg(target_arch = "x86_64")]
const FILES_X86: &[i64] = &[
    libc::SYS_open,
    libc::SYS_access,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_getdents,
];
#[cfg(not(target_arch = "x86_64"))]
const FILES_X86: &[i64] = &[];

/// A socket of its own.
const LISTENING: &[i64] = &[libc::SYS_listen];

/// One argument under a mask: its place, the mask, and what must be left.
type Argument = (u8, u64, u64);
/// A call with what its arguments must be: any of the rows, each whole.
type Limited = (i64, Vec<Vec<Argument>>);

const ALL: u64 = u32::MAX as u64;

fn number(value: i32) -> u64 {
    u64::from(value.unsigned_abs())
}

/// Calls that either may make with some arguments only.
fn limited() -> Vec<Limited> {
    let (thread, name) = (number(libc::CLONE_THREAD), number(libc::PR_SET_NAME));
    let own = u64::from(std::process::id());
    vec![
        // A thread, never a process. `clone3` hides its arguments and is not allowed.
        (libc::SYS_clone, vec![vec![(0, thread, thread)]]),
        (libc::SYS_prctl, vec![vec![(0, ALL, name)]]),
        (libc::SYS_tgkill, vec![vec![(0, ALL, own)]]),
        // Only to read: the third argument would be a new limit.
        (libc::SYS_prlimit64, vec![vec![(2, u64::MAX, 0)]]),
        (
            libc::SYS_ioctl,
            [libc::FIONBIO, libc::FIONREAD, libc::TCGETS]
                .map(|request| vec![(1, ALL, request & ALL)])
                .to_vec(),
        ),
    ]
}

/// TCP and UDP over both versions of IP. Others have ways of their own past what guards TCP.
fn internet() -> Vec<Vec<Argument>> {
    let kinds = [
        (libc::SOCK_STREAM, 0),
        (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        (libc::SOCK_DGRAM, 0),
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    ];
    // Above the kind stand flags of the new descriptor.
    let row = |family: i32, (kind, protocol): (i32, i32)| {
        vec![(0, ALL, number(family)), (1, 0xf, number(kind)), (2, ALL, number(protocol))]
    };
    let families = [libc::AF_INET, libc::AF_INET6];
    families.iter().flat_map(|family| kinds.map(|kind| row(*family, kind))).collect()
}

/// What the edge may do with some arguments only.
fn edge() -> Vec<Limited> {
    let executable = number(libc::PROT_EXEC);
    let fast_open = number(libc::MSG_FASTOPEN);
    let writing = number(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);
    let mut calls = vec![
        (libc::SYS_socket, internet()),
        (libc::SYS_socketpair, vec![vec![(0, ALL, number(libc::AF_UNIX))]]),
        (libc::SYS_openat, vec![vec![(2, writing, 0)]]),
        // No new code.
        (libc::SYS_mmap, vec![vec![(2, executable, 0)]]),
        (libc::SYS_mprotect, vec![vec![(2, executable, 0)]]),
        // A connection that begins with its first bytes passes by the closed ports.
        (libc::SYS_sendto, vec![vec![(3, fast_open, 0)]]),
        (libc::SYS_sendmsg, vec![vec![(2, fast_open, 0)]]),
        (libc::SYS_sendmmsg, vec![vec![(3, fast_open, 0)]]),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.push((libc::SYS_open, vec![vec![(1, writing, 0)]]));
    calls.extend(limited());
    calls
}

fn core() -> Vec<Limited> {
    let mut families = internet();
    families.push(vec![(0, ALL, number(libc::AF_UNIX))]);
    let mut calls = vec![(libc::SYS_socket, families)];
    calls.extend(limited());
    calls
}

fn keyholder() -> Vec<Limited> {
    let executable = number(libc::PROT_EXEC);
    let mut calls = vec![
        (libc::SYS_socket, vec![vec![(0, ALL, number(libc::AF_UNIX))]]),
        (libc::SYS_mmap, vec![vec![(2, executable, 0)]]),
        (libc::SYS_mprotect, vec![vec![(2, executable, 0)]]),
    ];
    calls.extend(limited());
    calls
}

/// Forbids everything else, for this thread and all that it starts.
pub(super) fn restrict(calls: Calls) -> anyhow::Result<()> {
    anyhow::ensure!(IS_KNOWN, "the calls of this machine are not known");
    let program = program(calls)?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

fn program(calls: Calls) -> anyhow::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let (open, limited): (&[&[i64]], Vec<Limited>) = match calls {
        Calls::Edge => (&[COMMON, COMMON_X86], edge()),
        Calls::Core => (&[COMMON, COMMON_X86, FILES, FILES_X86], core()),
        Calls::Keyholder => (&[COMMON, COMMON_X86, FILES, FILES_X86, LISTENING], keyholder()),
    };
    for call in open.iter().copied().flatten() {
        rules.insert(*call, Vec::new());
    }
    for (call, rows) in limited {
        let rows = rows.iter().map(|row| rule(row)).collect::<Result<Vec<_>, _>>()?;
        rules.insert(call, rows);
    }
    let machine = TargetArch::try_from(std::env::consts::ARCH).context("this machine")?;
    let no_such_call = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, no_such_call, SeccompAction::Allow, machine)?;
    Ok(filter.try_into()?)
}

fn rule(row: &[Argument]) -> anyhow::Result<SeccompRule> {
    let condition = |(place, mask, value): &Argument| {
        let width = if *mask > ALL { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
        SeccompCondition::new(*place, width, SeccompCmpOp::MaskedEq(*mask), *value)
    };
    Ok(SeccompRule::new(row.iter().map(condition).collect::<Result<_, _>>()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_can_be_made() {
        for calls in [Calls::Edge, Calls::Core, Calls::Keyholder] {
            assert!(program(calls).unwrap().len() > 100, "{calls:?}");
        }
    }

    #[test]
    fn no_list_has_what_makes_processes_or_reads_others() {
        let bad = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_getfd,
            libc::SYS_kill,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_unshare,
        ];
        for list in [COMMON, COMMON_X86, FILES, FILES_X86, LISTENING] {
            assert!(list.iter().all(|call| !bad.contains(call)));
        }
    }
}
