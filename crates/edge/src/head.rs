//! The head of an HTTP/1 request, judged as raw bytes before any HTTP library reads it.
//!
//! A proxy and its upstream must never differ on where a request ends (request smuggling), so
//! everything that RFC 9112 lets a lenient reader guess about is refused here. Pure functions.

use crate::token::{is_token, is_token_byte, trim_ows};

/// How the body after a head is delimited (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What a clean head says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The body that follows.
    pub framing: Framing,
    /// Asks for a WebSocket.
    pub websocket: bool,
}

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    /// The whole head, in bytes.
    pub head_max_bytes: usize,
    /// The request target, in bytes.
    pub target_max_bytes: usize,
    /// Field lines.
    pub fields_max: usize,
}

/// Why bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// The request line is not `METHOD SP target SP HTTP/1.x` (RFC 9112 section 3).
    RequestLine,
    /// CONNECT, TRACE or something that is no method.
    Method,
    /// The target is no origin-form or absolute-form, or has bytes that may not be in it.
    Target,
    /// The target is too long.
    TargetTooLong,
    /// Another version than 1.0 and 1.1.
    Version,
    /// A line that ends in a bare LF, or a CR that no LF follows (section 2.2).
    BareLineBreak,
    /// A field line that begins with white space (section 5.2).
    ObsFold,
    /// White space before the colon (section 5.1).
    SpaceBeforeColon,
    /// A field name that is no token, or no colon.
    FieldName,
    /// A control byte in a field value (RFC 9110 section 5.5).
    FieldValue,
    /// Too many field lines.
    TooManyFields,
    /// The head is too long.
    HeadTooLong,
    /// Content-Length that is no number, or more than one of it (RFC 9112 section 6.3).
    ContentLength,
    /// Transfer-Encoding that is not exactly `chunked`, or more than one of it.
    TransferEncoding,
    /// Transfer-Encoding and Content-Length together.
    LengthAndEncoding,
    /// Transfer-Encoding in HTTP/1.0.
    EncodingInOld,
    /// No Host.
    HostMissing,
    /// More than one Host.
    HostTwice,
    /// A Host that is no host and port.
    HostValue,
    /// The target names another host than Host.
    HostMismatch,
    /// An expectation other than `100-continue`.
    Expectation,
    /// A WebSocket request with a body, or in HTTP/1.0.
    Upgrade,
    /// A chunk header, chunk end or trailer that is wrong (section 7.1).
    Chunk,
    /// A trailer field that may not be one (RFC 9110 section 6.5.1).
    Trailer,
    /// `Connection` names a field that must reach the upstream, or a field that HTTP/2 forbids.
    Connection,
    /// The path is not in the one form that is matched and forwarded.
    Path,
}

impl Flaw {
    /// All of them, for tables.
    pub const ALL: [Self; 26] = [
        Self::RequestLine,
        Self::Method,
        Self::Target,
        Self::TargetTooLong,
        Self::Version,
        Self::BareLineBreak,
        Self::ObsFold,
        Self::SpaceBeforeColon,
        Self::FieldName,
        Self::FieldValue,
        Self::TooManyFields,
        Self::HeadTooLong,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::LengthAndEncoding,
        Self::EncodingInOld,
        Self::HostMissing,
        Self::HostTwice,
        Self::HostValue,
        Self::HostMismatch,
        Self::Expectation,
        Self::Upgrade,
        Self::Chunk,
        Self::Trailer,
        Self::Connection,
        Self::Path,
    ];

    /// A stable name, for problems and observations.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::RequestLine => "hygiene.request_line",
            Self::Method => "hygiene.method",
            Self::Target => "hygiene.target",
            Self::TargetTooLong => "hygiene.target_too_long",
            Self::Version => "hygiene.version",
            Self::BareLineBreak => "hygiene.bare_line_break",
            Self::ObsFold => "hygiene.obs_fold",
            Self::SpaceBeforeColon => "hygiene.space_before_colon",
            Self::FieldName => "hygiene.field_name",
            Self::FieldValue => "hygiene.field_value",
            Self::TooManyFields => "hygiene.too_many_fields",
            Self::HeadTooLong => "hygiene.head_too_long",
            Self::ContentLength => "hygiene.content_length",
            Self::TransferEncoding => "hygiene.transfer_encoding",
            Self::LengthAndEncoding => "hygiene.length_and_encoding",
            Self::EncodingInOld => "hygiene.encoding_in_old",
            Self::HostMissing => "hygiene.host_missing",
            Self::HostTwice => "hygiene.host_twice",
            Self::HostValue => "hygiene.host_value",
            Self::HostMismatch => "hygiene.host_mismatch",
            Self::Expectation => "hygiene.expectation",
            Self::Upgrade => "hygiene.upgrade",
            Self::Chunk => "hygiene.chunk",
            Self::Trailer => "hygiene.trailer",
            Self::Connection => "hygiene.connection",
            Self::Path => "hygiene.path",
        }
    }

    /// The status that RFC 9110 section 15 has for it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::TargetTooLong => 414,
            Self::TooManyFields | Self::HeadTooLong => 431,
            Self::TransferEncoding => 501,
            Self::Version => 505,
            Self::Expectation => 417,
            Self::RequestLine
            | Self::Target
            | Self::BareLineBreak
            | Self::ObsFold
            | Self::SpaceBeforeColon
            | Self::FieldName
            | Self::FieldValue
            | Self::ContentLength
            | Self::LengthAndEncoding
            | Self::EncodingInOld
            | Self::HostMissing
            | Self::HostTwice
            | Self::HostValue
            | Self::HostMismatch
            | Self::Upgrade
            | Self::Chunk
            | Self::Trailer
            | Self::Connection
            | Self::Path => 400,
        }
    }
}

