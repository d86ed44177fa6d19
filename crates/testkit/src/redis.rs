//! A Redis of one test's own: it can be killed, made to hang, and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

/// The server. Dropped, it dies.
#[derive(Debug)]
pub struct Redis {
    program: &'static str,
    port: u16,
    child: Child,
}

impl Redis {
    /// Starts `redis-server` or `valkey-server` on a free port, without a disk. None, and said
    /// loudly, where neither is installed; in CI that fails the test.
    ///
    /// # Panics
    /// Where it is installed and does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let installed = |program: &&str| {
            let asked = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let Some(program) = ["redis-server", "valkey-server"].into_iter().find(installed) else {
            assert!(!crate::database::is_ci(), "no Redis is installed");
            eprintln!("LEFT OUT: no Redis is installed");
            return None;
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        Some(Self { program, port, child: run(program, port) })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// kill -9.
    ///
    /// # Panics
    /// Where it is dead already.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// It hangs: connections stay, and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Another one in the same place, empty; to be called after [`Redis::kill`].
    pub fn restart(&mut self) {
        self.child = run(self.program, self.port);
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a real program takes real time")]
fn run(program: &str, port: u16) -> Child {
    let port_text = port.to_string();
    let child = Command::new(program)
        .args(["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut waited = Duration::ZERO;
    while TcpStream::connect(address).is_err() {
        assert!(waited < PATIENCE, "{program} does not listen");
        std::thread::sleep(STEP);
        waited += STEP;
    }
    child
}
