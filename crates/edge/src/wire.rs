//! The way to an upstream: a TCP connection, or TLS over one, which says nothing to a server that
//! cannot prove its name.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use web::feed::Protocol;

use crate::error::Error;
use crate::tls::{chain_and_key, crypto};

/// Who may vouch for an upstream, and who we are to it.
#[derive(Clone)]
pub struct UpstreamTls {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamTls")
    }
}

impl UpstreamTls {
    /// `authorities` vouch (PEM; none: the public ones that browsers know); `identity` is the
    /// chain and key (PEM) that are shown to an upstream that asks who we are.
    ///
    /// # Errors
    /// [`Error::Certificate`] where one of them cannot be read.
    pub fn new(
        authorities: Option<&[u8]>,
        identity: Option<(&[u8], &[u8])>,
    ) -> Result<Self, Error> {
        let roots = match authorities {
            Some(pem) => read_roots(pem)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(crypto()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots);
        let mut http1 = match identity {
            Some((chain, key)) => {
                let (chain, key) = chain_and_key(chain, key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Error::Certificate(error.to_string()))?
            }
            None => builder.with_no_client_auth(),
        };
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { http1: Arc::new(http1), http2: Arc::new(http2) })
    }
}

fn read_roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let wrong = |what: &str| Error::Certificate(what.to_owned());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem) {
        let authority = authority.map_err(|_| wrong("the authorities are not PEM"))?;
        roots.add(authority).map_err(|error| Error::Certificate(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(wrong("the authorities' file holds no certificate"))
    } else {
        Ok(roots)
    }
}

/// TLS to one upstream, which must prove this name.
#[derive(Clone, Debug)]
pub(crate) struct Proving {
    tls: UpstreamTls,
    name: ServerName<'static>,
}

impl Proving {
    /// For a name; none where it is no name.
    pub(crate) fn new(tls: UpstreamTls, name: &str) -> Option<Self> {
        Some(Self { tls, name: ServerName::try_from(name.to_owned()).ok()? })
    }

    /// Speaks TLS on a fresh connection.
    pub(crate) async fn over(&self, stream: TcpStream, protocol: Protocol) -> io::Result<Wire> {
        let config = match protocol {
            Protocol::Http1 => &self.tls.http1,
            Protocol::Http2 => &self.tls.http2,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(self.name.clone(), stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if protocol == Protocol::Http2 && !agreed {
            let error = rustls::Error::General("it does not speak HTTP/2".to_owned());
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(Wire::Tls(Box::new(stream)))
    }
}

/// A connection to an upstream.
pub(crate) enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
