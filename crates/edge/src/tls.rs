//! TLS: version 1.3 unless 1.2 is asked for, hybrid post-quantum key exchange first, one
//! provider (aws-lc-rs), and certificates that are chosen by name and replaced without a restart.

use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::error::Error;
use crate::hello::{self, Progress};

/// What a client is told that speaks HTTP where TLS is spoken.
pub(crate) const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Content-Length: 53\r\nConnection: close\r\n\r\n\
    This port speaks HTTPS: use https:// in the address.\n";

/// The certificates in force. Cloning shares them: what one replaces, all have.
#[derive(Clone)]
pub struct Certificates(Arc<ArcSwap<Vec<Arc<CertifiedKey>>>>);

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates")
    }
}

impl Certificates {
    /// Certificate chains with their private keys, all in PEM. A client is shown the first that is
    /// made out to the name it asks for, or the first of all.
    ///
    /// # Errors
    /// [`Error::Certificate`] where there is no certificate or key, or they do not belong together.
    pub fn from_pem(pairs: &[(&[u8], &[u8])]) -> Result<Self, Error> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(certified(pairs)?))))
    }

    /// Puts other certificates in force, for connections from now on.
    ///
    /// # Errors
    /// As [`Self::from_pem`]; then the old ones stay.
    pub fn replace(&self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error> {
        self.0.store(Arc::new(certified(pairs)?));
        Ok(())
    }
}

fn certified(pairs: &[(&[u8], &[u8])]) -> Result<Vec<Arc<CertifiedKey>>, Error> {
    if pairs.is_empty() {
        return Err(Error::Certificate("there is none".to_owned()));
    }
    let crypto = crypto();
    let one = |(chain, key): &(&[u8], &[u8])| {
        let (chain, key) = chain_and_key(chain, key)?;
        CertifiedKey::from_der(chain, key, &crypto)
            .map(Arc::new)
            .map_err(|error| Error::Certificate(error.to_string()))
    };
    pairs.iter().map(one).collect()
}

/// Reads a chain and its key.
pub(crate) fn chain_and_key(
    chain: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let wrong = |what: &str| Error::Certificate(what.to_owned());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| wrong("the chain is not PEM"))?;
    if chain.is_empty() {
        return Err(wrong("the chain holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| wrong("the key is not PEM"))?;
    Ok((chain, key))
}

/// Whether a certificate is made out to a name.
fn is_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = certificate.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let all = self.0.load();
        let name = hello.server_name().filter(|_| all.len() > 1);
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| all.iter().find(|one| is_for(one, &name)));
        named.or_else(|| all.first()).cloned()
    }
}

/// aws-lc-rs, with the hybrid X25519MLKEM768 before the classical groups.
pub(crate) fn crypto() -> CryptoProvider {
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
/// `words` are those that have come already.
pub(crate) async fn first_words<S: AsyncRead + Unpin>(
    socket: &mut S,
    mut words: Vec<u8>,
    max_bytes: usize,
) -> io::Result<(Bytes, Option<String>)> {
    words.reserve(2_048);
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
