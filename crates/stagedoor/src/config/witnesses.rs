//! `[audit]` and `[[witness]]`: which witnesses there are, and how many of them are enough.

use anyhow::Context as _;
use merkle::key::KeyKind;
use merkle::{MAX_WITNESSES, Policy, VerifyKey};

use super::Config;
use crate::house::House;

impl Config {
    /// The keys of the witnesses, in their order in the file.
    pub(crate) fn witness_keys(&self) -> anyhow::Result<Vec<VerifyKey>> {
        let keys = self.witness.iter();
        let keys = keys.map(|witness| VerifyKey::parse(&witness.key).context("[[witness]]: key"));
        keys.collect()
    }

    /// How many witnesses must have cosigned what is shown.
    pub(crate) fn witness_quorum(&self) -> usize {
        let majority = if self.witness.is_empty() { 0 } else { self.witness.len() / 2 + 1 };
        self.audit.witness_quorum.unwrap_or(majority)
    }

    /// Everything that is wrong: the key in the file, and the mend.
    pub(super) fn witness_problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut say = |key: String, detail: &str| problems.push((key, detail.to_owned()));
        if !(1..=86_400).contains(&self.audit.publish_every_s) {
            say("audit.publish_every_s".to_owned(), "must be 1 to 86400");
        }
        let (count, quorum) = (self.witness.len(), self.witness_quorum());
        if quorum > count || (count > 0 && quorum == 0) {
            let detail = format!("must be 1 to {count}, the number of [[witness]], is {quorum}");
            say("audit.witness_quorum".to_owned(), &detail);
        }
        if count > MAX_WITNESSES {
            say("witness".to_owned(), &format!("at most {MAX_WITNESSES}"));
        }
        let mut publics = Vec::new();
        for (witness, at) in self.witness.iter().zip(1..) {
            match VerifyKey::parse(&witness.key) {
                Err(error) => say(format!("[[witness]] {at}: key"), &error.to_string()),
                Ok(key) if key.kind() != KeyKind::Cosigner => say(
                    format!("[[witness]] {at}: key"),
                    "is a log's: `stagedoor witness list` shows a witness's, of type 4",
                ),
                Ok(key) if publics.contains(key.public()) => {
                    say(format!("[[witness]] {at}: key"), "stands twice: one key counts once");
                }
                Ok(key) => publics.push(*key.public()),
            }
            if let Some(detail) = url_problem(&witness.url) {
                say(format!("[[witness]] {at}: url"), detail);
            }
        }
        problems
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    let Ok(uri) = url.parse::<http::Uri>() else { return Some("is no address") };
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none() {
        return Some("must be https:// or http:// and a host, as in https://witness.example");
    }
    uri.query().is_some().then_some("has a query: the address of a witness has none")
}

impl House {
    /// When a checkpoint may be shown: the log signed it, and enough witnesses cosigned it.
    pub(crate) async fn witness_policy(&self) -> anyhow::Result<Policy> {
        let policy = Policy::new(vec![self.spine.verifier_key().await?])?;
        let (keys, quorum) = (self.config.witness_keys()?, self.config.witness_quorum());
        Ok(policy.with_witnesses(keys, quorum)?)
    }
}

#[cfg(test)]
mod tests {
    use merkle::key::SeedSigner;

    use super::*;
    use crate::config::parts::WitnessConfig;

    fn witness(n: u8) -> WitnessConfig {
        let key = SeedSigner::new("w.example", KeyKind::Cosigner, &[n; 32]).unwrap();
        let key = key.verifier().to_string();
        WitnessConfig { key, url: "https://w.example/a".to_owned(), ca_file: None }
    }

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config { witness: vec![witness(1), witness(2)], ..Config::default() };
        change(&mut config);
        config.witness_problems().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn wrong_witnesses_are_named() {
        assert!(problems(|_| {}).is_empty());
        assert!(problems(|config| config.witness.clear()).is_empty());
        assert_eq!(problems(|c| c.audit.publish_every_s = 0), ["audit.publish_every_s"]);
        for quorum in [0, 3] {
            let found = problems(|config| config.audit.witness_quorum = Some(quorum));
            assert_eq!(found, ["audit.witness_quorum"]);
        }
        let log = SeedSigner::new("l.example", KeyKind::Ed25519, &[9; 32]).unwrap();
        let log = log.verifier().to_string();
        for key in [log.as_str(), "nonsense", &witness(1).key] {
            let found = problems(|config| config.witness[1].key = key.to_owned());
            assert_eq!(found, ["[[witness]] 2: key"], "{key}");
        }
        for url in ["ftp://w.example", "w.example", "https://w.example/?x=1", ""] {
            let found = problems(|config| config.witness[0].url = url.to_owned());
            assert_eq!(found, ["[[witness]] 1: url"], "{url}");
        }
    }

    #[test]
    fn more_than_half_is_enough() {
        let quorum = |count: u8| {
            let witness = (0..count).map(witness).collect();
            Config { witness, ..Config::default() }.witness_quorum()
        };
        assert_eq!((0..6).map(quorum).collect::<Vec<_>>(), [0, 1, 2, 2, 3, 3]);
    }
}
