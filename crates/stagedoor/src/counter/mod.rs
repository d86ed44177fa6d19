//! Counts limits over all nodes, in Redis or Valkey: one script call for all that is asked at once,
//! by the server's own clock. Keys are keyed hashes, and forgotten once they are at rest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::LimitStore;
use anyhow::Context as _;
use tokio::time::timeout;
use vault::Vault;
use web::BoxFuture;
use web::feed::{Counter, Grant, Take, Taken};

use crate::redis::{Connection, Reply, Server};

/// How long Redis may take for an answer before another connection is tried.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// Connections that wait for the next question.
const IDLE_MAX: usize = 4;
/// What one question may ask for; more is not asked.
const TAKES_MAX: usize = 500;
/// The longest span that the script computes with, in microseconds: sums with today stay exact.
const SPAN_MAX_US: i64 = 1_000_000_000_000_000;
/// The most tokens in one take.
const TOKENS_MAX: u32 = 1_000_000;

const TAKE: &str = include_str!("take.lua");
const BEAT: &str = include_str!("beat.lua");

/// The counter. It connects when it is first asked, and again where a connection was lost.
pub(crate) struct RedisCounter {
    server: Server,
    vault: Vault,
    prefix: String,
    node: String,
    idle: Mutex<Vec<Line>>,
    store: Arc<LimitStore>,
}

/// A connection, and what its server calls our scripts.
struct Line {
    connection: Connection,
    take: Vec<u8>,
    beat: Vec<u8>,
}

impl RedisCounter {
    /// A counter whose keys begin with `prefix` and are made with the vault's key for them; `node` is
    /// this node's name, unique among the nodes.
    pub(crate) fn new(server: Server, vault: Vault, prefix: String, node: String) -> Self {
        let (idle, store) = (Mutex::default(), Arc::default());
        Self { server, vault, prefix, node, idle, store }
    }

    /// How the store does.
    pub(crate) const fn store(&self) -> &Arc<LimitStore> {
        &self.store
    }

    /// All keys lie in one slot of a cluster, so that one script call reaches them.
    fn key(&self, take: &Take) -> String {
        use std::fmt::Write as _;
        let framed = [take.limit.as_bytes(), b"\0", &take.who].concat();
        let hash = self.vault.blind("access.limit", &framed);
        let mut key = format!("{{{}}}:limit:", self.prefix);
        for byte in hash.iter().take(16) {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }

    /// Asks over a connection that goes back only where it was answered: one that was left in the
    /// middle of an answer would give it to the next question.
    async fn ask(&self, takes: &[Take]) -> anyhow::Result<Taken> {
        anyhow::ensure!(takes.len() <= TAKES_MAX, "too much is asked at once");
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut line = match idle {
            Some(line) => line,
            None => Line::open(&self.server).await?,
        };
        let taken = timeout(ANSWER_MAX, self.ask_over(&mut line, takes)).await;
        let taken = taken.context("it does not answer in time")??;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(line);
        }
        Ok(taken)
    }

    async fn ask_over(&self, line: &mut Line, takes: &[Take]) -> anyhow::Result<Taken> {
        if takes.is_empty() {
            let words = vec![format!("{{{}}}:nodes", self.prefix), self.node.clone()];
            let Reply::Int(nodes) = line.run(Script::Beat, 1, &words).await? else {
                anyhow::bail!("no number of nodes");
            };
            return Ok(Taken { grants: Vec::new(), nodes: u32::try_from(nodes).ok() });
        }
        let mut words: Vec<String> = takes.iter().map(|take| self.key(take)).collect();
        for take in takes {
            let emission_us = take.emission_us.clamp(1, SPAN_MAX_US);
            let tolerance_us = take.tolerance_us.clamp(emission_us, SPAN_MAX_US);
            let tokens = [take.least, take.most, take.back].map(|tokens| tokens.min(TOKENS_MAX));
            words.extend([emission_us, tolerance_us].map(|span_us| span_us.to_string()));
            words.extend(tokens.map(|tokens| tokens.to_string()));
            words.push(u8::from(take.joined).to_string());
        }
        let Reply::Parts(parts) = line.run(Script::Take, takes.len(), &words).await? else {
            anyhow::bail!("no list of grants");
        };
        anyhow::ensure!(parts.len() == 2 * takes.len(), "another number of grants");
        let (pairs, _) = parts.as_chunks::<2>();
        let grants: Option<Vec<Grant>> = pairs.iter().map(grant).collect();
        Ok(Taken { grants: grants.context("a grant that is no number")?, nodes: None })
    }
}

fn grant(pair: &[Reply; 2]) -> Option<Grant> {
    let [Reply::Int(tokens), Reply::Int(ahead_us)] = pair else { return None };
    Some(Grant { tokens: u32::try_from(*tokens).ok()?, ahead_us: *ahead_us })
}

#[derive(Clone, Copy)]
enum Script {
    Take,
    Beat,
}

impl Line {
    async fn open(server: &Server) -> anyhow::Result<Self> {
        let connection = server.connect().await?;
        let mut line = Self { connection, take: Vec::new(), beat: Vec::new() };
        timeout(ANSWER_MAX, line.load()).await.context("it does not answer in time")??;
        Ok(line)
    }

    async fn load(&mut self) -> anyhow::Result<()> {
        self.take = self.load_one(TAKE).await?;
        self.beat = self.load_one(BEAT).await?;
        Ok(())
    }

    async fn load_one(&mut self, script: &str) -> anyhow::Result<Vec<u8>> {
        match self.say(&[b"SCRIPT", b"LOAD", script.as_bytes()]).await? {
            Reply::Text(digest) => Ok(digest),
            Reply::Refused(why) => anyhow::bail!("it refuses a script: {why}"),
            reply => anyhow::bail!("no digest of a script: {reply:?}"),
        }
    }

    /// Runs a script; loads it first where the server has forgotten it.
    async fn run(
        &mut self,
        script: Script,
        keys: usize,
        words: &[String],
    ) -> anyhow::Result<Reply> {
        for _ in 0..2 {
            let digest = match script {
                Script::Take => self.take.clone(),
                Script::Beat => self.beat.clone(),
            };
            let keys = keys.to_string();
            let mut all: Vec<&[u8]> = vec![b"EVALSHA", &digest, keys.as_bytes()];
            all.extend(words.iter().map(String::as_bytes));
            match self.say(&all).await? {
                Reply::Refused(why) if why.starts_with("NOSCRIPT") => self.load().await?,
                Reply::Refused(why) => anyhow::bail!("it refuses to count: {why}"),
                reply => return Ok(reply),
            }
        }
        anyhow::bail!("it forgets its scripts")
    }

    async fn say(&mut self, words: &[&[u8]]) -> anyhow::Result<Reply> {
        self.connection.send(words).await?;
        Ok(self.connection.next().await?)
    }
}

impl Counter for RedisCounter {
    fn take<'a>(&'a self, takes: &'a [Take]) -> BoxFuture<'a, Option<Taken>> {
        Box::pin(async move {
            match self.ask(takes).await {
                Ok(taken) => {
                    self.store.answered(taken.nodes);
                    Some(taken)
                }
                Err(error) => {
                    tracing::debug!(error = %format!("{error:#}"), "Redis did not count");
                    // What waits is as old as what failed.
                    self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    self.store.fell_silent();
                    None
                }
            }
        })
    }
}
