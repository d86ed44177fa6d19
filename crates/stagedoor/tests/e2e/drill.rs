//! The drill: the edge's process is taken over, and tries everything. A debugger runs the C
//! library's functions inside it, which is what an intruder's code can do there; then its memory is
//! searched for what it must never have held; then the line to core is used as the edge could.
//! It needs root, to be three users and to debug one of them, and is left out loudly elsewhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};

use crate::program::{
    CORE_USER, EDGE_USER, KEYHOLDER_USER, PASSWORD, Serving, Shop, answer, is_root,
};

const DATABASE_PASSWORD: &str = "canary-of-the-database-4f1c";
const MAIL_PASSWORD: &str = "canary-of-the-mail-server-77ab";
const NAME: &str = "Canary Finch-Oyelaran";

/// Whether this host lets the drill be held; in CI it must.
fn can_be_held() -> bool {
    let gdb = Command::new("gdb").arg("--version").output().is_ok_and(|it| it.status.success());
    if is_root() && gdb {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "the drill needs root and gdb: `cargo xtask setup`");
    eprintln!("LEFT OUT: the drill of a taken-over edge: it needs root and gdb");
    false
}

/// A house with something to steal in every place.
fn house(database: &str) -> Shop {
    let (before, after) = database.split_once('@').expect("user@host");
    let shop = Shop::init_with(&["--database", &format!("{before}:{DATABASE_PASSWORD}@{after}")]);
    let mail = "to = \"smtp\"\nsmtp_host = \"127.0.0.1\"\nsmtp_port = 9\nsmtp_user = \"shop\"\n\
                smtp_password_file = \"mail.pw\"";
    shop.edit("to = \"outbox\"", mail);
    std::fs::write(shop.path().join("mail.pw"), MAIL_PASSWORD).unwrap();
    std::fs::write(shop.path().join("pw"), PASSWORD).unwrap();
    let add = ["user", "add", "ada@x.example", "--name", NAME, "--password-file", "pw"];
    answer(shop.path(), &add);
    shop.lift_limits();
    shop.with_keyholder();
    for file in ["mail.pw", "pw"] {
        let mode = Command::new("chmod").args(["640", file]).current_dir(shop.path()).status();
        let core = CORE_USER.to_string();
        let group = Command::new("chgrp").args([&core, file]).current_dir(shop.path()).status();
        assert!(mode.unwrap().success() && group.unwrap().success());
    }
    shop
}

/// Signs in at the shop's page; the secret in the cookie.
fn session_secret(shop: &Shop, serving: &Serving) -> String {
    let jar = shop.path().join("shop.jar").display().to_string();
    let jars = ["-b", &jar, "-c", &jar, "-H", "accept: text/html"];
    let (_, page) = serving.curl(shop, &jars, "/auth/sign-in");
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
    let csrf = format!("csrf={}", rest.split_once('"').unwrap().0);
    let password = format!("password={PASSWORD}");
    let form = ["-H", "origin: https://localhost", "-d", &csrf, "-d", "email=ada@x.example"];
    let all = [&jars[..], &form, &["-d", &password, "-d", "next=/"]].concat();
    let (status, page) = serving.curl(shop, &all, "/auth/sign-in");
    assert_eq!(status, 303, "{page}");
    let jar = std::fs::read_to_string(&jar).unwrap();
    let line = jar.lines().find(|line| line.contains("\t__Host-stagedoor\t")).expect("a cookie");
    line.rsplit_once('\t').unwrap().1.to_owned()
}

#[test]
fn whoever_takes_the_edge_over_reaches_nothing() {
    if !can_be_held() {
        return;
    }
    testkit::with_postgres(|url| {
        let shop = house(url);
        let serving = shop.serve();
        let secret = session_secret(&shop, &serving);
        // The edge that is taken over has not seen that session.
        let before = serving.process("edge").unwrap();
        Command::new("kill").args(["-KILL", &before.to_string()]).status().unwrap();
        let edge = next_edge(&shop, &serving, before);
        let core = serving.process("core").unwrap();
        let keyholder = serving.process("keyholder").unwrap();
        are_other_users([edge, core, keyholder]);
        tries_everything(&shop, url, (edge, core));
        holds_no_secret(&shop, &serving, [edge, core, keyholder], &secret);
        speaks_to_core(edge, &secret);
        // The house stands.
        let (status, _) = serving.curl(&shop, &[], "/auth/sign-in");
        assert_eq!(status, 200);
        shop.verified();
        assert_eq!(serving.stop(), Some(0));
    });
}

