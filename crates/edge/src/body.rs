//! Bodies on their way through: counted, paced, never gathered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::deadline::Deadline;
use crate::framing::may_be_trailer;
use crate::http2;
use crate::long_lived::Place;
use crate::recorder::{Busy, LINGER_BYTES};
use crate::upstream::FromUpstream;

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BodyFault {
    /// It is larger than the route allows.
    #[error("the request body is larger than allowed")]
    TooLarge,
    /// The client sends too slowly.
    #[error("the request body comes too slowly")]
    Slow,
    /// The client is gone, or sent something that is no body.
    #[error("the request body broke off")]
    Broken,
    /// The upstream broke off or is too slow.
    #[error("the response broke off")]
    Response,
    /// The session ended or the client is blocked.
    #[error("the stream was closed")]
    Closed,
}

/// Where a request body tells what became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicU8>);

impl Fate {
    fn set(&self, fault: BodyFault) {
        let code = match fault {
            BodyFault::TooLarge => 1,
            BodyFault::Slow => 2,
            BodyFault::Broken | BodyFault::Response | BodyFault::Closed => 3,
        };
        self.0.store(code, Ordering::Release);
    }

    /// The fault of the body, if it had one.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            1 => Some(BodyFault::TooLarge),
            2 => Some(BodyFault::Slow),
            _ => Some(BodyFault::Broken),
        }
    }
}

/// How a request body may come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes at most.
    pub(crate) max_bytes: u64,
    /// The longest time for `min_bytes`.
    pub(crate) idle: Duration,
    /// What each such time must bring.
    pub(crate) min_bytes: u64,
}

/// A request body from a client.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    pace: Pace,
    passed: u64,
    /// Bytes since the deadline was last moved.
    since: u64,
    by: Option<Instant>,
    timer: Option<Deadline>,
    fate: Option<Fate>,
    /// What nobody reads is read all the same.
    is_drained: bool,
}

/// For how long a body that was answered unread is read: the reset or the closed connection that tells
/// the client to stop can cost it the answer.
const LEFT_MAX: Duration = Duration::from_secs(1);

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        let least = usize::try_from(incoming.size_hint().lower()).unwrap_or(usize::MAX);
        if !self.is_drained || incoming.is_end_stream() || least > LINGER_BYTES {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LEFT_MAX, drain(incoming)));
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let mut left = LINGER_BYTES;
    while let Some(Ok(frame)) = incoming.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(less) = left.checked_sub(bytes) else { return };
        left = less;
    }
}

impl RequestBody {
    /// A body that is not there.
    pub(crate) const fn none() -> Self {
        let pace = Pace { max_bytes: 0, idle: Duration::ZERO, min_bytes: 0 };
        Self {
            incoming: None,
            pace,
            passed: 0,
            since: 0,
            by: None,
            timer: None,
            fate: None,
            is_drained: false,
        }
    }

    /// The body of a request, and where to ask what became of it. Nothing of it passes before a
    /// pace is set. `is_waiting`: the client asked whether it may send it (RFC 9110 section 10.1.1).
    pub(crate) fn new(incoming: Incoming, is_waiting: bool) -> (Self, Option<Fate>) {
        let pace = Pace { max_bytes: 0, idle: Duration::from_secs(10), min_bytes: 1 };
        if incoming.is_end_stream() {
            return (Self::none(), None);
        }
        let fate = Fate::default();
        let body = Self {
            incoming: Some(incoming),
            pace,
            passed: 0,
            since: 0,
            by: None,
            timer: None,
            fate: Some(fate.clone()),
            is_drained: !is_waiting,
        };
        (body, Some(fate))
    }

