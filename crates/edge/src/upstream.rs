//! Connections to one upstream, kept and counted.
//!
//! An HTTP/1 connection is driven by the request that uses it, in the same task: no task is
//! spawned and none is woken per request. An idle one is only looked at when it is taken again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use web::feed::{Protocol, RouteTimeouts};

use crate::body::{BodyFault, RequestBody};
use crate::deadline::Deadline;
use crate::identity::HeaderKey;
use crate::wire::{Proving, Wire};

/// Kept connections that may turn out to be closed before a fresh one is opened.
const STALE_TRIES: usize = 3;

/// An idle time after which no server closes a connection that it has kept before.
const PROVED: Duration = Duration::from_millis(10);

type Io = TokioIo<Wire>;

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: web::feed::Upstream,
    /// Host and port.
    pub(crate) authority: String,
    /// The same as a Host value.
    pub(crate) host: HeaderValue,
    pub(crate) key: Option<HeaderKey>,
    proving: Option<Proving>,
    in_flight: AtomicU32,
    idle: Mutex<VecDeque<Box<Carrier>>>,
    shared: tokio::sync::Mutex<Option<http2::SendRequest<RequestBody>>>,
}

/// Why there is no answer from an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendFault {
    /// It cannot be reached, or broke off before its answer.
    Gone,
    /// It cannot prove who it is, or does not speak TLS as it should.
    Unproved,
    /// It does not answer in time.
    Late,
    /// The request's own body broke off.
    Body,
}

/// One of the requests that an upstream may have at once.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Upstream>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A kept HTTP/1 connection.
pub(crate) struct Carrier {
    sender: http1::SendRequest<RequestBody>,
    connection: http1::Connection<Io, RequestBody>,
    timer: Deadline,
    ended: bool,
    since: Instant,
    /// Requests that it has carried.
    used: u32,
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Carrier {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if !self.ended && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.ended = true;
        }
    }

    /// Sends a request and drives the connection until its answer's head is there. A request
    /// that was not sent comes back.
    async fn send(
        &mut self,
        request: Request<RequestBody>,
        by: Instant,
    ) -> Result<Response<Incoming>, (SendFault, Option<Box<Request<RequestBody>>>)> {
        let Self { sender, connection, timer, ended, .. } = self;
        let mut answer = pin!(sender.try_send_request(request));
        poll_fn(|cx| {
            if !*ended && Pin::new(&mut *connection).poll(cx).is_ready() {
                *ended = true;
            }
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    let message = error.take_message().map(Box::new);
                    let fault =
                        if error.error().is_user() { SendFault::Body } else { SendFault::Gone };
                    return Poll::Ready(Err((fault, message)));
                }
                Poll::Pending if *ended => return Poll::Ready(Err((SendFault::Gone, None))),
                Poll::Pending => {}
            }
            timer.poll(cx, by).map(|()| Err((SendFault::Late, None)))
        })
        .await
    }
}

/// What is needed to ask again for something that can be asked twice.
struct Spare {
    method: Method,
    uri: http::Uri,
    headers: http::HeaderMap,
}

