//! The keyholder, as the vault sees it: whoever has root, epoch and tenant keys, and makes, opens
//! and re-wraps the keys below them when asked. In this process ([`Keyholder`]), or in one of its
//! own behind a socket ([`Remote`]); both answer the same questions.

mod ask;
mod budget;
mod here;
mod remote;
mod serve;
mod tally;
mod wire;

use std::fmt;
use std::sync::Arc;

use kernel::TenantId;
use spine::BoxFuture;

pub(crate) use ask::{
    Answer, Ask, Bytes, EpochKey, Facts, KeyName, Named, NamedFile, Said, Under, Wrapped,
};
pub use budget::Opens;
pub use here::Keyholder;
pub(crate) use remote::Remote;
pub use serve::{Caller, Door, serve};
pub use tally::Minute;

use crate::aead::KeyBytes;
use crate::error::Error;

/// The most keys that one question is about.
pub const BATCH_MAX: usize = 512;
/// The most epochs that one question names: two while a rotation runs.
pub(crate) const EPOCHS_MAX: usize = 64;

/// Answers questions about keys.
pub(crate) trait Holder: Send + Sync + fmt::Debug {
    /// Answers one.
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Error>>;

    /// How it stands.
    fn facts(&self) -> BoxFuture<'_, Result<Facts, Error>> {
        Box::pin(async move {
            match self.answer(Ask::Facts).await?.said {
                Said::Facts(facts) => Ok(facts),
                _ => Err(unfit()),
            }
        })
    }
}

/// The keyholder, and the tenant that is asked about.
#[derive(Clone, Debug)]
pub(crate) struct TenantKeys {
    holder: Arc<dyn Holder>,
    tenant: TenantId,
    name: [u8; 16],
}

impl TenantKeys {
    pub(crate) async fn new(holder: Arc<dyn Holder>, tenant: TenantId) -> Result<Self, Error> {
        let name = holder.facts().await?.name;
        Ok(Self { holder, tenant, name })
    }

    /// The vault's name.
    pub(crate) const fn name(&self) -> [u8; 16] {
        self.name
    }

    pub(crate) async fn facts(&self) -> Result<Facts, Error> {
        self.holder.facts().await
    }

    /// The epochs whose files stand, in order.
    pub(crate) async fn epochs(&self) -> Result<Vec<i64>, Error> {
        Ok(self.facts().await?.epochs)
    }

    /// Writes a new epoch's key; one that stands is kept.
    pub(crate) async fn add_epoch(&self, epoch: i64) -> Result<(), Error> {
        self.done(Ask::AddEpoch { epoch }).await
    }

    /// First half of destroying an epoch.
    pub(crate) async fn overwrite_epoch(&self, epoch: i64) -> Result<(), Error> {
        self.done(Ask::OverwriteEpoch { epoch }).await
    }

    /// Second half.
    pub(crate) async fn remove_epoch(&self, epoch: i64) -> Result<(), Error> {
        self.done(Ask::RemoveEpoch { epoch }).await
    }

    /// A fresh key of the tenant, wrapped under an epoch.
    pub(crate) async fn make_tenant(&self, epoch: i64) -> Result<Vec<u8>, Error> {
        let ask = Ask::MakeTenant { tenant: self.tenant, epoch };
        let (wrapped, _) = self.made(ask, 1).await?;
        wrapped.into_iter().next().ok_or_else(unfit)
    }

    /// A fresh key of this name under an epoch: wrapped, and itself.
    pub(crate) async fn make(
        &self,
        epoch: EpochKey,
        name: KeyName,
    ) -> Result<(Vec<u8>, KeyBytes), Error> {
        let under = Under { tenant: self.tenant, epochs: vec![epoch] };
        let (wrapped, keys) = self.made(Ask::Make { under, names: vec![name] }, 1).await?;
        wrapped.into_iter().zip(keys).next().ok_or_else(unfit)
    }

    /// The keys themselves, in order; as many questions as that takes. All these epochs must open,
    /// also where no key is asked for.
    pub(crate) async fn open(
        &self,
        epochs: Vec<EpochKey>,
        mut keys: Vec<Wrapped>,
    ) -> Result<Vec<KeyBytes>, Error> {
        let mut opened = Vec::with_capacity(keys.len());
        loop {
            let rest = keys.split_off(keys.len().min(BATCH_MAX));
            let wanted = keys.len();
            let under = Under { tenant: self.tenant, epochs: epochs.clone() };
            let answer = self.holder.answer(Ask::Open { under, keys }).await?;
            if answer.keys.len() != wanted {
                return Err(unfit());
            }
            opened.extend(answer.keys);
            if rest.is_empty() {
                return Ok(opened);
            }
            keys = rest;
        }
    }

    /// The same keys wrapped under another epoch, in order.
    pub(crate) async fn rewrap(
        &self,
        epochs: [EpochKey; 2],
        mut keys: Vec<Wrapped>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let [_, EpochKey { number: to, .. }] = epochs;
        let mut all = Vec::with_capacity(keys.len());
        while !keys.is_empty() {
            let rest = keys.split_off(keys.len().min(BATCH_MAX));
            let wanted = keys.len();
            let under = Under { tenant: self.tenant, epochs: epochs.to_vec() };
            all.extend(self.made(Ask::Rewrap { under, to, keys }, wanted).await?.0);
            keys = rest;
        }
        Ok(all)
    }

    /// What was opened in each minute after this one, as far as it is remembered.
    pub(crate) async fn minutes(&self, after: i64) -> Result<Vec<Minute>, Error> {
        match self.holder.answer(Ask::Minutes { after }).await?.said {
            Said::Minutes(minutes) => Ok(minutes),
            _ => Err(unfit()),
        }
    }

    /// Its files, for a backup of keys.
    pub(crate) async fn files(&self) -> Result<Vec<NamedFile>, Error> {
        match self.holder.answer(Ask::Files).await?.said {
            Said::Files(files) => Ok(files),
            _ => Err(unfit()),
        }
    }

    async fn done(&self, ask: Ask) -> Result<(), Error> {
        match self.holder.answer(ask).await?.said {
            Said::Done => Ok(()),
            _ => Err(unfit()),
        }
    }

    async fn made(&self, ask: Ask, wanted: usize) -> Result<(Vec<Vec<u8>>, Vec<KeyBytes>), Error> {
        let answer = self.holder.answer(ask).await?;
        match answer.said {
            Said::Wrapped(wrapped) if wrapped.len() == wanted => {
                Ok((wrapped.into_iter().map(|bytes| bytes.0).collect(), answer.keys))
            }
            _ => Err(unfit()),
        }
    }
}

/// An answer to another question: a keyholder of another program.
fn unfit() -> Error {
    Error::Keyholder { detail: "its answer does not fit the question".to_owned() }
}