    /// How it may come.
    pub(crate) const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(fate) = &self.fate {
            fate.set(fault);
        }
        self.incoming = None;
        Poll::Ready(Some(Err(fault)))
    }

    /// Counts a piece; it moves the deadline only where it, with its fellows, is worth it.
    fn count(&mut self, bytes: usize) -> Result<(), BodyFault> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.passed = self.passed.saturating_add(bytes);
        if self.passed > self.pace.max_bytes {
            return Err(BodyFault::TooLarge);
        }
        self.since = self.since.saturating_add(bytes);
        if self.since >= self.pace.min_bytes {
            self.since = 0;
            self.by = None;
        }
        Ok(())
    }

    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let by = *self.by.get_or_insert_with(|| Instant::now() + self.pace.idle);
        self.timer.get_or_insert_with(|| Deadline::new(by)).poll(cx, by)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && let Err(fault) = this.count(data.len())
                {
                    return this.fail(fault);
                }
                Poll::Ready(Some(Ok(clean_trailers(frame))))
            }
            Poll::Ready(Some(Err(_))) => this.fail(BodyFault::Broken),
            Poll::Ready(None) => {
                this.incoming = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.poll_slow(cx));
                this.fail(BodyFault::Slow)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Trailers without the fields that may not be there.
fn clean_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let wrong: Vec<_> = trailers
                .keys()
                .filter(|name| !may_be_trailer(name.as_str().as_bytes()))
                .cloned()
                .collect();
            for name in wrong {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// What an answer's body comes from.
enum Source {
    Nothing,
    Whole(Bytes),
    Upstream(FromUpstream),
    Core(axum::body::Body),
}

impl Source {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self {
            Self::Nothing => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Nothing;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Upstream(body) => body.poll_frame(cx),
            Self::Core(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|next| next.map(|frame| frame.map_err(|_| BodyFault::Response))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::Core(body) => body.is_end_stream(),
        }
    }
}

/// A watched answer: it closes with its session.
struct Watch {
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: Place,
}

/// The body of an answer.
pub(crate) struct AnswerBody {
    source: Source,
    /// For HTTP/2: what is left of a piece that was larger than a stream may hold.
    rest: Option<Bytes>,
    busy: Option<Busy>,
    watch: Option<Box<Watch>>,
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnswerBody")
    }
}

impl AnswerBody {
    const fn of(source: Source) -> Self {
        Self { source, rest: None, busy: None, watch: None }
    }

    /// No body.
    pub(crate) const fn nothing() -> Self {
        Self::of(Source::Nothing)
    }

    /// These bytes.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::of(Source::Whole(bytes.into()))
    }

    pub(crate) const fn upstream(body: FromUpstream) -> Self {
        Self::of(Source::Upstream(body))
    }

    pub(crate) const fn core(body: axum::body::Body) -> Self {
        Self::of(Source::Core(body))
    }

    /// Keeps the connection from counting as idle until the body is gone.
    pub(crate) fn keep_busy(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// Gives pieces of a bounded size only, and says so to [`http2`].
    pub(crate) fn cut(&mut self) {
        self.rest = Some(Bytes::new());
    }

    /// Breaks the body off when its place is closed.
    pub(crate) fn watch(&mut self, place: Place) {
        let closed = Box::pin(place.closed.clone().cancelled_owned());
        self.watch = Some(Box::new(Watch { closed, _place: place }));
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        if let Some(watch) = &mut this.watch
            && watch.closed.as_mut().poll(cx).is_ready()
        {
            this.source = Source::Nothing;
            this.rest = None;
            this.watch = None;
            return Poll::Ready(Some(Err(BodyFault::Closed)));
        }
        let Some(rest) = &mut this.rest else { return this.source.poll_frame(cx) };
        if rest.is_empty() {
            let next = this.source.poll_frame(cx);
            match next {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => *rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Poll::Pending => {
                    http2::note(http2::Step::Dry);
                    return Poll::Pending;
                }
                Poll::Ready(None | Some(Err(_))) => return next,
            }
        }
        let piece = rest.split_to(rest.len().min(http2::PIECE_BYTES));
        http2::note(http2::Step::Gave(piece.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Bytes::is_empty) && self.source.is_end_stream()
    }

    /// Asked before the first piece only.
    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Whole(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Source::Upstream(body) => body.size_hint(),
            Source::Core(body) => body.size_hint(),
        }
    }
}