/// What is gathered from the field lines.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    upgrade_named: bool,
    websocket: bool,
}

/// Judges one complete head, up to and with its empty line.
///
/// # Errors
/// The first [`Flaw`].
pub fn check(head: &[u8], bounds: &HeadBounds) -> Result<Head, Flaw> {
    if head.len() > bounds.head_max_bytes {
        return Err(Flaw::HeadTooLong);
    }
    let mut lines = Lines { rest: head };
    let first = lines.next().ok_or(Flaw::RequestLine)??;
    let request = request_line(first, bounds)?;
    let mut fields = Fields::default();
    let mut count = 0usize;
    loop {
        let line = lines.next().ok_or(Flaw::BareLineBreak)??;
        if line.is_empty() {
            break;
        }
        count = count.saturating_add(1);
        if count > bounds.fields_max {
            return Err(Flaw::TooManyFields);
        }
        let (name, value) = field_line(line)?;
        fields.note(name, value, request.old)?;
    }
    if !lines.rest.is_empty() {
        return Err(Flaw::RequestLine);
    }
    fields.judge(&request)
}

impl<'a> Fields<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8], old: bool) -> Result<(), Flaw> {
        // The length tells most names apart before any comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let twice = self.host.replace(value).is_some();
                return if twice { Err(Flaw::HostTwice) } else { Ok(()) };
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                return if known { Ok(()) } else { Err(Flaw::Expectation) };
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.websocket = value.eq_ignore_ascii_case(b"websocket");
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                let mut options = value.split(|byte| *byte == b',').map(trim_ows);
                self.upgrade_named |= options.any(|item| item.eq_ignore_ascii_case(b"upgrade"));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value).ok_or(Flaw::ContentLength)?;
                if self.length.replace(length).is_some() {
                    return Err(Flaw::ContentLength);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if old {
                    return Err(Flaw::EncodingInOld);
                }
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Flaw::TransferEncoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn judge(&self, request: &RequestLine<'_>) -> Result<Head, Flaw> {
        let host = self.host.ok_or(Flaw::HostMissing)?;
        if !is_host(host) {
            return Err(Flaw::HostValue);
        }
        if request.authority.is_some_and(|named| !named.eq_ignore_ascii_case(host)) {
            return Err(Flaw::HostMismatch);
        }
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Flaw::LengthAndEncoding),
            (true, None) => Framing::Chunked,
            (false, None | Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        };
        let websocket = self.websocket && self.upgrade_named;
        if websocket && (framing != Framing::None || request.old) {
            return Err(Flaw::Upgrade);
        }
        Ok(Head { framing, websocket })
    }
}

/// Lines that end in CRLF and have neither byte inside.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr2(b'\r', b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at_checked(end)?;
        match rest.strip_prefix(b"\r\n") {
            Some(rest) => {
                self.rest = rest;
                Some(Ok(line))
            }
            None => Some(Err(Flaw::BareLineBreak)),
        }
    }
}

struct RequestLine<'a> {
    authority: Option<&'a [u8]>,
    old: bool,
}

fn request_line<'a>(line: &'a [u8], bounds: &HeadBounds) -> Result<RequestLine<'a>, Flaw> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Flaw::RequestLine);
    };
    if method.is_empty() || !is_token(method) {
        return Err(Flaw::RequestLine);
    }
    if !is_method(method) {
        return Err(Flaw::Method);
    }
    if target.len() > bounds.target_max_bytes {
        return Err(Flaw::TargetTooLong);
    }
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if version.starts_with(b"HTTP/") && version.len() == 8 => return Err(Flaw::Version),
        _ => return Err(Flaw::RequestLine),
    };
    Ok(RequestLine { authority: target_authority(target)?, old })
}

