//! `audit`: verify, prove, export, reopen, checkpoint.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use merkle::export::{ExportDir, ExportRules, verify_export};
use merkle::note::Note;
use merkle::{Checkpoint, Policy, SignedCheckpoint, TlogProof, Verified, VerifyKey, key_change};

use crate::cli::{AuditCommand, Verify};
use crate::command::act;
use crate::house::House;
use crate::out;

/// The file beside an export by which old keys of the log vouch for new ones, and what stands between
/// its notes.
const KEY_CHANGES: &str = "key-changes";
const BETWEEN: &str = "\n\n\n";

/// Runs an `audit` command. Exit code 2 where something was found to be wrong.
pub(crate) async fn run(file: &Path, command: AuditCommand) -> anyhow::Result<ExitCode> {
    if let AuditCommand::Verify(verify) = &command
        && !verify.key.is_empty()
    {
        return offline(verify);
    }
    let house = House::open(act(file)?).await?;
    match command {
        AuditCommand::Verify(verify) => return live(&house, &verify).await,
        AuditCommand::Prove { event, dir } => prove(&house, &event, &dir).await?,
        AuditCommand::Export { dir } => {
            let size = house
                .spine
                .export(&dir, &mut |done| out::progress(format!("{done} leaves")))
                .await?;
            out::progress_done();
            let key = house.spine.verifier_key().await?;
            let changes = house.spine.key_changes().await?;
            if !changes.is_empty() {
                let notes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                std::fs::write(dir.join(KEY_CHANGES), notes.join(BETWEEN))?;
            }
            out::json(&serde_json::json!({ "leaves": size, "key": key.to_string() }));
            out::say(format!("{size} leaves are in {}.", dir.display()));
            out::say(format!(
                "Check: stagedoor audit verify --export {} --key '{key}'",
                dir.display()
            ));
        }
        AuditCommand::Reopen { reason } => {
            anyhow::ensure!(
                house.node.take()?,
                "a program serves here: stop it first, or it refuses the log under its new name"
            );
            let origin = house.spine.reopen(reason).await?;
            out::json(&serde_json::json!({ "origin": origin }));
            out::say(format!("The log goes on as {origin}; its next leaf names the old one."));
        }
        AuditCommand::Checkpoint => {
            let checkpoint = house.spine.checkpoint().await?.context("the log is empty")?;
            let key = house.spine.verifier_key().await?;
            out::json(&serde_json::json!({
                "checkpoint": checkpoint.to_string(), "key": key.to_string(),
            }));
            out::say(checkpoint.to_string());
            out::progress(format!("key: {key}"));
        }
    }
    house.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn live(house: &House, verify: &Verify) -> anyhow::Result<ExitCode> {
    let mut known: Vec<Checkpoint> = Vec::new();
    let policy = live_policy(house, verify).await?;
    // What a quorum cosigned stands outside: this installation alone cannot have signed it.
    let shown = house.spine.published().await?;
    let shown = shown.as_ref().filter(|_| policy.quorum() > 0);
    let cosigned = shown.and_then(|shown| policy.verify(shown).ok());
    known.extend(cosigned.iter().map(|verified| verified.checkpoint.clone()));
    // What was kept outside needs no witness, unless one is asked for.
    let kept = if verify.witness.is_empty() {
        Policy::new(house.spine.verifier_keys().await?)?
    } else {
        policy.clone()
    };
    for file in &verify.checkpoint {
        let bytes = std::fs::read(file)
            .with_context(|| format!("the checkpoint {} cannot be read", file.display()))?;
        known.push(kept.verify(&SignedCheckpoint::parse(&bytes)?)?.checkpoint);
    }
    let found = house
        .spine
        .verify(&known, &mut |done| out::progress(format!("{done} leaves checked")))
        .await?;
    out::progress_done();
    let faults: Vec<String> =
        found.faults.iter().map(|fault| format!("{}: {}", fault.place, fault.what)).collect();
    out::json(&serde_json::json!({
        "holds": found.holds(), "leaves": found.size, "root": found.root, "rows": found.rows,
        "covered_by_outside_checkpoint": found.covered, "pending": found.pending,
        "erased": found.erased, "faults": faults,
        "cosigned": cosigned.as_ref().map(|it| it.checkpoint.size()),
        "witnesses": cosigned.as_ref().map(|it| names(&it.witnesses)),
    }));
    out::say(format!(
        "{} leaves, root {}; {} rows are as they were told; {} sealed parts are of erased persons.",
        found.size, found.root, found.rows, found.erased
    ));
    let open = found.size.saturating_sub(found.covered);
    out::say(format!(
        "Leaves under an outside checkpoint: {}; the last {open} are this installation's word \
         only; {} events wait for their leaf.",
        found.covered, found.pending
    ));
    for fault in &faults {
        out::say(format!("WRONG: {fault}"));
    }
    house.spine.close().await;
    let asked = !verify.witness.is_empty() || verify.quorum.is_some();
    let enough = !asked || policy.quorum() == 0 || cosigned.is_some();
    match &cosigned {
        Some(it) => out::say(format!(
            "Leaf {} and all before are cosigned by {}.",
            it.checkpoint.size().saturating_sub(1),
            names(&it.witnesses).join(", ")
        )),
        None if policy.quorum() == 0 => {}
        None => out::say(format!(
            "{}: no checkpoint has the signatures of {} witnesses.",
            if asked { "WRONG" } else { "Not yet" },
            policy.quorum()
        )),
    }
    if !found.holds() || !enough {
        return Ok(ExitCode::from(2));
    }
    out::say("The log holds.");
    Ok(ExitCode::SUCCESS)
}

/// Whom to believe about the live log: the witnesses that were named, else those of the file. A
/// quorum is only asked for where somebody asks.
async fn live_policy(house: &House, verify: &Verify) -> anyhow::Result<Policy> {
    let keys = house.spine.verifier_keys().await?;
    if !verify.witness.is_empty() {
        return policy_of(keys, verify);
    }
    let witnesses = house.config.witness_keys()?;
    let quorum = verify.quorum.unwrap_or_else(|| house.config.witness_quorum());
    Ok(Policy::new(keys)?.with_witnesses(witnesses, quorum)?)
}

/// The keys that follow from trusted ones by the changes that lie beside an export.
fn follow(trusted: Vec<VerifyKey>, file: &Path) -> anyhow::Result<Vec<VerifyKey>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(trusted),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", file.display()));
        }
    };
    let notes = text.split(BETWEEN).map(|note| Note::parse(note.as_bytes()));
    let notes = notes.collect::<Result<Vec<_>, _>>();
    let notes = notes.with_context(|| format!("{} is damaged", file.display()))?;
    Ok(key_change::follow(trusted, &notes))
}

