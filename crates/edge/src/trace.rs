//! Traces: one span for a request and one for the upstream's part of it, told to whoever collects
//! spans (the target [`TARGET`]), and to the upstream by `traceparent` (W3C Trace Context).
//!
//! A span holds the method, the route's name and the status, and nothing of a person: no address, no
//! path, no query. What a stranger says about traces is dropped; a trusted proxy's is continued.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, request};
use kernel::Entropy;
use tracing::{Span, field};

/// The target of spans that are exported; nothing else bears it.
pub const TARGET: &str = "stagedoor::trace";

/// `traceparent`.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A span of somebody else that ours belongs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl Parent {
    /// Reads version 00 of `traceparent`; of a later version, as much as that has in common.
    fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let mut parts = text.split('-');
        let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
        let (span, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        let is_whole = version != 0 || parts.next().is_none();
        let span = u64::try_from(span).ok()?;
        let real = version != 0xff && trace != 0 && span != 0 && is_whole;
        real.then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// Lower-case hexadecimal of exactly so many digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (plain && text.len() == digits).then(|| u128::from_str_radix(text, 16).ok())?
}

/// The trace of one request.
#[derive(Debug)]
pub(crate) struct Trace {
    trace: u128,
    id: u64,
    span: Span,
}

impl Trace {
    /// The trace of a request, where it is sampled: so many in a million, or as a trusted proxy
    /// decided.
    pub(crate) fn begin(
        sampled_ppm: u32,
        entropy: &dyn Entropy,
        trusted: bool,
        head: &request::Parts,
    ) -> Option<Arc<Self>> {
        if sampled_ppm == 0 {
            return None;
        }
        let parent = head.headers.get(TRACEPARENT).filter(|_| trusted).and_then(Parent::parse);
        let (fresh, drawn) = (random(entropy), random(entropy));
        let sampled = match parent {
            Some(parent) => parent.sampled,
            None => drawn % 1_000_000 < u128::from(sampled_ppm),
        };
        if !sampled {
            return None;
        }
        let trace = parent.map_or(fresh, |parent| parent.trace);
        let (method, id) = (known(&head.method), id_of(drawn));
        let span = tracing::info_span!(
            target: TARGET, parent: None, "request", kind = "server", trace, id,
            under = parent.map_or(0, |parent| parent.span), method,
            route = field::Empty, status = field::Empty,
        );
        Some(Arc::new(Self { trace, id, span }))
    }

    /// The upstream's part, and the `traceparent` that the upstream is told.
    pub(crate) fn upstream(&self, entropy: &dyn Entropy, name: &str) -> (Span, HeaderValue) {
        let id = id_of(random(entropy));
        let span = tracing::info_span!(
            target: TARGET, parent: &self.span, "upstream", kind = "client", id, upstream = name,
            status = field::Empty,
        );
        (span, traceparent(self.trace, id))
    }

    /// The `traceparent` that our own part is told, where it runs in another process.
    pub(crate) fn told(&self) -> HeaderValue {
        traceparent(self.trace, self.id)
    }

    /// The request's own span.
    pub(crate) const fn span(&self) -> &Span {
        &self.span
    }

    /// What became of it.
    pub(crate) fn end(&self, route: &str, status: u16) {
        self.span.record("route", route);
        self.span.record("status", status);
    }
}

fn traceparent(trace: u128, span: u64) -> HeaderValue {
    let told = HeaderValue::from_str(&format!("00-{trace:032x}-{span:016x}-01"));
    told.unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The span of what is done in this process for a request that is traced in another, as its
/// `traceparent` says; none where it is not traced.
#[must_use]
pub fn continued(headers: &HeaderMap) -> Span {
    let told = headers.get(TRACEPARENT).and_then(Parent::parse).filter(|parent| parent.sampled);
    let Some(Parent { trace, span, .. }) = told else { return Span::none() };
    tracing::info_span!(target: TARGET, parent: None, "core", trace, under = span)
}

/// A method that has a name of its own; others are one, so that a stranger makes up none.
fn known(method: &Method) -> &str {
    match method.as_str() {
        name @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE"
        | "PATCH") => name,
        _ => "_OTHER",
    }
}

/// Not zero, which would be no id.
fn random(entropy: &dyn Entropy) -> u128 {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    u128::from_be_bytes(bytes).max(1)
}

/// Eight bytes of randomness, not zero.
fn id_of(random: u128) -> u64 {
    u64::try_from(random >> 64).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use kernel::SystemEntropy;

    use super::*;

    fn parent(text: &'static str) -> Option<Parent> {
        Parent::parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn a_parent_is_read_as_the_standard_says() {
        let read = parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(read.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((read.span, read.sampled), (0x00f0_67aa_0ba9_02b7, true));
        let later = parent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more").unwrap();
        assert!(!later.sampled);
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parent(wrong), None, "{wrong}");
        }
    }

    fn begun(sampled_ppm: u32, trusted: bool, flags: &str) -> Option<Arc<Trace>> {
        let told = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let request = http::Request::get("/").header("traceparent", told).body(()).unwrap();
        Trace::begin(sampled_ppm, &SystemEntropy, trusted, &request.into_parts().0)
    }

    #[test]
    fn only_a_trusted_proxys_word_is_continued() {
        let theirs = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        assert_eq!(begun(1, true, "01").unwrap().trace, theirs);
        assert!(begun(1_000_000, true, "00").is_none());
        assert_ne!(begun(1_000_000, false, "00").unwrap().trace, theirs);
        assert!(begun(0, true, "01").is_none());
    }
}