/// Whether a method can be forwarded: CONNECT and TRACE never, and names in upper case only.
#[must_use]
pub fn is_method(method: &[u8]) -> bool {
    method.len() <= 24
        && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
        && method != b"CONNECT"
        && method != b"TRACE"
}

/// The authority of an absolute-form target; none for origin-form.
fn target_authority(target: &[u8]) -> Result<Option<&[u8]>, Flaw> {
    let visible =
        target.iter().fold(true, |good, byte| good & byte.is_ascii_graphic() & (*byte != b'#'));
    if !visible {
        return Err(Flaw::Target);
    }
    if target.first() == Some(&b'/') {
        return Ok(None);
    }
    let rest = strip_ignoring_case(target, b"http://")
        .or_else(|| strip_ignoring_case(target, b"https://"))
        .ok_or(Flaw::Target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let authority = rest.get(..end).ok_or(Flaw::Target)?;
    if !is_host(authority) { Err(Flaw::Target) } else { Ok(Some(authority)) }
}

fn strip_ignoring_case<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Name and value of one field line, judged.
pub(crate) fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Flaw::ObsFold);
    }
    let colon = memchr::memchr(b':', line).ok_or(Flaw::FieldName)?;
    let (name, rest) = line.split_at_checked(colon).ok_or(Flaw::FieldName)?;
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(Flaw::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Err(Flaw::FieldName);
    }
    let value = rest.get(1..).unwrap_or_default();
    // One pass without branches per byte: only HTAB is allowed below 0x20.
    let wrong = value
        .iter()
        .fold(false, |wrong, byte| wrong | ((*byte < 0x20) & (*byte != b'\t')) | (*byte == 0x7f));
    if wrong {
        return Err(Flaw::FieldValue);
    }
    Ok((name, trim_ows(value)))
}

/// Digits only, at most 18 of them: no sign, no list, no white space inside.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// A host with an optional port; no user, no path, nothing that a name cannot hold.
#[must_use]
pub fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        Some(b'[') => match host.iter().position(|byte| *byte == b']') {
            Some(end) => host.split_at(end.saturating_add(1)),
            None => return false,
        },
        _ => match host.iter().position(|byte| *byte == b':') {
            Some(at) => host.split_at(at),
            None => (host, [].as_slice()),
        },
    };
    let port_good = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    let name_good = match name.first() {
        Some(b'[') => {
            name.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'[' | b']' | b':' | b'.'))
        }
        Some(_) => {
            name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
        None => false,
    };
    port_good && name_good && host.len() <= 260
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: HeadBounds =
        HeadBounds { head_max_bytes: 1_000, target_max_bytes: 100, fields_max: 5 };

    fn judged(text: &str) -> Result<Head, Flaw> {
        check(text.as_bytes(), &BOUNDS)
    }

    // E1
    #[test]
    fn each_flaw_is_named() {
        let cases = [
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                Flaw::LengthAndEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                Flaw::ContentLength,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Flaw::ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Flaw::ContentLength),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
                Flaw::TransferEncoding,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                Flaw::TransferEncoding,
            ),
            (
                "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                Flaw::EncodingInOld,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Flaw::ObsFold),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Flaw::SpaceBeforeColon),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Flaw::BareLineBreak),
            ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Flaw::BareLineBreak),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Flaw::FieldValue),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Flaw::HostTwice),
            ("GET / HTTP/1.1\r\n\r\n", Flaw::HostMissing),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", Flaw::HostValue),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Flaw::HostMismatch),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Flaw::Version),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Flaw::RequestLine),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Flaw::Method),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Flaw::Target),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Flaw::Target),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\n\r\n",
                Flaw::TooManyFields,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", Flaw::Expectation),
        ];
        for (text, flaw) in cases {
            assert_eq!(judged(text), Err(flaw), "{text:?}");
        }
    }

    #[test]
    fn a_clean_head_says_how_its_body_ends() {
        let head = judged("POST /a HTTP/1.1\r\nHost: a:1\r\nContent-Length: 12\r\n\r\n").unwrap();
        assert_eq!(head.framing, Framing::Length(12));
        let head = judged("GET http://A/ HTTP/1.1\r\nhost: a\r\nx_y: 1\r\n\r\n").unwrap();
        assert_eq!(head.framing, Framing::None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes, &BOUNDS);
            let _ = is_host(&bytes);
        }

        #[test]
        fn http_like_text_never_panics(text in "(GET|POST) [/a-z:. ]{0,9} HTTP/1.[01]\r\n([A-Za-z:-]{0,9}[: ]{0,2}[ -~]{0,9}\r?\n){0,4}\r\n") {
            let _ = check(text.as_bytes(), &BOUNDS);
        }
    }
}
