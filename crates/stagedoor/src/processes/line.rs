//! The line between edge and core: a pair of sockets over which the edge hands core one end of each
//! connection that it wants. There is no address that anybody else could connect to, and a process
//! that may not open local sockets can still speak to core, and to nobody else.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::handover::{receive_with, send_with};

/// How long a connection may wait for room on the line.
const DIAL: Duration = Duration::from_secs(5);

/// How soon it is looked whether there is a new line.
const AGAIN: Duration = Duration::from_millis(20);

/// The edge's end. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Dialer(Arc<RwLock<Arc<UnixStream>>>);

impl Dialer {
    /// A dialer on this line.
    pub(super) fn new(line: OwnedFd) -> io::Result<Self> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(open(line)?)))))
    }

    /// Core is another process from now on, at the end of this line.
    pub(super) fn replace(&self, line: OwnedFd) -> io::Result<()> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(open(line)?);
        Ok(())
    }

    async fn dial(self) -> io::Result<TokioIo<UnixStream>> {
        let (ours, theirs) = UnixStream::pair()?;
        let handed = async {
            while let Err(error) = self.hand(&theirs).await {
                // Core has just died: the supervisor makes a new line.
                tracing::debug!(%error, "nobody is at the end of the line");
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::time::timeout(DIAL, handed).await?;
        Ok(TokioIo::new(ours))
    }

    async fn hand(&self, end: &UnixStream) -> io::Result<()> {
        let line = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let hand = || send_with(line.as_fd(), &[0], &[end.as_fd()]);
        line.async_io(Interest::WRITABLE, hand).await
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}

/// Core's end.
#[derive(Debug)]
pub(super) struct Acceptor(UnixStream);

impl Acceptor {
    /// The end of this line.
    pub(super) fn new(line: OwnedFd) -> io::Result<Self> {
        Ok(Self(open(line)?))
    }

    /// The next connection; none where the edge is gone.
    pub(super) async fn accept(&self) -> io::Result<Option<UnixStream>> {
        loop {
            let mut byte = [0];
            let take = || receive_with(self.0.as_fd(), &mut byte);
            let (count, descriptors) = self.0.async_io(Interest::READABLE, take).await?;
            if count == 0 {
                return Ok(None);
            }
            // Whatever else the other end may send is closed again.
            let Some(end) = descriptors.into_iter().next() else { continue };
            if let Ok(connection) = open(end) {
                return Ok(Some(connection));
            }
        }
    }
}

fn open(end: OwnedFd) -> io::Result<UnixStream> {
    let end = StdUnixStream::from(end);
    end.set_nonblocking(true)?;
    UnixStream::from_std(end)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_passes_and_the_end_of_the_edge_is_seen() {
        let (edge, core) = StdUnixStream::pair().unwrap();
        let dialer = Dialer::new(edge.into()).unwrap();
        let acceptor = Acceptor::new(core.into()).unwrap();
        let mut ours = dialer.clone().dial().await.unwrap().into_inner();
        let mut theirs = acceptor.accept().await.unwrap().unwrap();
        ours.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        drop(dialer);
        assert!(acceptor.accept().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn connections_wait_for_a_core_that_is_not_there_yet() {
        let (edge, core) = StdUnixStream::pair().unwrap();
        let dialer = Dialer::new(edge.into()).unwrap();
        let mut waiting = Vec::new();
        for _ in 0..32 {
            waiting.push(dialer.clone().dial().await.unwrap());
        }
        let acceptor = Acceptor::new(core.into()).unwrap();
        for _ in 0..32 {
            assert!(acceptor.accept().await.unwrap().is_some());
        }
    }
}
