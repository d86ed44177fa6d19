//! Syslog (RFC 5424): counted over TCP (RFC 6587) or TLS (RFC 5425), or a datagram each (RFC 5426).
//!
//! Syslog knows no acknowledgement. A connection that breaks takes with it what the receiver had not
//! read; so the last batch goes out once more on the next connection, and a receiver may hear it
//! twice.

use std::time::Duration;

use kernel::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::SinkFiles;
use crate::config::{SiemConfig, Transport};
use crate::error::Error;
use crate::ocsf::Told;
use crate::outbound::connector;

/// `log audit`.
const FACILITY: u8 = 13;
/// What a datagram can carry, with room for its heads.
const DATAGRAM_MAX: usize = 65_000;
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is looked at for its end.
const LOOK: Duration = Duration::from_millis(1);

/// The receiver.
pub(super) struct Syslog {
    address: String,
    transport: Transport,
    tls: TlsConnector,
    host: String,
    wire: Option<Wire>,
    /// What went out last, and may not have been read.
    last: Vec<String>,
}

enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Udp(UdpSocket),
}

impl Syslog {
    pub(super) fn new(config: &SiemConfig, files: &SinkFiles, host: &str) -> Result<Self, Error> {
        Ok(Self {
            address: config.address.clone().unwrap_or_default(),
            transport: config.transport,
            tls: connector(files.authority.as_deref())?,
            host: visible(host, 255),
            wire: None,
            last: Vec::new(),
        })
    }

    pub(super) async fn send(&mut self, batch: &[Told]) -> Result<u64, Error> {
        let messages: Vec<String> = batch.iter().map(|told| self.message(told)).collect();
        let mut wire = self.connected().await?;
        // Taken out: where this is cut off in the middle of a message, the connection is of no use.
        let left_out = wire.write(&messages).await?;
        self.wire = Some(wire);
        self.last = messages;
        Ok(left_out)
    }

    /// A connection that has not ended; a new one hears the last batch first.
    async fn connected(&mut self) -> Result<Wire, Error> {
        if let Some(mut wire) = self.wire.take()
            && wire.lives().await
        {
            return Ok(wire);
        }
        let opened = tokio::time::timeout(CONNECT, self.open()).await;
        let mut wire = opened.map_err(|_| Error::away("no connection in time"))??;
        if self.transport != Transport::Udp && !self.last.is_empty() {
            wire.write(&self.last).await?;
        }
        Ok(wire)
    }

    async fn open(&self) -> Result<Wire, Error> {
        if self.transport == Transport::Udp {
            let mut found = tokio::net::lookup_host(&self.address).await.map_err(Error::away)?;
            let address = found.next().ok_or_else(|| Error::away("no such host"))?;
            let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).await.map_err(Error::away)?;
            socket.connect(address).await.map_err(Error::away)?;
            return Ok(Wire::Udp(socket));
        }
        let stream = TcpStream::connect(&self.address).await.map_err(Error::away)?;
        if self.transport == Transport::Tcp {
            return Ok(Wire::Tcp(stream));
        }
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(Error::away)?;
        let stream = self.tls.connect(name, stream).await.map_err(Error::away)?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// One message: head, no structured data, the event.
    fn message(&self, told: &Told) -> String {
        let level = match told.severity {
            5 => 2,
            4 => 3,
            3 => 4,
            2 => 5,
            _ => 6,
        };
        let priority = FACILITY * 8 + level;
        let at = Timestamp::from_micros(told.time_ms.saturating_mul(1_000));
        let (host, kind) = (&self.host, visible(&told.kind, 32));
        format!("<{priority}>1 {at} {host} stagedoor - {kind} - {}", told.json)
    }
}

impl Wire {
    /// Writes messages; how many were left out.
    async fn write(&mut self, messages: &[String]) -> Result<u64, Error> {
        let counted = || -> Vec<u8> {
            let framed = messages.iter().map(|text| format!("{} {text}", text.len()));
            framed.collect::<String>().into_bytes()
        };
        match self {
            Self::Tcp(stream) => {
                stream.write_all(&counted()).await.map_err(Error::away)?;
                stream.flush().await.map_err(Error::away)?;
                Ok(0)
            }
            Self::Tls(stream) => {
                stream.write_all(&counted()).await.map_err(Error::away)?;
                stream.flush().await.map_err(Error::away)?;
                Ok(0)
            }
            Self::Udp(socket) => {
                let mut left_out = 0;
                for text in messages {
                    if text.len() > DATAGRAM_MAX {
                        left_out += 1;
                        continue;
                    }
                    socket.send(text.as_bytes()).await.map_err(Error::away)?;
                }
                Ok(left_out)
            }
        }
    }

    /// Whether the other side has not ended it: a receiver says nothing, so whatever is to be read is
    /// the end.
    async fn lives(&mut self) -> bool {
        let mut word = [0; 64];
        let read = async {
            match self {
                Self::Tcp(stream) => stream.read(&mut word).await,
                Self::Tls(stream) => stream.read(&mut word).await,
                Self::Udp(_) => std::future::pending().await,
            }
        };
        match tokio::time::timeout(LOOK, read).await {
            Ok(Ok(0) | Err(_)) => false,
            Ok(Ok(_)) | Err(_) => true,
        }
    }
}

/// Printable letters without a space, as a field of the head wants them.
fn visible(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_as_rfc_5424_says() {
        let config: SiemConfig = serde_json::from_value(json!({
            "name": "x", "to": "syslog", "address": "127.0.0.1:1"
        }))
        .unwrap();
        let syslog = Syslog::new(&config, &SinkFiles::default(), "node 1").unwrap();
        let told = Told {
            index: 7,
            kind: "identity.login_failed".to_owned(),
            severity: 2,
            time_ms: 1_795_487_140_123,
            json: json!({ "a": 1 }),
        };
        let expected = "<109>1 2026-11-24T02:25:40.123000Z node1 stagedoor - \
                        identity.login_failed - {\"a\":1}";
        assert_eq!(syslog.message(&told), expected);
    }
}
