//! What must be done between a restored backup and the first request. Cut short, the database stays
//! held, and the same command goes on; each part finds out itself what is done already.

use anyhow::Context as _;
use kernel::AccountId;
use vault::Vault;

use super::ledger::Erased;
use super::manifest::Manifest;
use super::{Restored, tell};
use crate::config::Loaded;
use crate::house::{House, Nature};
use crate::out;

/// How it ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The log's name now.
    pub origin: String,
    pub leaves: u64,
    pub erased_again: u64,
    pub sessions_ended: u64,
    pub links_spent: u64,
}

/// What it is to be finished with.
pub(crate) struct Rest<'a> {
    pub manifest: &'a Manifest,
    pub erased: &'a Erased,
    /// The keys came out of a backup.
    pub keys: bool,
}

/// Reopens the log, erases again whom the backup brought back, ends every session, verifies all of
/// it, and lets the database be served.
pub(crate) async fn finish(loaded: Loaded, rest: Rest<'_>) -> anyhow::Result<(House, Finished)> {
    let db = loaded.open_database().await?;
    let nature = Nature::default();
    let vault = Vault::open(loaded.vault_config(&nature)?).await;
    let vault = vault.context("the vault cannot be opened")?;
    let house = House::furnish(loaded, db, vault, nature).await?;
    anyhow::ensure!(house.node.take()?, "a program serves here: stop it first");
    house.spine.forget_nodes().await?;
    let origin = reopen(&house, rest.manifest).await?;
    let erased_again = erase_again(&house, rest.erased).await?;
    let ctx = house.operator_ctx();
    let ended = house.identity.end_everything(&ctx).await?;
    let taken_at = rest.manifest.taken_at().to_string();
    let leaves = rest.manifest.log.as_ref().map_or(0, |log| log.leaves);
    let (keys, sessions_ended) = (rest.keys, ended.sessions);
    tell(&house, Restored { taken_at, leaves, keys, erased_again, sessions_ended }).await?;
    // The rooms' own consumers forget with it.
    house.spine.sequence().await?;
    for consumer in house.consumers() {
        house.spine.consume(consumer.as_ref()).await?;
    }
    house.spine.sequence().await?;
    if rest.keys {
        // The keys of those who were erased again may still lie about in the key database's files:
        // with the epoch's key they open nothing.
        house.vault.rotate_epoch(&|_| {}).await?;
    }
    let leaves = verify(&house).await?;
    store::release(house.spine.db()).await?;
    let finished =
        Finished { origin, leaves, erased_again, sessions_ended, links_spent: ended.links };
    Ok((house, finished))
}

/// Lets the log go on under a new name, once.
async fn reopen(house: &House, manifest: &Manifest) -> anyhow::Result<String> {
    let now = house.spine.verifier_key().await?.name().to_owned();
    let Some(log) = &manifest.log else { return Ok(now) };
    if now != log.origin {
        return Ok(now);
    }
    house.tell_key_changes().await?;
    let at = manifest.taken_at();
    let reason = format!("restored from a backup of {at} with {} leaves", log.leaves);
    Ok(house.spine.reopen(reason).await?)
}

/// Erases again whose key is destroyed, and whom the lists name. Gives how many there were.
async fn erase_again(house: &House, erased: &Erased) -> anyhow::Result<u64> {
    let mut again = Vec::new();
    let mut after: Option<AccountId> = None;
    loop {
        let page = house.vault.erased_after(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        again.extend(page);
    }
    let keyless: std::collections::BTreeSet<AccountId> = again.into_iter().collect();
    let mut count = 0;
    let mut after = None;
    loop {
        let page = house.identity.standings(after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for account in page.iter().filter(|account| !account.is_erased) {
            if !keyless.contains(&account.id) && !erased.names(&house.vault, account.id) {
                continue;
            }
            let ctx = house.operator_ctx();
            count += u64::from(house.identity.erase_again(&ctx, account.id).await?);
            out::progress(format!("{count} persons erased again"));
        }
        // One whose key alone came back: the row was blank in the backup.
        for account in page.iter().filter(|account| account.is_erased) {
            house.vault.shred(spine::Subject::Account(account.id)).await?;
        }
    }
    out::progress_done();
    Ok(count)
}

/// Verifies the whole log; gives its leaves.
pub(crate) async fn verify(house: &House) -> anyhow::Result<u64> {
    let found = house.spine.verify(&[], &mut |_| {}).await?;
    let faults: Vec<String> =
        found.faults.iter().map(|fault| format!("{}: {}", fault.place, fault.what)).collect();
    anyhow::ensure!(found.holds(), "the log does not hold\n  {}", faults.join("\n  "));
    Ok(found.size)
}
