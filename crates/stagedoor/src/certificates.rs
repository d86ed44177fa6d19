//! The certificate files: what the door shows, renewed while it runs, and what it shows to and asks
//! of upstreams.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use edge::{Certificates, UpstreamTls};
use kernel::Secret;
use serde::{Deserialize, Serialize};

use crate::config::{CertificateConfig, Config, UpstreamTlsConfig};
use crate::handed::Handed;

/// A chain and its key as they stand in their files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Text {
    chain: String,
    key: Handed,
}

/// One chain with its key, and the section that names both.
#[derive(Clone, Debug)]
struct Pair {
    section: String,
    chain: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn read(&self) -> anyhow::Result<Text> {
        let chain = read(&self.chain, &format!("{}: cert_file", self.section))?;
        let key = Handed(Secret::new(read(&self.key, &format!("{}: key_file", self.section))?));
        Ok(Text { chain, key })
    }
}

/// Certificates in force, and the files that they come from.
#[derive(Debug)]
pub(crate) struct Shown {
    pub certificates: Certificates,
    pairs: Vec<Pair>,
    /// The files as they were read last. A renewed certificate is another chain, so keys are read
    /// only then.
    texts: Vec<Text>,
}

impl Shown {
    /// Of `[tls]`; `made` is the self-signed pair that stands in where none is configured.
    pub(crate) fn load(
        config: &Config,
        base: &Path,
        made: (PathBuf, PathBuf),
    ) -> anyhow::Result<Self> {
        let tls = &config.tls;
        let first = match (&tls.cert_file, &tls.key_file) {
            (Some(chain), Some(key)) => ("[tls]", base.join(chain), base.join(key)),
            (None | Some(_), _) => ("[tls]", made.0, made.1),
        };
        let more = tls.more.iter().map(|CertificateConfig { cert_file, key_file }| {
            ("[[tls.more]]", base.join(cert_file), base.join(key_file))
        });
        let pairs: Vec<Pair> = std::iter::once(first)
            .chain(more)
            .map(|(section, chain, key)| Pair { section: section.to_owned(), chain, key })
            .collect();
        let mut texts = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            let text = pair.read()?;
            // Each alone first: a mistake is told with its file.
            open(std::slice::from_ref(&text)).with_context(|| {
                format!("{}: {} and {}", pair.section, pair.chain.display(), pair.key.display())
            })?;
            texts.push(text);
        }
        Ok(Self { certificates: open(&texts)?, pairs, texts })
    }

    /// The chains and keys in force, for a door in another process.
    pub(crate) fn texts(&self) -> &[Text] {
        &self.texts
    }

    /// Puts the files' certificates in force where a chain has changed; whether one had.
    ///
    /// # Errors
    /// Where a file cannot be read or used; then the old ones stay, and the next look tries again.
    pub(crate) fn renew(&mut self) -> anyhow::Result<bool> {
        let mut chains = Vec::with_capacity(self.pairs.len());
        for pair in &self.pairs {
            chains.push(read(&pair.chain, &format!("{}: cert_file", pair.section))?);
        }
        if self.texts.iter().map(|text| &text.chain).eq(&chains) {
            return Ok(false);
        }
        let texts = self.pairs.iter().map(Pair::read).collect::<anyhow::Result<Vec<_>>>()?;
        replace(&self.certificates, &texts)?;
        self.texts = texts;
        Ok(true)
    }
}

/// The certificates of these texts.
pub(crate) fn open(texts: &[Text]) -> anyhow::Result<Certificates> {
    Ok(Certificates::from_pem(&as_slices(texts))?)
}

/// Puts those of these texts in force instead.
pub(crate) fn replace(certificates: &Certificates, texts: &[Text]) -> anyhow::Result<()> {
    Ok(certificates.replace(&as_slices(texts))?)
}

/// Whether the files that a configuration names can be used.
pub(crate) fn check(config: &Config, base: &Path) -> anyhow::Result<()> {
    if config.tls.cert_file.is_some() {
        Shown::load(config, base, (PathBuf::new(), PathBuf::new()))?;
    }
    upstream_tls(&upstream_texts(config, base)?).map(drop)
}

fn as_slices(texts: &[Text]) -> Vec<(&[u8], &[u8])> {
    texts.iter().map(|text| (text.chain.as_bytes(), text.key.expose().as_bytes())).collect()
}

/// The files of one `[[upstream_tls]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UpstreamText {
    authorities: Option<String>,
    chain: Option<String>,
    key: Option<Handed>,
}