/// The policy that the command line asks for.
fn policy_of(log: Vec<VerifyKey>, verify: &Verify) -> anyhow::Result<Policy> {
    let keys = verify.witness.iter();
    let keys = keys.map(|key| VerifyKey::parse(key).context("--witness is no witness's key"));
    let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    let quorum = verify.quorum.unwrap_or(keys.len());
    Ok(Policy::new(log)?.with_witnesses(keys, quorum)?)
}

fn names(witnesses: &[(String, u64)]) -> Vec<&str> {
    witnesses.iter().map(|(name, _)| name.as_str()).collect()
}

async fn prove(house: &House, event: &str, dir: &Path) -> anyhow::Result<()> {
    let proof = house.spine.prove(event.parse()?).await?;
    let key = house.spine.verifier_key().await?;
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let (entry, file) =
        (dir.join(format!("{event}.entry")), dir.join(format!("{event}.tlog-proof")));
    std::fs::write(&entry, &proof.entry)?;
    std::fs::write(&file, proof.proof.to_string())?;
    out::json(&serde_json::json!({
        "entry": entry, "proof": file, "key": key.to_string(), "index": proof.proof.index,
    }));
    out::say(format!("Leaf {}: {} and {}", proof.proof.index, entry.display(), file.display()));
    out::say(format!(
        "Check: stagedoor audit verify --proof {} --entry {} --key '{key}'",
        file.display(),
        entry.display()
    ));
    Ok(())
}