impl Spare {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        (request.method().is_idempotent() && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn again(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::none());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

impl Upstream {
    /// An upstream as configured; none where its address cannot be used.
    pub(crate) fn new(
        config: web::feed::Upstream,
        key: Option<HeaderKey>,
        proving: Option<Proving>,
    ) -> Option<Self> {
        let authority = config.authority()?.to_owned();
        let host = HeaderValue::from_str(&authority).ok()?;
        Some(Self {
            authority,
            host,
            key,
            proving,
            config,
            in_flight: AtomicU32::new(0),
            idle: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
        })
    }

    /// A place for one request; none where all are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        let permit = Permit(Arc::clone(self));
        (before < self.config.in_flight_max).then_some(permit)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Box<Carrier>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Box<Carrier>> {
        let kept = self.kept().pop_back()?;
        let fresh = kept.since.elapsed() < Duration::from_millis(self.config.idle_ms);
        if fresh {
            return Some(kept);
        }
        // The newest is too old: so are all the others.
        self.kept().clear();
        None
    }

    fn put(&self, mut carrier: Box<Carrier>) {
        carrier.used = carrier.used.saturating_add(1);
        carrier.since = Instant::now();
        let max = usize::try_from(self.config.idle_max).unwrap_or(usize::MAX);
        let mut kept = self.kept();
        if kept.len() < max {
            kept.push_back(carrier);
        }
    }

    /// Closes connections that have been idle for too long.
    pub(crate) fn sweep(&self) {
        let idle = Duration::from_millis(self.config.idle_ms);
        let mut kept = self.kept();
        while kept.front().is_some_and(|oldest| oldest.since.elapsed() >= idle) {
            kept.pop_front();
        }
    }

    /// Opens a connection on which `protocol` is spoken.
    pub(crate) async fn connect(&self, protocol: Protocol) -> Result<Wire, SendFault> {
        let span = Duration::from_millis(self.config.connect_ms);
        let opened = async {
            let stream = TcpStream::connect(&self.authority).await?;
            let _ = stream.set_nodelay(true);
            match &self.proving {
                Some(proving) => proving.over(stream, protocol).await,
                None => Ok(Wire::Plain(stream)),
            }
        };
        let upstream = self.config.name.as_str();
        match timeout(span, opened).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(error)) if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) => {
                tracing::warn!(upstream, %error, "not proved: look at its certificate, at `tls` \
                     and at `server_name`");
                Err(SendFault::Unproved)
            }
            Ok(Err(error)) => {
                tracing::debug!(upstream, %error, "not reached");
                Err(SendFault::Gone)
            }
            Err(_) => Err(SendFault::Late),
        }
    }

    async fn open(&self) -> Result<Box<Carrier>, SendFault> {
        let io = TokioIo::new(self.connect(Protocol::Http1).await?);
        // hyper's own bound of 100 field lines holds: another number costs an allocation each time.
        let (sender, connection) = http1::handshake(io).await.map_err(|_| SendFault::Gone)?;
        let now = Instant::now();
        let timer = Deadline::new(now + Duration::from_secs(30));
        Ok(Box::new(Carrier { sender, connection, timer, ended: false, since: now, used: 0 }))
    }

    /// Sends a request, and gives the answer's head with its body still to come. One that is sent
    /// twice is signed anew by `sign`: the upstream may have seen the first nonce.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        times: &RouteTimeouts,
        tracker: &TaskTracker,
        sign: impl FnOnce(&mut Request<RequestBody>),
    ) -> Result<Response<Source>, SendFault> {
        match self.config.protocol {
            Protocol::Http1 => self.send_http1(request, times, sign).await,
            Protocol::Http2 => self.send_http2(request, times, tracker).await,
        }
    }

    async fn send_http1(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        times: &RouteTimeouts,
        sign: impl FnOnce(&mut Request<RequestBody>),
    ) -> Result<Response<Source>, SendFault> {
        let by = Instant::now() + Duration::from_millis(times.first_byte_ms);
        for _ in 0..STALE_TRIES {
            let Some(mut carrier) = self.take() else { break };
            // One that was kept before and was used just now is not about to be closed; for any
            // other, what can be asked twice is kept.
            let proved = carrier.used > 1 && carrier.since.elapsed() < PROVED;
            let spare = if proved { None } else { Spare::of(&request) };
            match carrier.send(request, by).await {
                Ok(response) => return Ok(response.map(|body| Source::Own(body, carrier))),
                Err((_, Some(unsent))) => request = *unsent,
                // It was closed while the request was on its way: what can be asked twice is.
                Err((SendFault::Gone, None)) => match spare {
                    Some(spare) => {
                        request = spare.again();
                        sign(&mut request);
                        break;
                    }
                    None => return Err(SendFault::Gone),
                },
                Err((fault, None)) => return Err(fault),
            }
        }
        let mut carrier = self.open().await?;
        match carrier.send(request, by).await {
            Ok(response) => Ok(response.map(|body| Source::Own(body, carrier))),
            Err((fault, _)) => Err(fault),
        }
    }

    async fn send_http2(
        &self,
        request: Request<RequestBody>,
        times: &RouteTimeouts,
        tracker: &TaskTracker,
    ) -> Result<Response<Source>, SendFault> {
        let mut sender = self.multiplexed(tracker).await?;
        let span = Duration::from_millis(times.first_byte_ms);
        let answer = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        match timeout(span, answer).await {
            Ok(Ok(response)) => Ok(response.map(Source::Shared)),
            Ok(Err(error)) if error.is_user() => Err(SendFault::Body),
            Ok(Err(_)) => Err(SendFault::Gone),
            Err(_) => Err(SendFault::Late),
        }
    }

    async fn multiplexed(
        &self,
        tracker: &TaskTracker,
    ) -> Result<http2::SendRequest<RequestBody>, SendFault> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let io = TokioIo::new(self.connect(Protocol::Http2).await?);
        let (sender, connection) = http2::Builder::new(Tracked(tracker.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(io)
            .await
            .map_err(|_| SendFault::Gone)?;
        tracker.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
            }
        });
        *shared = Some(sender.clone());
        Ok(sender)
    }
}

