//! `audit`: verify, prove, export, reopen, checkpoint.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use merkle::export::{ExportDir, ExportRules, verify_export};
use merkle::{Checkpoint, Policy, SignedCheckpoint, TlogProof, VerifyKey};

use crate::cli::{AuditCommand, Verify};
use crate::config::load;
use crate::house::House;
use crate::out;

/// Runs an `audit` command. Exit code 2 where something was found to be wrong.
pub(crate) async fn run(file: &Path, command: AuditCommand) -> anyhow::Result<ExitCode> {
    if let AuditCommand::Verify(verify) = &command
        && let Some(key) = &verify.key
    {
        return offline(verify, key);
    }
    let house = House::open(load(file)?).await?;
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
    let policy = Policy::new(vec![house.spine.verifier_key().await?])?;
    for file in &verify.checkpoint {
        let bytes = std::fs::read(file)
            .with_context(|| format!("the checkpoint {} cannot be read", file.display()))?;
        let signed = SignedCheckpoint::parse(&bytes)?;
        known.push(policy.verify(&signed)?.checkpoint);
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
    if !found.holds() {
        return Ok(ExitCode::from(2));
    }
    out::say("The log holds.");
    Ok(ExitCode::SUCCESS)
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
fn offline(verify: &Verify, key: &str) -> anyhow::Result<ExitCode> {
    let key = VerifyKey::parse(key).context("--key is no verifier key of a log")?;
    let policy = Policy::new(vec![key])?;
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
        Ok((proof.index, verified.checkpoint.size()))
    });
    Ok(match checked {
        Ok((index, size)) => {
            let what = told.map_or_else(
                || "an entry of an unknown form".to_owned(),
                |told| format!("{} at {}", told.kind, kernel::Timestamp::from_micros(told.at)),
            );
            Ok(format!("It holds: leaf {index} of {size} is {what}."))
        }
        Err(error) => Err(error.to_string()),
    })
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
            "It holds: {} entries, root {}; grown out of {} known checkpoints.",
            report.entries,
            report.verified.checkpoint.root(),
            report.known
        )),
        Err(fault) => Err(fault.to_string()),
    })
}
