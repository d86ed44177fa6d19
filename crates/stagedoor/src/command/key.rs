//! `key`: lists and rotates the vault's keys.

use anyhow::Context as _;
use vault::Purpose;

use crate::cli::KeyCommand;
use crate::events::{EpochRotated, KeyRotated};
use crate::house::House;
use crate::out;

/// Runs a `key` command.
pub(crate) async fn run(house: &House, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::List => list(house)?,
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
