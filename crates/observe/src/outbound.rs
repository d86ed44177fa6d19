//! One POST to somebody outside: plain HTTP or TLS with the public authorities or configured ones, a
//! connection for each, everything bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::Error;

/// How long one POST may take, with its connection.
const PATIENCE: Duration = Duration::from_secs(15);
/// What is read of an answer.
const ANSWER_MAX_BYTES: usize = 16 * 1024;

/// Where to: taken apart and checked.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    secure: bool,
    host: String,
    port: u16,
    authority: String,
    target: String,
}

impl Address {
    /// Reads `http://` or `https://`, a host, and a path.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = || "must be http:// or https:// and a host".to_owned();
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) | None => return Err(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            secure,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            host,
        })
    }
}

/// TLS as a client: `ca_pem` are the roots to believe instead of the public ones.
pub(crate) fn connector(ca_pem: Option<&[u8]>) -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for authority in CertificateDer::pem_slice_iter(pem) {
                let wrong = |_| Error::config("ca_file", "is not PEM");
                let authority = authority.map_err(wrong)?;
                roots
                    .add(authority)
                    .map_err(|error| Error::config("ca_file", error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(Error::config("ca_file", "holds no certificate"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Error::config("ca_file", error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Somebody who is posted to.
#[derive(Clone)]
pub struct Outbound {
    address: Address,
    tls: TlsConnector,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("host", &self.address.host).finish_non_exhaustive()
    }
}

impl Outbound {
    /// Posts to this address; `ca_pem` are the roots to believe instead of the public ones.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(url: &str, ca_pem: Option<&[u8]>) -> Result<Self, Error> {
        let address = Address::parse(url).map_err(|why| Error::config(url, why))?;
        Ok(Self { address, tls: connector(ca_pem)?, headers: Vec::new() })
    }

    /// With a header on each POST.
    ///
    /// # Errors
    /// [`Error::Config`] where it is none.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let wrong = || Error::config(name, "is no header, or its value has letters that none has");
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        self.headers.push((name, value));
        Ok(self)
    }

    /// Posts a body; the answer's status and the beginning of its body.
    ///
    /// # Errors
    /// [`Error::Away`] where there is none in time.
    pub async fn post(&self, kind: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let answered = tokio::time::timeout(PATIENCE, self.exchange(kind, body)).await;
        answered.map_err(|_| Error::away("no answer in time"))?
    }

    async fn exchange(&self, kind: &str, body: Bytes) -> Result<(StatusCode, Bytes), Error> {
        let Address { host, port, secure, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Error::away)?;
        if !secure {
            return self.send(stream, kind, body).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(Error::away)?;
        let stream = self.tls.connect(name, stream).await.map_err(Error::away)?;
        self.send(stream, kind, body).await
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        kind: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Error> {
        let mut request = Request::post(self.address.target.as_str())
            .header(header::HOST, self.address.authority.as_str())
            .header(header::USER_AGENT, "stagedoor")
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body))
            .map_err(Error::away)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(Error::away)?;
        let asked = async {
            let (parts, body) =
                sender.send_request(request).await.map_err(Error::away)?.into_parts();
            Ok((parts.status, beginning(body).await))
        };
        let mut asked = std::pin::pin!(asked);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            answer = &mut asked => answer,
            // Its end may come with the answer: that is still to be read.
            _ = &mut connection => asked.await,
        }
    }
}

/// What an answer begins with. It was answered by its status, whatever comes of the rest.
async fn beginning(mut body: Incoming) -> Bytes {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        if read.len() >= ANSWER_MAX_BYTES {
            read.truncate(ANSWER_MAX_BYTES);
            break;
        }
    }
    Bytes::from(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_in_words() {
        let read = Address::parse("https://siem.internal/services/collector?x=1").unwrap();
        assert_eq!((read.port, read.target.as_str()), (443, "/services/collector?x=1"));
        let read = Address::parse("http://[::1]:4318").unwrap();
        assert_eq!((read.host.as_str(), read.port, read.target.as_str()), ("::1", 4318, "/"));
        for wrong in ["", "ftp://x", "/only/path", "https://", "http://user@host/"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
