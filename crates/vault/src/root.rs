//! The root key: it wraps the epoch keys and nothing else, and never enters a database. A file
//! sealed by a passphrase (argon2id, then AES-256-GCM), or a bare file of mode 0600 for a demo.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kernel::{Entropy, Secret};
use serde::{Deserialize, Serialize};
use spine::BoxFuture;

use crate::aead::{Cipher, KEY_LEN, KeyBytes, fresh_key, take_key};
use crate::error::Error;
use crate::files::{make_private_folder, read_private, write_private};
use crate::frame::frame;
use crate::sealed::{unwrap, wrap};

/// Fewest characters of a passphrase.
pub const PASSPHRASE_LEAST: usize = 12;

/// A root key, wherever it lives: a file here, a systemd credential, a PKCS#11 token or a KMS by
/// another implementation. Asked at start and at epoch rotation only, never by a request.
pub trait RootKey: Send + Sync + fmt::Debug {
    /// The word for this kind of root (`passphrase`, `key file` ...), for `doctor`.
    fn kind(&self) -> &'static str;

    /// Wraps a key; `context` is bound to it.
    ///
    /// # Errors
    /// [`Error`] where the root does not answer.
    fn wrap<'a>(
        &'a self,
        context: &'a [u8],
        key: &'a Secret<[u8; 32]>,
        entropy: &'a dyn Entropy,
    ) -> BoxFuture<'a, Result<Vec<u8>, Error>>;

    /// Unwraps what [`RootKey::wrap`] made with the same context.
    ///
    /// # Errors
    /// [`Error::RootRefused`] where it is not this root's, or was altered.
    fn unwrap<'a>(
        &'a self,
        context: &'a [u8],
        wrapped: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret<[u8; 32]>, Error>>;
}

/// Where the root key comes from.
#[derive(Clone, Debug)]
pub enum Root {
    /// A file sealed by a passphrase of at least [`PASSPHRASE_LEAST`] characters.
    Passphrase {
        /// The file, beside the keyholder folder.
        file: PathBuf,
        /// The passphrase.
        passphrase: Secret<String>,
    },
    /// A bare key in a file of mode 0600: for demos and development.
    KeyFile {
        /// The file.
        file: PathBuf,
    },
    /// Another implementation.
    Other(Arc<dyn RootKey>),
}

impl Root {
    /// The file that holds it; none where it lives elsewhere.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Passphrase { file, .. } | Self::KeyFile { file } => Some(file),
            Self::Other(_) => None,
        }
    }

    /// Whether the file is the key itself.
    pub(crate) const fn is_bare(&self) -> bool {
        matches!(self, Self::KeyFile { .. })
    }

    /// The key itself, for the recovery code that is to wrap it too.
    pub(crate) fn read_key(&self) -> Result<KeyBytes, Error> {
        match self {
            Self::Passphrase { file, passphrase } => SealedRoot::read(file)?.open(file, passphrase),
            Self::KeyFile { file } => read_key_file(file),
            Self::Other(_) => Err(Error::Missing { what: "a root key in a file" }),
        }
    }

    /// The root key as its file holds it.
    pub(crate) fn file_text(
        &self,
        key: &KeyBytes,
        entropy: &dyn Entropy,
    ) -> Result<Secret<String>, Error> {
        match self {
            Self::Passphrase { passphrase, .. } => {
                if passphrase.expose().chars().count() < PASSPHRASE_LEAST {
                    return Err(Error::WeakPassphrase { least: PASSPHRASE_LEAST });
                }
                Ok(Secret::new(SealedRoot::seal(key, passphrase, entropy)?.to_text()?))
            }
            Self::KeyFile { .. } => {
                let mut text = String::from(KEY_FILE_HEAD);
                BASE64.encode_string(key.expose(), &mut text);
                Ok(Secret::new(text))
            }
            Self::Other(_) => Err(Error::Missing { what: "a root key in a file" }),
        }
    }

    /// Opens the root key. Takes some 100 ms of a core for a passphrase: run it where blocking is
    /// allowed.
    pub(crate) fn open(&self) -> Result<Arc<dyn RootKey>, Error> {
        match self {
            Self::Passphrase { file, passphrase } => {
                let sealed = SealedRoot::read(file)?;
                let key = sealed.open(file, passphrase)?;
                Ok(Arc::new(LocalRoot::new("passphrase", &key)?))
            }
            Self::KeyFile { file } => {
                Ok(Arc::new(LocalRoot::new("key file", &read_key_file(file)?)?))
            }
            Self::Other(root) => Ok(Arc::clone(root)),
        }
    }

    /// Makes the root key's file where there is none. A file that stands is left as it is.
    pub(crate) fn make(&self, entropy: &dyn Entropy) -> Result<(), Error> {
        let Some(file) = self.file() else { return Ok(()) };
        if let Self::Passphrase { passphrase, .. } = self
            && passphrase.expose().chars().count() < PASSPHRASE_LEAST
        {
            return Err(Error::WeakPassphrase { least: PASSPHRASE_LEAST });
        }
        if file.exists() {
            return Ok(());
        }
        make_parent(file)?;
        let text = self.file_text(&fresh_key(entropy), entropy)?;
        write_private(file, text.expose().as_bytes())
    }
}

/// Makes the folder that a root file is to stand in. One that stands is the operator's: the file
/// itself is private wherever it is.
fn make_parent(file: &Path) -> Result<(), Error> {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            make_private_folder(parent)
        }
        Some(_) | None => Ok(()),
    }
}

/// What a bare key file begins with.
const KEY_FILE_HEAD: &str = "stagedoor-root-key-1:";

