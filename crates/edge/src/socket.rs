//! A client's socket: it begins with bytes that were read before, and counts those that the client
//! takes, under TLS, where nothing in between can hold them back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The socket.
#[derive(Debug)]
pub(crate) struct Socket {
    first: Bytes,
    stream: TcpStream,
    taken: u64,
}

impl Socket {
    pub(crate) const fn new(first: Bytes, stream: TcpStream) -> Self {
        Self { first, stream, taken: 0 }
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.taken = self.taken.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        written
    }
}

/// A way to a client that knows how much of what was written has gone.
pub(crate) trait Counted: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Bytes that the client's socket has taken since it was opened.
    fn taken(&self) -> u64;

    /// Closing drops what was not taken: a client that does not take it would keep it in the kernel.
    fn give_up(&self);
}

impl Counted for Socket {
    fn taken(&self) -> u64 {
        self.taken
    }

    fn give_up(&self) {
        let _ = self.stream.set_zero_linger();
    }
}

impl Counted for TlsStream<Socket> {
    fn taken(&self) -> u64 {
        self.get_ref().0.taken
    }

    fn give_up(&self) {
        self.get_ref().0.give_up();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, to);
        }
        let count = self.first.len().min(to.remaining());
        to.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
