//! The steps of the stack, as tower layers: those that decide at once, and those that may wait.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either, Ready, ready};
use tower::{Layer, Service};

use crate::exchange::{Answer, Exchange};
use crate::refused::Refused;

/// What the stack says: go on, or this answer.
pub(crate) type Decision = Result<Box<Exchange>, Box<Answer>>;

type Done = Ready<Result<Decision, Infallible>>;

/// A refusal, as a step's answer.
fn no(exchange: Box<Exchange>, refused: Refused) -> Result<Decision, Infallible> {
    Ok(Err(Box::new(exchange.refuse(refused))))
}

/// One step that decides at once.
pub(crate) trait Check {
    /// Looks at the request and what is known of it; may add to that.
    fn check(exchange: &mut Exchange) -> Result<(), Refused>;
}

/// One step that may have to wait.
pub(crate) trait Wait: Copy + Send + 'static {
    /// What it has to wait for.
    type Work: Send + 'static;

    /// Decides as far as that needs no waiting; gives what is left.
    fn look(self, exchange: &mut Exchange) -> Result<Option<Self::Work>, Refused>;

    /// Waits.
    fn settle(
        work: Self::Work,
        exchange: &mut Exchange,
    ) -> impl Future<Output = Result<(), Refused>> + Send;
}

/// The layer of a [`Check`].
pub(crate) struct Checks<C>(PhantomData<fn() -> C>);

pub(crate) const fn checks<C: Check>() -> Checks<C> {
    Checks(PhantomData)
}

/// The layer of a [`Wait`].
pub(crate) struct Waits<W>(W);

pub(crate) const fn waits<W: Wait>(step: W) -> Waits<W> {
    Waits(step)
}

/// The service of a [`Check`] around the next.
pub(crate) struct Checked<C, S> {
    inner: S,
    check: PhantomData<fn() -> C>,
}

/// The service of a [`Wait`] around the next.
#[derive(Clone)]
pub(crate) struct Waited<W, S> {
    inner: S,
    step: W,
}

impl<C, S: Clone> Clone for Checked<C, S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), check: PhantomData }
    }
}

impl<C, S> Layer<S> for Checks<C> {
    type Service = Checked<C, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Checked { inner, check: PhantomData }
    }
}

impl<W: Wait, S> Layer<S> for Waits<W> {
    type Service = Waited<W, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Waited { inner, step: self.0 }
    }
}

impl<C, S> Service<Box<Exchange>> for Checked<C, S>
where
    C: Check,
    S: Service<Box<Exchange>, Response = Decision, Error = Infallible>,
{
    type Response = Decision;
    type Error = Infallible;
    type Future = Either<Done, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut exchange: Box<Exchange>) -> Self::Future {
        match C::check(&mut exchange) {
            Ok(()) => Either::Right(self.inner.call(exchange)),
            Err(refused) => Either::Left(ready(no(exchange, refused))),
        }
    }
}

impl<W, S> Service<Box<Exchange>> for Waited<W, S>
where
    W: Wait,
    S: Service<Box<Exchange>, Response = Decision, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    type Response = Decision;
    type Error = Infallible;
    type Future = Either<Done, Either<S::Future, BoxFuture<'static, Result<Decision, Infallible>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut exchange: Box<Exchange>) -> Self::Future {
        match self.step.look(&mut exchange) {
            Ok(None) => Either::Right(Either::Left(self.inner.call(exchange))),
            Err(refused) => Either::Left(ready(no(exchange, refused))),
            Ok(Some(work)) => {
                let mut inner = self.inner.clone();
                Either::Right(Either::Right(Box::pin(async move {
                    match W::settle(work, &mut exchange).await {
                        Ok(()) => inner.call(exchange).await,
                        Err(refused) => no(exchange, refused),
                    }
                })))
            }
        }
    }
}

/// The end of the stack.
#[derive(Clone, Copy)]
pub(crate) struct Passed;

impl Service<Box<Exchange>> for Passed {
    type Response = Decision;
    type Error = Infallible;
    type Future = Done;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, exchange: Box<Exchange>) -> Done {
        ready(Ok(Ok(exchange)))
    }
}
