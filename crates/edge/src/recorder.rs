//! Stands between the socket and hyper: judges and keeps each HTTP/1 head before hyper sees it.
//!
//! A refused head is replaced by a harmless one whose record says why, so that the refusal is
//! answered in its turn, after the answers to earlier requests on the same connection, and
//! nothing that came behind it is read as HTTP. Idle and slow clients are cut off here too.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::rt::ReadBufCursor;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::bounds::Bounds;
use crate::deadline::Deadline;
use crate::framing::{Framer, Step};
use crate::head::{Flaw, HeadBounds};
use crate::socket::Counted;
use crate::uptake::Uptake;

/// What hyper is given in place of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";
/// The first size of the read buffer; it doubles up to what a head may need.
const BUFFER_BYTES: usize = 4 * 1024;
/// What the read buffer may grow to while a body comes in faster than it is taken.
const BODY_BUFFER_BYTES: usize = 64 * 1024;
/// How much of a refused client's words is read and dropped, so that it sees the answer before
/// the connection is reset (RFC 9112 section 9.6). A client that can send no more, because its
/// connection was reset, may not even look at the answer that has arrived.
pub(crate) const LINGER_BYTES: usize = 1024 * 1024;

/// One request head as it came.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The bytes of the head: field order, case and spaces as sent. Empty for HTTP/2.
    pub(crate) raw: Bytes,
    /// Why it is refused, if it is.
    pub(crate) flaw: Option<Flaw>,
    /// Asks for a WebSocket.
    pub(crate) websocket: bool,
}

impl Record {
    /// The record of a request whose raw bytes are not kept.
    #[must_use]
    pub(crate) const fn unseen() -> Self {
        Self { raw: Bytes::new(), flaw: None, websocket: false }
    }
}

const UNDECIDED: u8 = 0;
const OPENED: u8 = 1;
const REFUSED: u8 = 2;

/// What the recorder and the service behind hyper share.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: Mutex<VecDeque<Record>>,
    upgrade: AtomicU8,
    waker: AtomicWaker,
    /// Requests that hyper has read and whose answers are not written yet.
    busy: AtomicUsize,
    flooded: AtomicBool,
}

/// A request that is being answered: while one is, its connection is not idle.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Ledger>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of the request that hyper has just read.
    pub(crate) fn take(&self) -> Option<Record> {
        self.lock().pop_front()
    }

    /// Counts a request until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// Whether no request is being answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Acquire) == 0
    }

    /// The client sends more frames than it may.
    pub(crate) fn flood(&self) {
        self.flooded.store(true, Ordering::Release);
    }

    /// Whether it did.
    pub(crate) fn is_flooded(&self) -> bool {
        self.flooded.load(Ordering::Acquire)
    }

    /// Says whether the WebSocket that was asked for is opened.
    pub(crate) fn decide(&self, open: bool) {
        self.upgrade.store(if open { OPENED } else { REFUSED }, Ordering::Release);
        self.waker.wake();
    }
}

/// The times and sizes of one connection.
#[derive(Clone, Copy, Debug)]
struct Pace {
    idle: Duration,
    head: Duration,
    buffer_max: usize,
}

/// The stream between socket and hyper.
pub(crate) struct Recorder<S> {
    socket: S,
    ledger: Arc<Ledger>,
    framer: Framer,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes at the front that hyper may have.
    released: usize,
    stand_in: &'static [u8],
    flawed: bool,
    closed: bool,
    pace: Pace,
    /// When an idle or half-spoken connection ends; none while a request is worked on.
    read_by: Option<Instant>,
    head_begun: bool,
    uptake: Uptake,
    timer: Deadline,
    lingered: usize,
    shut: bool,
    /// The last read filled the buffer.
    filled: bool,
}

impl<S> Recorder<S> {
    /// Around a socket at the start of its HTTP.
    pub(crate) fn new(socket: S, bounds: &Bounds, ledger: Arc<Ledger>) -> Self {
        let heads = HeadBounds {
            head_max_bytes: bounds.head_max_bytes,
            target_max_bytes: bounds.target_max_bytes,
            fields_max: bounds.fields_max,
        };
        let pace = Pace {
            idle: Duration::from_millis(bounds.idle_ms),
            head: Duration::from_millis(bounds.head_ms),
            buffer_max: bounds.head_max_bytes.max(BUFFER_BYTES),
        };
        let first = Instant::now() + pace.head;
        Self {
            socket,
            ledger,
            framer: Framer::new(heads),
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            released: 0,
            stand_in: &[],
            flawed: false,
            closed: false,
            pace,
            read_by: Some(first),
            head_begun: true,
            uptake: Uptake::new(bounds),
            timer: Deadline::new(first),
            lingered: 0,
            shut: false,
            filled: false,
        }
    }

