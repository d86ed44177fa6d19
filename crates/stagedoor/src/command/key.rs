//! `key`: lists and rotates the vault's keys.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use kernel::SystemEntropy;
use vault::Purpose;

use crate::cli::{KeyCommand, RecoveryCommand};
use crate::config::{load, load_for_keyholder, read_secret};
use crate::events::{EpochRotated, KeyRotated, RecoveryMade, RecoveryUsed};
use crate::house::House;
use crate::keep::apart::Apart;
use crate::out;

/// Runs a `key` command.
pub(crate) async fn run(house: &House, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::List => list(house)?,
        // Needs no house: it may be the one whose passphrase is lost.
        KeyCommand::Recovery(_) => {}
        KeyCommand::Rotate { purpose } if purpose == "epoch" => epoch(house).await?,
        KeyCommand::Rotate { purpose } => {
            let purpose = Purpose::named(&purpose).with_context(|| {
                format!("there is no key `{purpose}`: `stagedoor key list` names them, and `epoch`")
            })?;
            let rotated = house.vault.rotate(purpose).await?;
            let version = rotated.version;
            let name = purpose.name().to_owned();
            tell(house, KeyRotated { purpose: name, version }).await?;
            if purpose == Purpose::Checkpoint {
                house.tell_key_changes().await?;
                out::say(
                    "The log tells of it, and the old key vouches for the new one. Give the new \
                     one to witnesses and auditors; it signs from the next start of the program \
                     after its beginning.",
                );
            }
            out::json(&serde_json::to_value(&rotated)?);
            out::say(format!(
                "Version {} of the key is used from {} on; what older ones made still opens.",
                rotated.version, rotated.not_before
            ));
        }
    }
    house.close().await
}

/// Makes a recovery code, or uses it. Where the keyholder is a process of its own, this is run as root,
/// or with its configuration as its user.
pub(crate) async fn recover(file: &Path, command: RecoveryCommand) -> anyhow::Result<()> {
    let home = || load_for_keyholder(file)?.keyholder_home();
    match command {
        RecoveryCommand::Told { used } => return emit(file, used).await,
        RecoveryCommand::New => {
            let code = vault::make_code(&home()?, &SystemEntropy)?;
            out::say(format!("Recovery code: {}", code.expose()));
            out::say("It is shown once. Write it down, and keep it where the passphrase is not:");
            out::say(
                "who has it and a backup of the keys has all keys. An older code is worthless.",
            );
            out::json(&serde_json::json!({ "code": code.expose() }));
            tell_as_core(file, false).await;
        }
        RecoveryCommand::Use { code_file } => {
            vault::recover(&home()?, &read_secret(&code_file)?, &SystemEntropy)?;
            out::say("The root key opens by the passphrase that the configuration names now.");
            out::say("Make a new recovery code: `stagedoor key recovery new`.");
            out::json(&serde_json::json!({ "recovered": true }));
            tell_as_core(file, true).await;
        }
    }
    Ok(())
}

/// Tells the log, where this is the configuration of a house and not of a keyholder alone.
async fn tell_as_core(file: &Path, used: bool) {
    let telling = async {
        let Some(apart) = Apart::of(&load(file)?)? else { return emit(file, used).await };
        // Core's user writes into the house, and cannot do what was done above.
        let mut args: Vec<OsString> = vec!["--config".into(), file.into()];
        args.extend(["key", "recovery", "told"].map(OsString::from));
        args.extend(used.then(|| OsString::from("--used")));
        apart.act(args).await.map(|_| ())
    };
    if let Err(error) = telling.await {
        out::progress(format!("the log was not told: {error:#}"));
    }
}

/// Emits that a code was made, or used.
async fn emit(file: &Path, used: bool) -> anyhow::Result<()> {
    let house = House::open(super::act(file)?).await?;
    if used {
        tell(&house, RecoveryUsed {}).await?;
    } else {
        tell(&house, RecoveryMade {}).await?;
    }
    house.close().await
}

/// The change of a key is an event like any other.
async fn tell(house: &House, event: impl spine::Event) -> anyhow::Result<()> {
    let ctx = house.operator_ctx();
    house.vault.resolve(&[spine::Subject::House]).await?;
    let mut tx = house.spine.begin(&ctx).await?;
    tx.emit(spine::About::house("key", [0; 16], 0), event)?;
    tx.commit().await?;
    Ok(())
}

fn list(house: &House) -> anyhow::Result<()> {
    let keys = house.vault.list()?;
    out::json(&serde_json::to_value(&keys)?);
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            vec![
                key.purpose.name().to_owned(),
                key.version.to_string(),
                format!("{:?}", key.phase).to_lowercase(),
                key.created_at.to_string(),
                key.uses.to_string(),
            ]
        })
        .collect();
    out::table(&["for", "version", "phase", "made", "uses"], &rows);
    Ok(())
}

async fn epoch(house: &House) -> anyhow::Result<()> {
    let done = house
        .vault
        .rotate_epoch(&|progress| {
            out::progress(format!(
                "{} of {} persons' keys wrapped anew",
                progress.done, progress.total
            ));
        })
        .await?;
    out::progress_done();
    let told = EpochRotated { epoch: done.epoch, rewrapped: done.rewrapped };
    tell(house, told).await?;
    out::json(&serde_json::to_value(&done)?);
    out::say(format!(
        "Epoch {} is in use; {} keys wrapped anew; destroyed: {:?}. No backup of before can revive \
         who was erased.",
        done.epoch, done.rewrapped, done.destroyed
    ));
    Ok(())
}