/// Runs hyper's tasks where they are counted.
#[derive(Clone, Debug)]
pub(crate) struct Tracked(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Where an answer's body comes from.
pub(crate) enum Source {
    /// A connection that only this answer uses.
    Own(Incoming, Box<Carrier>),
    /// A connection that others drive.
    Shared(Incoming),
}

/// An answer's body, with the connection that it comes on.
pub(crate) struct FromUpstream {
    incoming: Incoming,
    carrier: Option<Box<Carrier>>,
    permit: Permit,
    idle: Option<Duration>,
    /// The end of the whole exchange.
    until: Option<Instant>,
    by: Option<Instant>,
    timer: Option<Deadline>,
}

impl FromUpstream {
    /// Takes a source over; `idle` bounds its pauses and `until` its end.
    pub(crate) fn new(
        source: Source,
        permit: Permit,
        idle: Option<Duration>,
        until: Option<Instant>,
    ) -> Self {
        let (incoming, carrier) = match source {
            Source::Own(incoming, carrier) => (incoming, Some(carrier)),
            Source::Shared(incoming) => (incoming, None),
        };
        let mut body = Self { incoming, carrier, permit, idle, until, by: None, timer: None };
        body.keep();
        body
    }

    /// Gives the connection back once the body has ended.
    fn keep(&mut self) {
        if !self.incoming.is_end_stream() {
            return;
        }
        let Some(mut carrier) = self.carrier.take() else { return };
        // Nobody waits for an idle connection; it is looked at when it is taken again.
        carrier.poll(&mut Context::from_waker(Waker::noop()));
        if !carrier.ended && carrier.sender.is_ready() {
            self.permit.0.put(carrier);
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let pause = self.idle.map(|idle| *self.by.get_or_insert_with(|| Instant::now() + idle));
        let by = match (pause, self.until) {
            (Some(pause), Some(until)) => pause.min(until),
            (Some(by), None) | (None, Some(by)) => by,
            (None, None) => return Poll::Pending,
        };
        match (&mut self.timer, &mut self.carrier) {
            (Some(timer), _) => timer.poll(cx, by),
            (None, Some(carrier)) => carrier.timer.poll(cx, by),
            (None, None) => self.timer.insert(Deadline::new(by)).poll(cx, by),
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut next = Pin::new(&mut self.incoming).poll_frame(cx);
        if next.is_pending()
            && let Some(carrier) = &mut self.carrier
        {
            carrier.poll(cx);
            next = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        match next {
            Poll::Ready(frame) => {
                self.by = None;
                self.keep();
                Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyFault::Response)))
            }
            Poll::Pending => self.poll_late(cx).map(|()| Some(Err(BodyFault::Response))),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