    fn held(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Takes the next step over the held bytes; whether hyper can be given something, or must
    /// wait for more bytes (`None`), or for the decision about a WebSocket.
    fn advance(&mut self) -> Advance {
        loop {
            let start = self.start;
            let held = self.buffer.get(start..self.end).unwrap_or_default();
            match self.framer.step(held) {
                Step::More => return Advance::More,
                Step::Pass(count) => {
                    self.released = count;
                    return Advance::Give;
                }
                Step::Skip(count) => self.consume(count),
                Step::Hold => match self.ledger.upgrade.swap(UNDECIDED, Ordering::AcqRel) {
                    OPENED => self.framer.open_tunnel(),
                    REFUSED => self.framer.release(),
                    _ => return Advance::Hold,
                },
                Step::Head(count, head) => {
                    let raw = held.get(..count).unwrap_or_default();
                    let record = Record {
                        raw: Bytes::copy_from_slice(raw),
                        flaw: None,
                        websocket: head.websocket,
                    };
                    self.ledger.lock().push_back(record);
                    self.released = count;
                    self.read_by = None;
                    self.head_begun = false;
                    return Advance::Give;
                }
                Step::Flaw(flaw) => {
                    self.refuse(flaw);
                    return if self.stand_in.is_empty() { Advance::Broken } else { Advance::Give };
                }
            }
        }
    }

    /// A flaw in a head is answered in its turn; one inside a body ends the connection, because
    /// its request is already under way.
    fn refuse(&mut self, flaw: Flaw) {
        self.flawed = true;
        self.read_by = None;
        if matches!(flaw, Flaw::Chunk | Flaw::Trailer) {
            return;
        }
        let raw = Bytes::copy_from_slice(self.held().get(..256).unwrap_or(self.held()));
        let record = Record { raw, flaw: Some(flaw), websocket: false };
        self.ledger.lock().push_back(record);
        self.stand_in = STAND_IN;
    }

    /// Where a head is awaited, sets when it must be there.
    fn set_pace(&mut self) {
        if !self.framer.in_head() || !self.ledger.is_idle() {
            self.read_by = None;
            return;
        }
        let begun = self.start < self.end;
        if self.read_by.is_none() || (begun && !self.head_begun) {
            let span = if begun { self.pace.head } else { self.pace.idle };
            self.read_by = Some(Instant::now() + span);
            self.head_begun = begun;
        }
    }
}

enum Advance {
    Give,
    More,
    Hold,
    Broken,
}

impl<S: Counted> Recorder<S> {
    /// Ready once a client is late: with its next head while no request is being answered, or in
    /// taking its answer.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let by = match (self.read_by, self.uptake.by()) {
                (Some(read), Some(write)) => read.min(write),
                (Some(by), None) | (None, Some(by)) => by,
                (None, None) => return Poll::Pending,
            };
            ready!(self.timer.poll(cx, by));
            if self.uptake.is_late(self.socket.taken()) {
                self.socket.give_up();
                return Poll::Ready(());
            }
            let now = Instant::now();
            if self.read_by.is_some_and(|by| by <= now) {
                if self.ledger.is_idle() {
                    return Poll::Ready(());
                }
                self.read_by = Some(now + self.pace.idle);
            }
        }
    }

    /// Reads from the socket behind the held bytes; `Ok(0)` at its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.end == 0 {
            self.fit();
        } else if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end = self.end.saturating_sub(self.start);
                self.start = 0;
            } else {
                let larger = self.buffer.len().saturating_mul(2).min(self.pace.buffer_max);
                if larger <= self.buffer.len() {
                    return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
                }
                self.buffer.resize(larger, 0);
            }
        }
        let mut room = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.end = self.end.saturating_add(count);
        self.filled = self.end == self.buffer.len();
        Poll::Ready(Ok(count))
    }

    /// Gives an empty buffer the size that suits what comes: large for a body that filled it,
    /// small again for heads.
    fn fit(&mut self) {
        if self.framer.in_head() {
            if self.buffer.len() > BUFFER_BYTES {
                self.buffer = vec![0; BUFFER_BYTES];
            }
        } else if self.filled && self.buffer.len() < BODY_BUFFER_BYTES {
            self.buffer = vec![0; self.buffer.len().saturating_mul(2).min(BODY_BUFFER_BYTES)];
        }
    }
}

impl<S: Counted> hyper::rt::Read for Recorder<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.stand_in.is_empty() {
                let (now, later) = this.stand_in.split_at(this.stand_in.len().min(to.remaining()));
                to.put_slice(now);
                this.stand_in = later;
                return Poll::Ready(Ok(()));
            }
            if this.released > 0 {
                let count = this.released.min(to.remaining());
                to.put_slice(this.held().get(..count).unwrap_or_default());
                this.consume(count);
                this.released = this.released.saturating_sub(count);
                return Poll::Ready(Ok(()));
            }
            if this.flawed {
                // Nothing more will be understood: hyper answers what it has and closes.
                return Poll::Pending;
            }
            match this.advance() {
                Advance::Give => continue,
                Advance::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Advance::Hold => {
                    this.ledger.waker.register(cx.waker());
                    if this.ledger.upgrade.load(Ordering::Acquire) != UNDECIDED {
                        continue;
                    }
                    if this.closed || this.end.saturating_sub(this.start) >= BUFFER_BYTES {
                        return Poll::Pending;
                    }
                }
                Advance::More if this.closed => return Poll::Ready(Ok(())),
                Advance::More => this.set_pace(),
            }
            match this.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    this.closed = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_late(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
    }
}

impl<S: Counted> Recorder<S> {
    fn paced<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        self.uptake.waits(self.socket.taken());
        ready!(self.poll_late(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads and drops what a refused client still sends, within bounds.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.flawed && !self.framer.in_body() {
            return Poll::Ready(());
        }
        self.start = 0;
        self.end = 0;
        while self.lingered < LINGER_BYTES {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => break,
                Poll::Ready(Ok(count)) => {
                    self.lingered = self.lingered.saturating_add(count);
                    self.start = 0;
                    self.end = 0;
                }
                Poll::Pending => return self.poll_late(cx),
            }
        }
        Poll::Ready(())
    }
}

impl<S: Counted> hyper::rt::Write for Recorder<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.paced(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bytes);
        this.paced(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        if flushed.is_ready() {
            this.uptake.caught_up();
        }
        this.paced(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.shut = true;
            this.uptake.caught_up();
            this.read_by = Some(Instant::now() + Duration::from_secs(1));
        }
        ready!(this.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}
