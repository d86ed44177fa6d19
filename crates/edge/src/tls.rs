//! TLS: version 1.3 unless 1.2 is asked for, hybrid post-quantum key exchange first, one
//! provider (aws-lc-rs), and a certificate that is replaced without a restart.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::error::Error;
use crate::hello::{self, Progress};

/// The certificate in force. Cloning shares it: what one replaces, all have.
#[derive(Clone)]
pub struct Certificates(Arc<ArcSwap<CertifiedKey>>);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    /// A certificate chain and its private key, both in PEM.
    ///
    /// # Errors
    /// [`Error::Certificate`] where there is no certificate or key, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(certified(chain, key)?))))
    }

    /// Puts another certificate in force, for connections from now on.
    ///
    /// # Errors
    /// As [`Self::from_pem`]; then the old one stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), Error> {
        self.0.store(Arc::new(certified(chain, key)?));
        Ok(())
    }
}

fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, Error> {
    let wrong = |what: &str| Error::Certificate(what.to_owned());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong("the chain is not PEM"))?;
    if chain.is_empty() {
        return Err(wrong("the chain holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| wrong("the key is not PEM"))?;
    CertifiedKey::from_der(chain, key, &crypto())
        .map_err(|error| Error::Certificate(error.to_string()))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// aws-lc-rs, with the hybrid X25519MLKEM768 before the classical groups.
fn crypto() -> CryptoProvider {
    use provider::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
    CryptoProvider { kx_groups, ..provider::default_provider() }
}

/// The configuration of all connections.
pub(crate) fn server(tls: &crate::config::Tls) -> Result<Arc<ServerConfig>, Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = if tls.tls12 {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13]
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(tls.certificates.clone()));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = provider::Ticketer::new()?;
    config.send_tls13_tickets = 2;
    // 0-RTT can be replayed.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Reads a client's first words; gives them with their fingerprint, if they are a ClientHello.
pub(crate) async fn first_words<S: AsyncRead + Unpin>(
    socket: &mut S,
    max_bytes: usize,
) -> io::Result<(Bytes, Option<String>)> {
    let mut words = Vec::with_capacity(2_048);
    loop {
        match hello::read(&words, max_bytes) {
            Progress::Done(hello) => return Ok((words.into(), Some(hello.ja4()))),
            // rustls knows which alert to send.
            Progress::Wrong => return Ok((words.into(), None)),
            Progress::More => {}
        }
        // Records have five bytes each around their part.
        if words.len() > max_bytes.saturating_mul(2) {
            return Ok((words.into(), None));
        }
        if socket.read_buf(&mut words).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A stream that begins with bytes which were read before.
#[derive(Debug)]
pub(crate) struct Replay<S> {
    first: Bytes,
    socket: S,
}

impl<S> Replay<S> {
    pub(crate) const fn new(first: Bytes, socket: S) -> Self {
        Self { first, socket }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, to);
        }
        let count = self.first.len().min(to.remaining());
        to.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
