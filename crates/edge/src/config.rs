//! What an edge is started with.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use kernel::{Clock, Entropy, Secret};
use web::feed::{Counter, Hub, Minter, Net, Observations};

use crate::bounds::Bounds;
use crate::error::{Error, Problem};
pub use crate::forward_auth::ForwardAuth;
use crate::session::Issuer;
use crate::tls::Certificates;
use crate::wire::UpstreamTls;

/// Everything that an edge needs; the rest comes by the feed.
pub struct Config {
    /// Where it listens.
    pub listen: Listen,
    /// TLS; none: plain HTTP, for a place behind another proxy.
    pub tls: Option<Tls>,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<Net>,
    /// Proxies whose every connection begins with a PROXY protocol header; nobody else's may.
    pub proxy_protocol: Vec<Net>,
    /// Sizes, counts and times.
    pub bounds: Bounds,
    /// Whose session tokens are believed.
    pub issuer: Issuer,
    /// Secrets of at least 32 bytes that identity headers are signed with, by id.
    pub header_keys: HashMap<String, Secret<Vec<u8>>>,
    /// TLS settings that upstreams name, by id.
    pub upstream_tls: HashMap<String, UpstreamTls>,
    /// Answers to other proxies; none: no proxy is answered.
    pub forward_auth: Option<ForwardAuth>,
    /// How many requests in a million are traced; 0: none.
    pub traced_ppm: u32,
    /// Where a page visitor without a session is sent.
    pub sign_in_path: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The feed.
    pub hub: Hub,
    /// Where observations go.
    pub observations: Arc<Observations>,
    /// Who makes new session tokens; none: an expired token is a session that is not known.
    pub minter: Option<Arc<dyn Minter>>,
    /// What counts limits together with other nodes; none: this node counts alone.
    pub counter: Option<Arc<dyn Counter>>,
    /// What answers our own paths; where it cannot, its answer has [`crate::CoreGone`] in its
    /// extensions.
    pub core: axum::Router,
    /// What makes the page of a refusal ([`crate::Shown`] in the extensions of a request for `/`);
    /// none: a page without style.
    pub pages: Option<axum::Router>,
}

/// Where an edge listens.
#[derive(Debug)]
pub enum Listen {
    /// At an address; port 0 takes a free one.
    At(SocketAddr),
    /// On a listener that somebody with more rights has opened, and that outlives this edge.
    On(TcpListener),
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificates, which can be replaced while running.
    pub certificates: Certificates,
    /// Whether TLS 1.2 is spoken besides 1.3 (default no).
    pub tls12: bool,
}

impl Config {
    /// Checks what can be checked without starting.
    ///
    /// # Errors
    /// [`Error::Config`] that names the key and how to mend it.
    pub fn check(&self) -> Result<(), Error> {
        self.bounds.check()?;
        for (id, secret) in &self.header_keys {
            if secret.expose().len() < 32 {
                let detail = "a header key has at least 32 random bytes".to_owned();
                return Err(Error::Config(Problem {
                    key: format!("edge.header_keys.{id}"),
                    detail,
                }));
            }
        }
        if !self.sign_in_path.starts_with('/') {
            let detail = "a path that begins with `/`, as in /auth/sign-in".to_owned();
            return Err(Error::Config(Problem { key: "edge.sign_in_path".to_owned(), detail }));
        }
        if let Some(forward) = &self.forward_auth
            && (!forward.path.starts_with('/') || forward.proxies.is_empty())
        {
            let detail = "needs a path that begins with `/` and at least one proxy".to_owned();
            return Err(Error::Config(Problem { key: "edge.forward_auth".to_owned(), detail }));
        }
        Ok(())
    }
}
