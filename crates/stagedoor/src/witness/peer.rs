//! One witness, as the log sees it: its key, where it listens, and what it cosigned last. Nothing
//! that it says is believed but a signature by its key.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use kernel::Timestamp;
use merkle::witness::{AddCheckpoint, parse_known_size};
use merkle::{Policy, SignedCheckpoint, VerifyKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use spine::Spine;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ADD_CHECKPOINT;

/// How long one question may take, with its connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer: a few signature lines.
const ANSWER_MAX_BYTES: usize = 16 * 1024;
/// The first wait after a failure, doubled with each one that follows.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// Why there is no signature.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    /// It cannot be reached, or its answer makes no sense.
    #[error("it does not answer: {0:#}")]
    Away(anyhow::Error),
    /// 404.
    #[error("it does not know this log: give it the key that `stagedoor audit checkpoint` shows")]
    UnknownLog,
    /// 403.
    #[error("it does not trust the log's key: was the key changed, or the log reopened?")]
    Untrusted,
    /// Another answer than the protocol has.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// A line that the configured key did not make.
    #[error("it sent no signature by the key that is configured for it")]
    NoSignature,
    /// It has seen a longer log.
    #[error(
        "it has cosigned {known} leaves and this log has {size}: an old backup was put back, or \
         another installation signs under this name"
    )]
    Behind {
        /// What it cosigned.
        known: u64,
        /// What the log has.
        size: u64,
    },
    /// 422, or a conflict about one size: history was rewritten.
    #[error("the log did not grow out of what it cosigned: run `stagedoor audit verify` now")]
    Forked,
    /// Our own log could not be read.
    #[error(transparent)]
    Spine(#[from] spine::Error),
}

impl Trouble {
    /// Whether it says something about the log, rather than about the way to the witness.
    pub(super) const fn accuses(&self) -> bool {
        matches!(self, Self::Behind { .. } | Self::Forked)
    }
}

/// A witness.
pub(super) struct Peer {
    key: VerifyKey,
    address: Uri,
    tls: TlsConnector,
    /// Leaves that it cosigned last; none before its first answer in this run.
    known: Option<u64>,
    failures: u32,
    ask_at: Timestamp,
}

impl Peer {
    /// A witness at this address; `ca_pem` are the roots to believe instead of the public ones.
    pub(super) fn new(key: VerifyKey, url: &str, ca_pem: Option<&[u8]>) -> anyhow::Result<Self> {
        let address: Uri = url.parse()?;
        let tls = connector(ca_pem)?;
        Ok(Self { key, address, tls, known: None, failures: 0, ask_at: Timestamp::default() })
    }

    pub(super) fn name(&self) -> &str {
        self.key.name()
    }

    /// Whether it is to be asked about this checkpoint now. Once after each start also where it has
    /// cosigned it: it may have seen more than what stands here, if an old backup was put back.
    pub(super) fn is_due(&self, signed: &SignedCheckpoint, now: Timestamp) -> bool {
        now >= self.ask_at && (self.known.is_none() || !self.has_signed(signed))
    }

    /// Whether one of the lines says that it is by this witness.
    fn has_signed(&self, signed: &SignedCheckpoint) -> bool {
        let lines = signed.note().signatures();
        lines.iter().any(|line| line.name() == self.key.name() && line.key_id() == self.key.id())
    }

    /// Waits before the next question: longer after each failure.
    pub(super) fn remember(&mut self, asked: bool, now: Timestamp) {
        if asked {
            self.failures = 0;
            return;
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.ask_at = now.plus(wait);
    }

    /// Asks for its signature under what only the log has signed, and gives the lines of its answer,
    /// of which one is by its key. A witness that remembers another size says so, and is asked once
    /// more from there.
    pub(super) async fn ask(
        &mut self,
        spine: &Spine,
        policy: &Policy,
        signed: &SignedCheckpoint,
    ) -> Result<Vec<u8>, Trouble> {
        let size = signed.claimed().size();
        for _ in 0..2 {
            let old_size = self.known.unwrap_or(0);
            if old_size > size {
                // A number without a signature: the next time it is asked anew.
                self.known = None;
                return Err(Trouble::Behind { known: old_size, size });
            }
            let proof = spine.prove_growth(old_size, size).await?;
            let checkpoint = signed.clone();
            let add = AddCheckpoint { old_size, proof, checkpoint };
            let (status, body) = self.post(add.to_string()).await.map_err(Trouble::Away)?;
            match status {
                StatusCode::OK => {
                    let mut with_lines = signed.clone();
                    let taken = policy.collect(&mut with_lines, &body);
                    if taken.is_err() || !self.has_signed(&with_lines) {
                        return Err(Trouble::NoSignature);
                    }
                    self.known = Some(size);
                    return Ok(body.to_vec());
                }
                StatusCode::CONFLICT => match parse_known_size(&body) {
                    Some(known) if known == old_size => return Err(Trouble::Forked),
                    Some(known) => self.known = Some(known),
                    None => return Err(Trouble::Status(status)),
                },
                StatusCode::NOT_FOUND => return Err(Trouble::UnknownLog),
                StatusCode::FORBIDDEN => return Err(Trouble::Untrusted),
                StatusCode::UNPROCESSABLE_ENTITY => return Err(Trouble::Forked),
                other => return Err(Trouble::Status(other)),
            }
        }
        // it moved on between two questions: another node of this installation was faster
        Err(Trouble::Status(StatusCode::CONFLICT))
    }

    async fn post(&self, body: String) -> anyhow::Result<(StatusCode, Bytes)> {
        let answered = tokio::time::timeout(PATIENCE, self.exchange(body)).await;
        answered.context("no answer in time")?
    }

    async fn exchange(&self, body: String) -> anyhow::Result<(StatusCode, Bytes)> {
        let host = self.address.host().context("no host")?.trim_matches(['[', ']']).to_owned();
        let https = self.address.scheme_str() == Some("https");
        let port = self.address.port_u16().unwrap_or(if https { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        if !https {
            return self.send(stream, body).await;
        }
        let name = ServerName::try_from(host)?;
        self.send(self.tls.connect(name, stream).await?, body).await
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        body: String,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let prefix = self.address.path().trim_end_matches('/');
        let host = self.address.authority().context("no host")?.as_str();
        let request = Request::post(format!("{prefix}{ADD_CHECKPOINT}"))
            .header(header::HOST, host)
            .header(header::USER_AGENT, "stagedoor")
            .body(Full::new(Bytes::from(body)))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("its answer: {error}"))?;
        Ok((parts.status, body.to_bytes()))
    }
}

/// TLS towards a server that these roots vouch for, or the public ones where none are given.
pub(crate) fn connector(ca_pem: Option<&[u8]>) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use merkle::key::KeyKind;

    use super::*;

    #[test]
    fn a_witness_that_fails_is_asked_later_and_later() {
        let key = VerifyKey::new("w.example", KeyKind::Cosigner, [1; 32]).unwrap();
        let mut peer = Peer::new(key, "http://127.0.0.1:1", None).unwrap();
        let mut now = Timestamp::from_seconds(1_000);
        let mut waits = Vec::new();
        for _ in 0..12 {
            peer.remember(false, now);
            waits.push(peer.ask_at.since(now).as_secs());
            now = peer.ask_at;
        }
        assert_eq!(waits[..5], [5, 10, 20, 40, 80]);
        assert_eq!(waits.last(), Some(&900));
        peer.remember(true, now);
        peer.remember(false, now);
        assert_eq!(peer.ask_at.since(now).as_secs(), 5);
    }
}
