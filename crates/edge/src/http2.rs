//! What HTTP/2 needs beyond its library: a client that floods with frames, or does not take what it
//! asked for, ends; one stream that stands still is reset, and its siblings go on.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::bounds::Bounds;
use crate::deadline::Deadline;
use crate::frames::{Frames, Purse};
use crate::recorder::Ledger;
use crate::socket::Counted;
use crate::uptake::Uptake;

/// The largest piece of an answer that is handed to the library at once: what a stream that stands
/// still can hold.
pub(crate) const PIECE_BYTES: usize = 16 * 1024;

/// A connection as the library reads and writes it.
pub(crate) struct Guarded<S> {
    socket: S,
    ledger: Arc<Ledger>,
    frames: Frames,
    purse: Purse,
    uptake: Uptake,
    timer: Option<Deadline>,
}

impl<S> Guarded<S> {
    pub(crate) fn new(socket: S, bounds: &Bounds, ledger: Arc<Ledger>) -> Self {
        Self {
            socket,
            ledger,
            frames: Frames::default(),
            purse: Purse::new(bounds.control_frames_max, Instant::now()),
            uptake: Uptake::new(bounds),
            timer: None,
        }
    }
}

impl<S: Counted> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = to.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, to))?;
        let count = this.frames.count(to.filled().get(before..).unwrap_or_default());
        if count > 0 && !this.purse.pay(count, this.socket.taken(), Instant::now()) {
            this.ledger.flood();
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Counted> Guarded<S> {
    fn paced<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let taken = self.socket.taken();
        self.uptake.waits(taken);
        ready!(poll_late(cx, &mut self.uptake, &mut self.timer, taken));
        self.socket.give_up();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Ready once a client is late in taking what waits for it.
fn poll_late(
    cx: &mut Context<'_>,
    uptake: &mut Uptake,
    timer: &mut Option<Deadline>,
    taken: u64,
) -> Poll<()> {
    while let Some(by) = uptake.by() {
        ready!(timer.get_or_insert_with(|| Deadline::new(by)).poll(cx, by));
        if uptake.is_late(taken) {
            return Poll::Ready(());
        }
    }
    Poll::Pending
}

impl<S: Counted> AsyncWrite for Guarded<S> {
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
        let shut = Pin::new(&mut this.socket).poll_shutdown(cx);
        this.paced(cx, shut)
    }
}

/// What an answer's body did while its stream was last polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was not asked: there is no answer yet, or the client's window is full.
    Unasked,
    /// It gave so many bytes, and was not asked again.
    Gave(usize),
    /// It had nothing to give.
    Dry,
}

thread_local! {
    /// The library polls a stream and, inside it, its body: this is the only way from one to the
    /// other, since the library alone knows the window.
    static STEP: Cell<Step> = const { Cell::new(Step::Unasked) };
}

/// Notes what the body of the stream that is being polled did.
pub(crate) fn note(step: Step) {
    STEP.set(match (STEP.get(), step) {
        (Step::Gave(before), Step::Gave(more)) => Step::Gave(before.saturating_add(more)),
        (_, step) => step,
    });
}

/// Runs a connection's streams, each until it is done or stands still for too long.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    tasks: TaskTracker,
    uptake: Uptake,
}

impl Streams {
    pub(crate) const fn new(tasks: TaskTracker, bounds: &Bounds) -> Self {
        Self { tasks, uptake: Uptake::new(bounds) }
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.tasks.spawn(moving(stream, self.uptake));
    }
}

/// A stream; dropped, and so reset, where its client does not take what it gives.
async fn moving<F: Future>(stream: F, mut uptake: Uptake) {
    let mut stream = pin!(stream);
    let mut timer = None;
    let (mut given, mut begun) = (0u64, false);
    poll_fn(|cx| {
        STEP.set(Step::Unasked);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match STEP.get() {
            Step::Dry => {
                uptake.caught_up();
                begun = true;
                return Poll::Pending;
            }
            Step::Gave(bytes) => {
                given = given.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                begun = true;
            }
            Step::Unasked if !begun => return Poll::Pending,
            Step::Unasked => {}
        }
        uptake.waits(given);
        poll_late(cx, &mut uptake, &mut timer, given)
    })
    .await;
}
