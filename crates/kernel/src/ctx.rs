//! Who asks, from where, at what moment, with which randomness: one value, made once per request.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{AccountId, KeyId, RequestId, SessionId, Timestamp};

/// Where randomness comes from (K1). The binary hands in the machine's; tests hand in a seed's.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `buffer` with bytes that no one can foretell.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// Where the operating system has no randomness to give: nothing that this program does would
    /// be safe then.
    fn fill(&self, buffer: &mut [u8]) {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the generator")]
        let filled = getrandom::fill(buffer);
        #[expect(clippy::expect_used, reason = "a program without randomness must not go on")]
        filled.expect("the operating system gives randomness");
    }
}

/// Who does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Nobody known: a visitor before sign-in.
    Nobody,
    /// A part of the program itself, by name (`watch`, `sequencer`).
    System(&'static str),
    /// A person with an account, and the session it came by.
    Account {
        /// The account.
        id: AccountId,
        /// The session, where there is one.
        session: Option<SessionId>,
    },
    /// One of the shop's staff, at the console, the command line or the API.
    Operator {
        /// The operator's account; none for the command line on the host itself.
        id: Option<AccountId>,
    },
    /// The shop's own service, by its API key.
    Service {
        /// The key.
        key: KeyId,
    },
}

impl Actor {
    /// The word for this kind of actor in events: `nobody`, `system`, `account`, `operator`,
    /// `service`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::System(_) => "system",
            Self::Account { .. } => "account",
            Self::Operator { .. } => "operator",
            Self::Service { .. } => "service",
        }
    }

    /// The actor's id or name as text; empty for nobody.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Nobody | Self::Operator { id: None } => String::new(),
            Self::System(part) => (*part).to_owned(),
            Self::Account { id, .. } | Self::Operator { id: Some(id) } => id.to_string(),
            Self::Service { key } => key.to_string(),
        }
    }
}

/// Where it came from, as far as it is known. Personal data: it is only ever stored sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, behind trusted proxies.
    pub address: Option<IpAddr>,
    /// What the client calls itself (User-Agent), at most 256 bytes.
    pub agent: Option<String>,
    /// The TLS fingerprint of the client (JA4), where the edge saw its ClientHello.
    pub fingerprint: Option<String>,
}

/// The circumstances of one act: made once per request, then only read.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who acts.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// The moment: read once, so that one act has one time.
    pub now: Timestamp,
    /// The request, for logs and problems.
    pub request: RequestId,
    entropy: Arc<dyn Entropy>,
}

impl Ctx {
    /// Circumstances of an act by `actor` at `now`, with a fresh request id and no origin.
    #[must_use]
    pub fn new(actor: Actor, now: Timestamp, entropy: Arc<dyn Entropy>) -> Self {
        let request = RequestId::generate(now, entropy.as_ref());
        Self { actor, origin: Origin::default(), now, request, entropy }
    }

    /// The same circumstances with an origin.
    #[must_use]
    pub fn from_origin(mut self, origin: Origin) -> Self {
        self.origin = origin;
        self
    }

    /// The same circumstances, acted by another.
    #[must_use]
    pub fn acted_by(&self, actor: Actor) -> Self {
        Self { actor, ..self.clone() }
    }

    /// The source of randomness.
    #[must_use]
    pub fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// `N` random bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}