fn next_edge(shop: &Shop, serving: &Serving, before: u32) -> u32 {
    for _ in 0..500 {
        let answered = serving.try_curl(shop, &[], "/auth/sign-in").is_ok_and(|it| it.0 == 200);
        match serving.process("edge") {
            Some(now) if now != before && answered => return now,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    panic!("the edge is not started again");
}

/// "No such call": the filter of system calls.
const ENOSYS: i64 = 38;
/// "Permission denied": owners and modes of files, or Landlock.
const EACCES: i64 = 13;

/// One thing that the intruder tries, in the debugger's words, and how it must fail; none: it is
/// something that the edge may do.
struct Try {
    what: &'static str,
    commands: Vec<String>,
    fails: Option<i64>,
}

/// A call of a C function.
fn call(what: &'static str, function: &str, arguments: &str) -> Try {
    let call = format!("set $answer = (long)((int(*)(long,...)){function})({arguments})");
    Try { what, commands: vec![call], fails: Some(ENOSYS) }
}

fn read(what: &'static str, path: &Path) -> Try {
    Try { fails: Some(EACCES), ..call(what, "open64", &format!("(long)\"{}\",0", path.display())) }
}

/// An address of this host in memory, and a socket.
fn at_port(port: u16) -> Vec<String> {
    vec![
        "set $address = ((long(*)(long))malloc)(16)".to_owned(),
        "set *(unsigned short*)$address = 2".to_owned(),
        format!("set *(unsigned short*)($address+2) = {}", port.to_be()),
        "set *(unsigned int*)($address+4) = 0x0100007f".to_owned(),
        "set $socket = ((int(*)(int,int,int))socket)(2,1,0)".to_owned(),
    ]
}

fn at_socket(what: &'static str, function: &str, port: u16, fails: Option<i64>) -> Try {
    let call = format!("((int(*)(int,long,int)){function})($socket,$address,16)");
    let mut commands = at_port(port);
    commands.push(format!("set $answer = (long){call}"));
    Try { what, commands, fails }
}

/// What is to be kept from the edge, and what is not.
fn tries(shop: &Shop, database: &str, (upstream, core): (u16, u32)) -> Vec<Try> {
    let var = shop.path().join("var");
    let port = database.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap().1.parse().unwrap();
    vec![
        // That the method works.
        at_socket("an upstream", "connect", upstream, None),
        Try { fails: None, ..read("the host's names", Path::new("/etc/hosts")) },
        read("the root key", &shop.path().join("kh/root.key")),
        read("the keyholder's socket", &shop.path().join("run/socket")),
        read("the keys' database", &var.join("keys/keys.db")),
        read("the data folder", &var),
        read("the configuration", &shop.config()),
        read("the mail server's password", &shop.path().join("mail.pw")),
        read("the host's users", Path::new("/etc/passwd")),
        read("core's memory", Path::new(&format!("/proc/{core}/mem"))),
        read("its own memory", Path::new("/proc/self/mem")),
        at_socket("the database", "connect", port, Some(EACCES)),
        at_socket("the mail server", "connect", 9, Some(EACCES)),
        at_socket("a listener", "bind", 0, Some(ENOSYS)),
        // O_WRONLY | O_CREAT where everybody may write.
        call("a file of its own", "open64", "(long)\"/tmp/left-behind-by-the-edge\",65,384"),
        call("a shell", "execve", "(long)\"/bin/sh\",0,0"),
        call("a process", "fork", "0"),
        call("ptrace of core", "ptrace", &format!("16,{core},0,0")),
        call("a signal to core", "kill", &format!("{core},0")),
        call("core's pages", "process_vm_readv", &format!("{core},0,0,0,0,0")),
        call("core's descriptors", "syscall", &format!("434,{core},0")),
        call("a local socket", "socket", "1,1,0"),
        call("a netlink socket", "socket", "16,3,0"),
        call("a raw socket", "socket", "2,3,6"),
        call("a socket of another protocol", "socket", "2,1,262"),
        call("root's rights", "setuid", "0"),
        call("core's rights", "setresuid", &format!("{CORE_USER},{CORE_USER},{CORE_USER}")),
        call("new code", "mmap", "0,4096,7,34,-1,0"),
        call("a mount", "mount", "0,0,0,0,0"),
        call("a namespace", "unshare", "0x10000000"),
        call("a program in the kernel", "syscall", "321,0,0,0"),
        call("a ring of the kernel", "syscall", "425,8,0"),
        call("the kernel's keys", "syscall", "250,0,-4,0"),
    ]
}

/// Code runs in the edge's process, as the edge.
fn tries_everything(shop: &Shop, database: &str, (edge, core): (u32, u32)) {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let tries = tries(shop, database, (upstream.local_addr().unwrap().port(), core));
    let mut commands = vec!["set pagination off".to_owned()];
    for Try { what, commands: call, .. } in &tries {
        commands.extend(call.iter().cloned());
        let errno = "*((int*(*)(void))__errno_location)()";
        commands.push(format!("printf \"TRIED {what} = %ld %d\\n\", $answer, {errno}"));
    }
    let (answers, told) = debug(edge, &commands);
    for Try { what, fails, .. } in &tries {
        let (answer, errno) = answers.get(*what).unwrap_or_else(|| panic!("{what}: {told}"));
        match fails {
            None => assert!(*answer >= 0, "{what} is the edge's right, and failed: {errno}"),
            Some(fails) => {
                assert_eq!((*answer, *errno), (-1, *fails), "{what} was to fail otherwise");
            }
        }
    }
    eprintln!("{} things were tried in the edge's process, and failed", tries.len() - 2);
}

/// Runs the debugger's commands in a process; what each try answered, and all that was said.
fn debug(process: u32, commands: &[String]) -> (BTreeMap<String, (i64, i64)>, String) {
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-nx", "-batch", "-p", &process.to_string()]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let output = gdb.output().unwrap();
    let told = crate::program::words(&output);
    let answers = told.lines().filter_map(|line| {
        let (what, answer) = line.strip_prefix("TRIED ")?.rsplit_once(" = ")?;
        let (answer, errno) = answer.split_once(' ')?;
        Some((what.to_owned(), (answer.parse().ok()?, errno.parse().ok()?)))
    });
    (answers.collect(), told)
}

/// Three users besides root's, no group, no right; memory that no other process may open.
fn are_other_users(processes: [u32; 3]) {
    use std::os::unix::fs::MetadataExt as _;
    let users = [EDGE_USER, CORE_USER, KEYHOLDER_USER];
    for (process, user) in processes.into_iter().zip(users) {
        let group = if user == KEYHOLDER_USER { CORE_USER } else { user };
        let folder = Path::new("/proc").join(process.to_string());
        let status = std::fs::read_to_string(folder.join("status")).unwrap();
        for line in [
            format!("Uid:\t{user}\t{user}\t{user}\t{user}\n"),
            format!("Gid:\t{group}\t{group}\t{group}\t{group}\n"),
            "Groups:\t \n".to_owned(),
            "CapPrm:\t0000000000000000\n".to_owned(),
            "NoNewPrivs:\t1\n".to_owned(),
            "Seccomp:\t2\n".to_owned(),
        ] {
            assert!(status.contains(&line), "{line} in {status}");
        }
        let limits = std::fs::read_to_string(folder.join("limits")).unwrap();
        let dumps = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(dumps.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{dumps}");
        assert_eq!(std::fs::metadata(folder.join("mem")).unwrap().uid(), 0, "it can be dumped");
        assert_eq!(std::fs::read(folder.join("environ")).unwrap().split(|b| *b == b'=').count(), 2);
    }
}

/// Every byte that a process has in memory and did not map from a file to read it.
pub(crate) fn memory(process: u32) -> Vec<Vec<u8>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut pieces = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        let is_file = fields.nth(2).is_some_and(|inode| inode != "0");
        if !rights.starts_with('r') || (is_file && !rights.contains('w')) {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16));
        let (from, to) = (from.unwrap(), to.unwrap());
        let mut piece = vec![0; usize::try_from(to - from).unwrap()];
        // The kernel's own pages ([vvar]) cannot be read.
        if memory.read_exact_at(&mut piece, from).is_ok() {
            pieces.push(piece);
        }
    }
    pieces
}