/// Checks what was given out before, with nothing but the key.
fn offline(verify: &Verify) -> anyhow::Result<ExitCode> {
    let keys = verify.key.iter();
    let keys = keys.map(|key| VerifyKey::parse(key).context("--key is no verifier key of a log"));
    let mut keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(dir) = &verify.export {
        keys = follow(keys, &dir.join(KEY_CHANGES))?;
    }
    let policy = policy_of(keys, verify)?;
    let outcome = match (&verify.proof, &verify.entry, &verify.export) {
        (Some(proof), Some(entry), _) => check_proof(proof, entry, &policy)?,
        (_, _, Some(dir)) => check_export(dir, verify, &policy)?,
        _ => anyhow::bail!("--key needs --proof and --entry, or --export"),
    };
    match outcome {
        Ok(words) => {
            out::json(&serde_json::json!({ "holds": true, "words": words }));
            out::say(words);
            Ok(ExitCode::SUCCESS)
        }
        Err(words) => {
            out::json(&serde_json::json!({ "holds": false, "words": words }));
            out::say(format!("WRONG: {words}"));
            Ok(ExitCode::from(2))
        }
    }
}

type Outcome = Result<String, String>;

fn check_proof(proof: &Path, entry: &Path, policy: &Policy) -> anyhow::Result<Outcome> {
    let read = |file: &Path| {
        std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
    };
    let (proof, entry) = (read(proof)?, read(entry)?);
    let told = spine::Entry::from_bytes(&entry);
    let checked = TlogProof::parse(&proof).and_then(|proof| {
        let verified = proof.verify(&entry, policy)?;
        Ok((proof.index, verified))
    });
    Ok(match checked {
        Ok((index, verified)) => {
            let what = told.map_or_else(
                || "an entry of an unknown form".to_owned(),
                |told| format!("{} at {}", told.kind, kernel::Timestamp::from_micros(told.at)),
            );
            let size = verified.checkpoint.size();
            Ok(format!("It holds: leaf {index} of {size} is {what}.{}", by(&verified)))
        }
        Err(error) => Err(error.to_string()),
    })
}

/// Which witnesses cosigned, in words.
fn by(verified: &Verified) -> String {
    if verified.witnesses.is_empty() {
        return String::new();
    }
    format!(" Cosigned by {}.", names(&verified.witnesses).join(", "))
}

struct Folder<'a>(&'a Path);

impl ExportDir for Folder<'_> {
    fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        use std::io::Read as _;
        let file = match std::fs::File::open(self.0.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() > max_bytes {
            return Err(format!("longer than {max_bytes} bytes"));
        }
        Ok(Some(bytes))
    }
}

fn check_export(dir: &Path, verify: &Verify, policy: &Policy) -> anyhow::Result<Outcome> {
    let mut rules = ExportRules::default();
    for file in &verify.checkpoint {
        let bytes = std::fs::read(file)
            .with_context(|| format!("the checkpoint {} cannot be read", file.display()))?;
        rules.known.push(policy.verify(&SignedCheckpoint::parse(&bytes)?)?.checkpoint);
    }
    let progress = &mut |done| out::progress(format!("{done} leaves checked"));
    let checked = verify_export(&Folder(dir), policy, &rules, progress);
    out::progress_done();
    Ok(match checked {
        Ok(report) => Ok(format!(
            "It holds: {} entries, root {}; grown out of {} known checkpoints.{}",
            report.entries,
            report.verified.checkpoint.root(),
            report.known,
            by(&report.verified)
        )),
        Err(fault) => Err(fault.to_string()),
    })
}
