//! A server that dies: a small TCP proxy between the program and its database that cuts, hushes and
//! mends connections, or lets a test look at each message before it passes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the program to the server.
    ToServer,
    /// Back.
    FromServer,
}

/// Looks at a message of a connection (they are numbered); false: it is lost, its connection cut.
pub type Look = Box<dyn Fn(u64, Way, &[u8]) -> bool + Send + Sync>;

/// The proxy. Dropped, it cuts all connections and listens no more.
pub struct Proxy {
    address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    server: String,
    look: Look,
    lost: AtomicBool,
    silent: AtomicBool,
    count: AtomicU64,
    open: Mutex<Vec<Arc<Pair>>>,
}

/// One connection: the program's end and the server's.
struct Pair {
    number: u64,
    ends: [TcpStream; 2],
    silent: AtomicBool,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy before `host:port`.
    ///
    /// # Panics
    /// Where this host has no free port.
    #[must_use]
    pub fn before(server: &str) -> Self {
        Self::watching(server, Box::new(|_, _, _| true))
    }

    /// A proxy that shows each message to `look` before it passes.
    ///
    /// # Panics
    /// Where this host has no free port.
    #[must_use]
    pub fn watching(server: &str, look: Look) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let inner = Arc::new(Inner {
            server: server.to_owned(),
            look,
            lost: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            count: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let accepting = Arc::downgrade(&inner);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(inner) = accepting.upgrade() else { return };
                // Where the server refuses, the client sees its connection end.
                let _ = inner.join(client);
            }
        });
        Self { address, inner }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL with this proxy in the place of its host and port.
    ///
    /// # Panics
    /// Where it is no URL with a user.
    #[must_use]
    pub fn instead_of(&self, url: &str) -> String {
        let (user, place) = url.split_once('@').expect("scheme://user@host:port/name");
        let (_, name) = place.split_once('/').expect("scheme://user@host:port/name");
        format!("{user}@{}/{name}", self.address)
    }

    /// The server is down: connections are cut, new ones end at once.
    pub fn lose(&self) {
        self.inner.lost.store(true, Ordering::SeqCst);
        self.inner.cut_all();
    }

    /// The network is gone without a word: nothing passes any more, and nobody is told.
    pub fn hush(&self) {
        self.inner.silent.store(true, Ordering::SeqCst);
        for pair in self.inner.open().iter() {
            pair.silent.store(true, Ordering::SeqCst);
        }
    }

    /// New connections pass again. Those that were hushed stay silent: their host is another now.
    pub fn mend(&self) {
        self.inner.lost.store(false, Ordering::SeqCst);
        self.inner.silent.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.lose();
        // Wakes the listener, which then finds nobody.
        let _ = TcpStream::connect(self.address);
    }
}

impl Inner {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Pair>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self) {
        for pair in self.open().drain(..) {
            pair.cut();
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        if self.lost.load(Ordering::SeqCst) {
            return client.shutdown(Shutdown::Both);
        }
        let server = TcpStream::connect(&self.server)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let pair = Arc::new(Pair {
            number: self.count.fetch_add(1, Ordering::SeqCst),
            ends: [client, server],
            silent: AtomicBool::new(self.silent.load(Ordering::SeqCst)),
        });
        self.open().push(Arc::clone(&pair));
        for way in [Way::ToServer, Way::FromServer] {
            let (inner, pair) = (Arc::clone(self), Arc::clone(&pair));
            std::thread::spawn(move || {
                // Either end may go away at any moment.
                let _ = pair.pump(way, &inner.look);
                pair.cut();
                inner.open().retain(|open| open.number != pair.number);
            });
        }
        Ok(())
    }
}

impl Pair {
    fn pump(&self, way: Way, look: &Look) -> std::io::Result<()> {
        let (mut from, mut to) = match way {
            Way::ToServer => (&self.ends[0], &self.ends[1]),
            Way::FromServer => (&self.ends[1], &self.ends[0]),
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if self.silent.load(Ordering::SeqCst) {
                continue;
            }
            if !look(self.number, way, &buffer[..length]) {
                return Ok(());
            }
            to.write_all(&buffer[..length])?;
        }
    }

    fn cut(&self) {
        for end in &self.ends {
            // Where it is cut already, that is as well.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