/// Where these bytes stand: which piece, and where in it.
pub(crate) fn places(memory: &[Vec<u8>], wanted: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (number, piece) in memory.iter().enumerate() {
        let mut from = 0;
        while let Some(at) = piece[from..].iter().position(|byte| *byte == wanted[0]) {
            let at = from + at;
            if piece[at..].starts_with(wanted) {
                found.push((number, at));
            }
            from = at + 1;
        }
    }
    found
}

fn holds_no_secret(shop: &Shop, serving: &Serving, processes: [u32; 3], session: &str) {
    let [edge, core, keyholder] = processes.map(memory);
    let file = std::fs::read_to_string(shop.path().join("kh/root.key")).unwrap();
    let root = file.trim_end().rsplit_once(':').unwrap().1.to_owned();
    let root_bytes = STANDARD.decode(&root).unwrap();
    assert!(root_bytes.len() >= 32);
    let signing = signing_seed(shop, serving, &core);
    // That the search works: core holds what it needs.
    assert!(!places(&keyholder, &root_bytes).is_empty(), "the keyholder has no root key");
    assert_eq!(places(&core, &root_bytes), [], "core holds the root key");
    assert_eq!(places(&keyholder, DATABASE_PASSWORD.as_bytes()), [], "the keyholder knows more");
    for (what, secret) in [
        ("the mail server's password", MAIL_PASSWORD.as_bytes()),
        ("the database's password", DATABASE_PASSWORD.as_bytes()),
        ("the signing key", &signing),
    ] {
        assert!(!places(&core, secret).is_empty(), "core does not hold {what}");
    }
    for (what, secret) in [
        ("the root key", root_bytes.as_slice()),
        ("the root key's text", root.as_bytes()),
        ("the mail server's password", MAIL_PASSWORD.as_bytes()),
        ("the database's password", DATABASE_PASSWORD.as_bytes()),
        ("the signing key", &signing),
        ("a person's name", NAME.as_bytes()),
        ("a person's password", PASSWORD.as_bytes()),
        ("another's session", session.as_bytes()),
    ] {
        assert_eq!(places(&edge, secret), [], "the edge holds {what}");
    }
    let bytes: usize = edge.iter().map(Vec::len).sum();
    eprintln!("{bytes} bytes of the edge's memory hold no secret of the house");
}