fn read_key_file(file: &Path) -> Result<KeyBytes, Error> {
    let malformed = |what| Error::Malformed { path: file.to_owned(), what };
    let text = Secret::new(read_private(file)?);
    let text = std::str::from_utf8(text.expose()).map_err(|_| malformed("not text"))?;
    let key = text.trim_end().strip_prefix(KEY_FILE_HEAD).ok_or_else(|| malformed("its head"))?;
    let key = BASE64.decode(key).map(Secret::new).map_err(|_| malformed("not base64"))?;
    take_key(key.expose()).ok_or_else(|| malformed("its length"))
}

/// A root key in this process's memory.
struct LocalRoot {
    kind: &'static str,
    cipher: Cipher,
}

impl LocalRoot {
    fn new(kind: &'static str, key: &KeyBytes) -> Result<Self, Error> {
        Ok(Self { kind, cipher: Cipher::new(key)? })
    }
}

impl fmt::Debug for LocalRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRoot").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl RootKey for LocalRoot {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn wrap<'a>(
        &'a self,
        context: &'a [u8],
        key: &'a Secret<[u8; 32]>,
        entropy: &'a dyn Entropy,
    ) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move { wrap(&self.cipher, context, key, entropy) })
    }

    fn unwrap<'a>(
        &'a self,
        context: &'a [u8],
        wrapped: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret<[u8; 32]>, Error>> {
        Box::pin(async move {
            unwrap(&self.cipher, context, wrapped).map_err(|error| match error {
                Error::Forged => Error::RootRefused,
                other => other,
            })
        })
    }
}

/// What a guess at a passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl Cost {
    /// argon2id (RFC 9106): 64 MiB, 3 passes, 1 lane, the second recommended choice.
    pub(crate) const USUAL: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// Bounds on what a file may ask of us: a forged file must not take the host's memory.
    const MOST: Self = Self { memory_kib: 1024 * 1024, passes: 32, lanes: 16 };

    /// Whether it asks for more than is allowed.
    pub(crate) const fn is_too_much(self) -> bool {
        self.memory_kib > Self::MOST.memory_kib
            || self.passes > Self::MOST.passes
            || self.lanes > Self::MOST.lanes
    }

    /// The key that a passphrase gives.
    pub(crate) fn stretch(self, salt: &[u8], passphrase: &Secret<String>) -> Result<Cipher, Error> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_LEN))
            .map_err(|_| Error::Primitive("argon2id parameters"))?;
        let mut bytes = [0; KEY_LEN];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose().as_bytes(), salt, &mut bytes)
            .map_err(|_| Error::Primitive("argon2id"))?;
        let key = Secret::new(bytes);
        zeroize::Zeroize::zeroize(&mut bytes);
        Cipher::new(&key)
    }
}

/// The file of a root key that is sealed by a passphrase.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealedRoot {
    stagedoor_root: u32,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    sealed: String,
}

impl SealedRoot {
    pub(crate) fn seal(
        key: &KeyBytes,
        passphrase: &Secret<String>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let mut root = Self {
            stagedoor_root: 1,
            kdf: "argon2id".to_owned(),
            memory_kib: Cost::USUAL.memory_kib,
            passes: Cost::USUAL.passes,
            lanes: Cost::USUAL.lanes,
            salt: BASE64.encode(salt),
            sealed: String::new(),
        };
        let cipher = root.cipher(&salt, passphrase)?;
        root.sealed = BASE64.encode(wrap(&cipher, &root.context(&salt), key, entropy)?);
        Ok(root)
    }

    pub(crate) fn read(file: &Path) -> Result<Self, Error> {
        let malformed = |what| Error::Malformed { path: file.to_owned(), what };
        let root: Self =
            serde_json::from_slice(&read_private(file)?).map_err(|_| malformed("its fields"))?;
        if root.stagedoor_root != 1 || root.kdf != "argon2id" {
            return Err(malformed("its version"));
        }
        let Self { memory_kib, passes, lanes, .. } = root;
        if (Cost { memory_kib, passes, lanes }).is_too_much() {
            return Err(malformed("it asks for more memory or time than is allowed"));
        }
        Ok(root)
    }

    pub(crate) fn open(&self, file: &Path, passphrase: &Secret<String>) -> Result<KeyBytes, Error> {
        let malformed = |what| Error::Malformed { path: file.to_owned(), what };
        let salt = BASE64.decode(&self.salt).map_err(|_| malformed("its salt"))?;
        let sealed = BASE64.decode(&self.sealed).map_err(|_| malformed("its sealed key"))?;
        let cipher = self.cipher(&salt, passphrase)?;
        unwrap(&cipher, &self.context(&salt), &sealed).map_err(|_| Error::RootRefused)
    }

    /// The passphrase's key. The cost stands in the file, so that it can grow with the years.
    fn cipher(&self, salt: &[u8], passphrase: &Secret<String>) -> Result<Cipher, Error> {
        let Self { memory_kib, passes, lanes, .. } = *self;
        Cost { memory_kib, passes, lanes }.stretch(salt, passphrase)
    }

    /// The parameters are bound to the key, so that nobody lowers them unseen.
    fn context(&self, salt: &[u8]) -> Vec<u8> {
        frame(&[
            b"stagedoor root key",
            self.kdf.as_bytes(),
            &self.memory_kib.to_be_bytes(),
            &self.passes.to_be_bytes(),
            &self.lanes.to_be_bytes(),
            salt,
        ])
    }

    pub(crate) fn to_text(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(|_| Error::Primitive("root file as text"))
    }
}