/// The files of all `[[upstream_tls]]`, by id.
pub(crate) fn upstream_texts(
    config: &Config,
    base: &Path,
) -> anyhow::Result<BTreeMap<String, UpstreamText>> {
    let text = |settings: &UpstreamTlsConfig| Ok((settings.id.clone(), text(base, settings)?));
    config.upstream_tls.iter().map(text).collect()
}

fn text(base: &Path, settings: &UpstreamTlsConfig) -> anyhow::Result<UpstreamText> {
    let section = section(&settings.id);
    let file = |file: &Option<PathBuf>, key: &str| {
        let file = file.as_ref().map(|file| read(&base.join(file), &format!("{section}: {key}")));
        file.transpose()
    };
    Ok(UpstreamText {
        authorities: file(&settings.ca_file, "ca_file")?,
        chain: file(&settings.cert_file, "cert_file")?,
        key: file(&settings.key_file, "key_file")?.map(|key| Handed(Secret::new(key))),
    })
}

/// The TLS settings of `[[upstream_tls]]`, by id.
pub(crate) fn upstream_tls(
    texts: &BTreeMap<String, UpstreamText>,
) -> anyhow::Result<HashMap<String, UpstreamTls>> {
    let one = |(id, text): (&String, &UpstreamText)| {
        let identity = match (&text.chain, &text.key) {
            (Some(chain), Some(key)) => Some((chain.as_bytes(), key.expose().as_bytes())),
            (None | Some(_), _) => None,
        };
        let authorities = text.authorities.as_deref().map(str::as_bytes);
        let tls = UpstreamTls::new(authorities, identity).with_context(|| section(id))?;
        Ok((id.clone(), tls))
    };
    texts.iter().map(one).collect()
}

fn section(id: &str) -> String {
    format!("[[upstream_tls]] \"{id}\"")
}

fn read(file: &Path, key: &str) -> anyhow::Result<String> {
    let named = || format!("{key}: {} cannot be read: name a file that can", file.display());
    std::fs::read_to_string(file).with_context(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, host: &str) {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), made.cert.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    fn load(dir: &Path, text: &str) -> anyhow::Result<Shown> {
        let nowhere = (PathBuf::from("none.crt"), PathBuf::from("none.key"));
        Shown::load(&toml::from_str(text).unwrap(), dir, nowhere)
    }

    const TWO: &str = r#"
        [tls]
        cert_file = "a.crt"
        key_file = "a.key"
        [[tls.more]]
        cert_file = "b.crt"
        key_file = "b.key"
    "#;

    #[test]
    fn a_renewed_file_is_put_in_force_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", "a.example");
        write(dir.path(), "b", "b.example");
        let mut shown = load(dir.path(), TWO).unwrap();
        assert!(!shown.renew().unwrap());
        write(dir.path(), "b", "b.example");
        assert!(shown.renew().unwrap());
        assert!(!shown.renew().unwrap());
        // Half of a renewal: the chain is there, its key is not.
        let key = std::fs::read(dir.path().join("a.key")).unwrap();
        write(dir.path(), "a", "a.example");
        let new = std::fs::read(dir.path().join("a.key")).unwrap();
        std::fs::write(dir.path().join("a.key"), key).unwrap();
        assert!(shown.renew().is_err());
        std::fs::write(dir.path().join("a.key"), new).unwrap();
        assert!(shown.renew().unwrap(), "the next look finds it whole");
    }

    #[test]
    fn a_mistake_is_told_with_file_and_key() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a", "a.example");
        let error = load(dir.path(), TWO).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("[[tls.more]]: cert_file") && text.contains("b.crt"), "{text}");
        let strange = TWO.replace("b.crt", "a.crt").replace("b.key", "c.key");
        write(dir.path(), "c", "c.example");
        let error = load(dir.path(), &strange).unwrap_err();
        assert!(format!("{error:#}").contains("c.key"), "{error:#}");
        let upstream = "[[upstream_tls]]\nid = \"inside\"\nca_file = \"a.key\"\n";
        let opened =
            |text: &str| upstream_tls(&upstream_texts(&toml::from_str(text).unwrap(), dir.path())?);
        let error = opened(upstream).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("[[upstream_tls]] \"inside\""), "{text}");
        let right = "[[upstream_tls]]\nid = \"inside\"\nca_file = \"a.crt\"\n";
        assert_eq!(opened(right).unwrap().len(), 1);
    }
}
