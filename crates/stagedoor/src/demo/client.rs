//! The story's actors: small HTTPS clients with cookies, each with an address of its own.
//!
//! They come through a proxy on this host that the door trusts, which names their address: so an
//! attacker can be turned away while everybody else goes on.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

/// What a story may read in one answer.
const ANSWER_MAX_BYTES: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

/// How the actors reach the door.
#[derive(Clone)]
pub(crate) struct Way {
    pub door: SocketAddr,
    tls: TlsConnector,
}

impl Way {
    /// A way that believes this certificate and no other.
    pub(crate) fn new(door: SocketAddr, certificate_pem: &[u8]) -> anyhow::Result<Self> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate_pem)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, door.port()));
        Ok(Self { door, tls: TlsConnector::from(Arc::new(config)) })
    }
}

/// One actor.
pub(crate) struct Actor {
    way: Way,
    /// The address that its proxy names.
    address: Ipv4Addr,
    cookies: BTreeMap<String, String>,
    /// Sent as a bearer token, where there is one.
    pub token: Option<String>,
}

/// An answer.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub location: String,
    pub bytes: Bytes,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.bytes).with_context(|| format!("no JSON: {}", self.text()))
    }
}

impl Actor {
    pub(crate) fn new(way: &Way, address: [u8; 4]) -> Self {
        let address = Ipv4Addr::from(address);
        Self { way: way.clone(), address, cookies: BTreeMap::new(), token: None }
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post_json(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let body = ("application/json", body.to_string());
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(
        &mut self,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let body = body.map(|body| ("application/json", body.to_string()));
        self.send(Method::DELETE, path, body).await
    }

    /// Fills a page's form in and sends it, with the page's own token.
    pub(crate) async fn submit(
        &mut self,
        page: &str,
        action: &str,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let html = self.get(page).await?.text();
        let token = field_value(&html, "csrf");
        let mut all: Vec<(&str, &str)> = fields.to_vec();
        if let Some(token) = &token {
            all.push(("csrf", token));
        }
        let body = all
            .iter()
            .map(|(name, value)| format!("{name}={}", percent(value)))
            .collect::<Vec<_>>()
            .join("&");
        self.send(Method::POST, action, Some(("application/x-www-form-urlencoded", body))).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> anyhow::Result<Answer> {
        let host = format!("localhost:{}", self.way.door.port());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &host)
            .header("user-agent", "Mozilla/5.0 (story)")
            .header("origin", format!("https://{host}"))
            .header("x-forwarded-for", self.address.to_string())
            .header("x-forwarded-proto", "https");
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", pairs.join("; "));
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (kind, body) = body.unwrap_or(("", String::new()));
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let answer = answer.with_context(|| format!("no answer to {path}"))??;
        self.keep_cookies(&answer);
        read(answer).await
    }

    /// One connection a request: the story is about answers, not about speed.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Response<hyper::body::Incoming>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((PROXY_ADDRESS, 0)))?;
        let stream = socket.connect(self.way.door).await?;
        let name = ServerName::try_from("localhost")?;
        let stream = self.way.tls.connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    fn keep_cookies(&mut self, answer: &Response<hyper::body::Incoming>) {
        for value in answer.headers().get_all("set-cookie") {
            let Some((name, rest)) = value.to_str().ok().and_then(|text| text.split_once('='))
            else {
                continue;
            };
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            if value.is_empty() || attributes.to_ascii_lowercase().contains("max-age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// Where the story's proxy comes from.
pub(crate) const PROXY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn read(answer: Response<hyper::body::Incoming>) -> anyhow::Result<Answer> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
    let bytes = body.map_err(|error| anyhow::anyhow!("a body broke off: {error}"))?.to_bytes();
    let location = parts.headers.get("location").and_then(|value| value.to_str().ok());
    Ok(Answer { status: parts.status, location: location.unwrap_or("").to_owned(), bytes })
}

/// The value of a hidden field of a page.
fn field_value(html: &str, name: &str) -> Option<String> {
    let (_, rest) = html.split_once(&format!("name=\"{name}\" value=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

fn percent(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_form_token() {
        let html = r#"<input type="hidden" name="csrf" value="abc-_1">"#;
        assert_eq!(field_value(html, "csrf"), Some("abc-_1".to_owned()));
        assert_eq!(percent("a b+ü"), "a%20b%2B%C3%BC");
    }
}
