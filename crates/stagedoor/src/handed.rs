//! A secret that is handed from one process to another. A `Secret` cannot be written anywhere; this
//! one can, into the socket between the supervisor and a process of its own, and nowhere else.

use kernel::Secret;
use serde::{Deserialize, Serialize, Serializer};

/// The secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Handed(pub Secret<String>);

impl Handed {
    /// The secret's text.
    pub(crate) const fn expose(&self) -> &String {
        self.0.expose()
    }
}

impl Serialize for Handed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}