/// The private half of the key that signs session tokens, as it lies in core's memory beside its
/// public half.
fn signing_seed(shop: &Shop, serving: &Serving, core: &[Vec<u8>]) -> Vec<u8> {
    let (_, keys) = serving.curl(shop, &[], "/.well-known/jwks.json");
    let keys: Value = serde_json::from_str(&keys).unwrap();
    let public = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    let seeds = places(core, &public).into_iter().filter_map(|(piece, at)| {
        let seed = core[piece].get(at.checked_sub(32)?..at)?;
        Ed25519KeyPair::from_seed_and_public_key(seed, &public).ok().map(|_| seed.to_vec())
    });
    seeds.into_iter().next().expect("core signs with this key")
}

/// What the edge's descriptors can ask of core: everything that a client could, and no more.
fn speaks_to_core(edge: u32, secret: &str) {
    let facts =
        json!({ "address": "192.0.2.1", "agent": null, "fingerprint": null, "https": true });
    let line = line_of(edge).expect("the edge has a line to core");
    let own = |door: &str| json!({ "own": { "door": door, "facts": facts } }).to_string();
    for (door, path) in [("shop", "/v1/account"), ("console", "/console/events")] {
        let answer = ask(&line, &own(door), ("GET", path), "").unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    let mint = |cookie: &str| {
        let body = json!({ "cookie": cookie, "facts": facts }).to_string();
        let answer = ask(&line, "\"mint\"", ("POST", "/"), &body).unwrap();
        answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
    };
    let mut other = secret.to_owned();
    let last = if other.pop() == Some('A') { 'B' } else { 'A' };
    other.push(last);
    for cookie in ["", "x", &other, "ses_00000000000000000000000000"] {
        assert_eq!(mint(cookie), "null", "a token was minted for {cookie}");
    }
    // That the method works: whoever has a session's secret gets its token.
    assert!(mint(secret).contains("\"token\""));
    let answer = ask(&line, "{}", ("GET", "/v1/account"), "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// The edge's end of the line: of its sockets the one over which core answers.
fn line_of(edge: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(edge).unwrap())?;
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    // The first is the way to the supervisor.
    (1..64).find_map(|number| {
        let end = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
        let answer = ask(&end, "{}", ("GET", "/"), "").ok()?;
        answer.starts_with("HTTP/1.1 400").then_some(end)
    })
}

/// One call to core, as the edge makes it: one end of a pair goes over the line.
fn ask(
    line: &OwnedFd,
    call: &str,
    (method, path): (&str, &str),
    body: &str,
) -> std::io::Result<String> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors = [theirs.as_fd()];
    assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(line, &[std::io::IoSlice::new(&[0])], &mut beside, flags)?;
    drop(theirs);
    ours.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        ours,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-stagedoor-call: \
         {call}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    ours.read_to_string(&mut answer)?;
    Ok(answer)
}
