//! One connection to a Redis or Valkey server: plain or TLS, authenticated, speaking RESP3.
//!
//! Small and our own, because few commands are needed and no reply is believed: every one is bounded
//! before it is held. Whoever loses the connection opens another.

mod reply;

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BytesMut};
use http::Uri;
use kernel::Secret;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) use reply::{Reply, TEXT_BYTES_MAX};

/// How long opening a connection may take, with its first questions.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a command may take on its way out.
const SEND_MAX: Duration = Duration::from_secs(1);
/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// The longest reply: one message, and a little around it.
const REPLY_BYTES_MAX: usize = TEXT_BYTES_MAX + READ_BYTES;

/// Where the server is, and who we are to it.
pub(crate) struct Server {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    user: String,
    password: Option<Secret<String>>,
    database: u16,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Server {
    /// Reads `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS; `ca_pem` are
    /// the roots to believe instead of the public ones.
    pub(crate) fn parse(url: &str, ca_pem: Option<&[u8]>) -> anyhow::Result<Self> {
        const FORM: &str = "must be redis://[user:password@]host[:port][/database], or rediss://";
        let uri: Uri = url.trim().parse().ok().context(FORM)?;
        let host = uri.host().filter(|host| !host.is_empty()).context(FORM)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("redis") => None,
            Some("rediss") => {
                let name = ServerName::try_from(host.clone()).context("the host is no name")?;
                Some((crate::witness::connector(ca_pem)?, name))
            }
            Some(_) | None => anyhow::bail!(FORM),
        };
        let userinfo = uri.authority().and_then(|all| all.as_str().rsplit_once('@'));
        let (user, password) = match userinfo.map(|(info, _)| info) {
            None => (String::new(), None),
            Some(info) => {
                let (user, password) = info.split_once(':').unwrap_or((info, ""));
                (decoded(user).context(FORM)?, Some(Secret::new(decoded(password).context(FORM)?)))
            }
        };
        let database = match uri.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().ok().context(FORM)?,
        };
        let port = uri.port_u16().unwrap_or(6_379);
        Ok(Self { host, port, tls, user, password, database })
    }

    /// The port that it listens on.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection, in bounded time.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let opened = tokio::time::timeout(CONNECT_MAX, self.open()).await;
        opened.context("it does not answer in time")?
    }

    async fn open(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        };
        let mut connection = Connection { stream, read: BytesMut::new() };
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &self.password {
            let user = if self.user.is_empty() { "default" } else { &self.user };
            hello.extend([b"AUTH".as_slice(), user.as_bytes(), password.expose().as_bytes()]);
        }
        connection.ask(&hello).await.context("HELLO 3 (Redis 6 or later, any Valkey)")?;
        if self.database != 0 {
            connection.ask(&[b"SELECT", self.database.to_string().as_bytes()]).await?;
        }
        Ok(connection)
    }
}

/// A part of an address with its %XX put back.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(high * 16 + low);
    }
    String::from_utf8(bytes).ok()
}

/// A stream of either sort.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open connection.
pub(crate) struct Connection {
    stream: Box<dyn Duplex>,
    read: BytesMut,
}

impl Connection {
    /// Sends a command, in bounded time. Its reply comes by [`Connection::next`].
    pub(crate) async fn send(&mut self, words: &[&[u8]]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(SEND_MAX, sent).await.map_err(io::Error::from)?
    }

    /// The next that the server says. Safe to cancel.
    pub(crate) async fn next(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, length)) = reply::parse(&self.read)? {
                self.read.advance(length);
                return Ok(reply);
            }
            // Each part is bounded, and so is the whole.
            if self.read.len() > REPLY_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply is too long"));
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends a command and waits for its answer; for the time before anything is pushed.
    async fn ask(&mut self, words: &[&[u8]]) -> anyhow::Result<Reply> {
        self.send(words).await?;
        match self.next().await? {
            Reply::Refused(why) => anyhow::bail!("it refuses: {why}"),
            reply => Ok(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let server = Server::parse("redis://ada:p%40ss@[::1]:7000/3", None).unwrap();
        assert_eq!((server.host.as_str(), server.port, server.database), ("::1", 7_000, 3));
        assert_eq!(server.user, "ada");
        assert_eq!(server.password.as_ref().unwrap().expose(), "p@ss");
        let server = Server::parse("rediss://cache.internal", None).unwrap();
        assert!(server.tls.is_some());
        assert_eq!((server.port, server.database), (6_379, 0));
        for url in ["", "cache:6379", "http://x", "redis://", "redis://x/y", "redis://a:%zz@x"] {
            assert!(Server::parse(url, None).is_err(), "{url}");
        }
        let shown = format!("{:?}", Server::parse("redis://a:secret@x", None).unwrap());
        assert!(!shown.contains("secret"));
    }

    /// A server of this test's own that speaks TLS only and asks for a password; none where none is
    /// installed.
    fn secured(dir: &std::path::Path, port: u16) -> Option<std::process::Child> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join("crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("key"), made.signing_key.serialize_pem()).unwrap();
        let mut command = std::process::Command::new("redis-server");
        command.current_dir(dir).stdout(std::process::Stdio::null());
        command.args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--tls-cert-file", "crt", "--tls-key-file", "key", "--save", ""]);
        command.args(["--tls-ca-cert-file", "crt", "--tls-auth-clients", "no"]);
        command.args(["--requirepass", "p@ss"]).spawn().ok()
    }

    /// A server that never comes to an end takes no memory.
    #[tokio::test]
    async fn a_reply_without_an_end_is_refused() {
        let (ours, mut theirs) = tokio::io::duplex(READ_BYTES);
        let mut connection = Connection { stream: Box::new(ours), read: BytesMut::new() };
        let endless = async {
            theirs.write_all(b">1024\r\n*1024\r\n").await?;
            let head = format!("${TEXT_BYTES_MAX}\r\n");
            let text = [head.as_bytes(), &vec![7; TEXT_BYTES_MAX], b"\r\n"].concat();
            loop {
                theirs.write_all(&text).await?;
            }
        };
        let refused = tokio::select! {
            reply = connection.next() => reply.unwrap_err(),
            broken = endless => { let broken: io::Result<()> = broken; panic!("{broken:?}") }
        };
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert!(connection.read.capacity() < 4 * REPLY_BYTES_MAX);
    }

    #[tokio::test]
    async fn over_tls_with_a_password_and_to_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let Some(mut child) = secured(dir.path(), port) else { return };
        let roots = std::fs::read(dir.path().join("crt")).unwrap();
        let server = |password: &str, roots: Option<&[u8]>| {
            Server::parse(&format!("rediss://:{password}@localhost:{port}"), roots).unwrap()
        };
        let mut opened = server("p%40ss", Some(&roots)).connect().await;
        for _ in 0..100 {
            if opened.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            opened = server("p%40ss", Some(&roots)).connect().await;
        }
        let mut connection = opened.unwrap();
        connection.send(&[b"SUBSCRIBE", b"c"]).await.unwrap();
        let large = vec![7; TEXT_BYTES_MAX];
        connection.send(&[b"PUBLISH", b"c", &large]).await.unwrap();
        let mut heard = Vec::new();
        while !heard.contains(&Reply::Int(1)) || heard.len() < 3 {
            heard.push(connection.next().await.unwrap());
        }
        let texts = [b"message".to_vec(), b"c".to_vec(), large].map(Reply::Text);
        assert!(heard.contains(&Reply::Push(texts.to_vec())));
        assert!(server("wrong", Some(&roots)).connect().await.is_err());
        assert!(server("p%40ss", None).connect().await.is_err(), "no public authority vouches");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
