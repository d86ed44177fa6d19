//! A keyholder in a process of its own, behind a unix socket. Its connections are kept and used
//! again; where the keyholder was started anew, a question that met an old one is asked once more.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spine::BoxFuture;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::error::Error;
use crate::holder::ask::{Answer, Ask, Said};
use crate::holder::{Holder, wire};

/// How long a keyholder may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Connections that are kept.
const IDLE_MAX: usize = 8;
/// Between two tries to reach a keyholder that has not started yet.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to a keyholder.
pub(crate) struct Remote {
    socket: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Remote {
    /// The way to the keyholder of this socket, once it answers; `wait` bounds how long that may
    /// take, for it may be starting too.
    pub(crate) async fn reach(socket: &Path, wait: Duration) -> Result<Self, Error> {
        let remote = Self { socket: socket.to_owned(), idle: Mutex::default() };
        let mut last = None;
        let reached = async {
            loop {
                match remote.facts().await {
                    Err(error @ Error::KeyholderAway { .. }) => {
                        if last.is_none() {
                            tracing::info!(%error, "waiting for the keyholder");
                        }
                        last = Some(error);
                    }
                    other => return other,
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let reached = tokio::time::timeout(wait, reached).await;
        match reached {
            Ok(facts) => facts.map(|_| remote),
            Err(_) => {
                let late = || remote.away(io::ErrorKind::TimedOut.into());
                Err(last.unwrap_or_else(late))
            }
        }
    }

    fn away(&self, source: io::Error) -> Error {
        Error::KeyholderAway { socket: self.socket.clone(), source }
    }

    fn idle<T>(&self, work: impl FnOnce(&mut Vec<UnixStream>) -> T) -> T {
        work(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, Error> {
        let frame = wire::question(ask).map_err(|broken| self.away(broken.into()))?;
        // Each question may be asked twice: what was made and not heard of is in no row.
        if let Some(stream) = self.idle(Vec::pop) {
            match self.exchange(stream, &frame).await {
                Ok(answer) => return Ok(answer),
                // Who waited once does not wait twice.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(self.away(error));
                }
                Err(error) => {
                    tracing::debug!(%error, "the keyholder is asked again");
                    self.idle(Vec::clear);
                }
            }
        }
        let fresh = async {
            let stream = UnixStream::connect(&self.socket).await?;
            self.exchange(stream, &frame).await
        };
        fresh.await.map_err(|error| self.away(error))
    }

    /// One question and its answer. A connection that fails or hangs is not used again.
    async fn exchange(&self, mut stream: UnixStream, frame: &[u8]) -> io::Result<Answer> {
        let asked = async {
            stream.write_all(frame).await?;
            Ok::<_, io::Error>(wire::read_answer(&mut stream).await?)
        };
        let answer = tokio::time::timeout(ANSWER, asked).await;
        let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.idle(|idle| {
            if idle.len() < IDLE_MAX {
                idle.push(stream);
            }
        });
        Ok(answer)
    }
}

impl Holder for Remote {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(async move {
            ask.check()?;
            let answer = self.ask(&ask).await?;
            match answer.said {
                Said::Refused(no) => Err(no.into()),
                said => Ok(Answer { said, keys: answer.keys }),
            }
        })
    }
}
