//! `witness`: makes and serves a witness for another's log, with a folder and a key of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use edge::Certificates;
use kernel::{SystemClock, SystemEntropy};
use merkle::VerifyKey;

use crate::cli::WitnessCommand;
use crate::command::serve::{start_log, told_to_stop};
use crate::config::LogConfig;
use crate::out;
use crate::witness::{Folder, Opening, serve};

/// Runs a `witness` command.
pub(crate) async fn run(command: WitnessCommand) -> anyhow::Result<()> {
    match command {
        WitnessCommand::Init { name, dir } => {
            let key = Folder::make(&dir, &name, &SystemEntropy)?.key.verifier().to_string();
            out::json(&serde_json::json!({ "dir": dir, "key": key }));
            out::say(format!("Made {}. The witness's public key:\n{key}", dir.display()));
            out::say("Next: `stagedoor witness add-log KEY`, then `stagedoor witness serve`.");
            Ok(())
        }
        WitnessCommand::AddLog { key, dir } => {
            let key = VerifyKey::parse(&key).context("this is no verifier key of a log")?;
            Folder::open(&dir)?.add_log(&key)?;
            out::json(&serde_json::json!({ "log": key.name() }));
            out::say(format!("{} is watched from now on.", key.name()));
            Ok(())
        }
        WitnessCommand::List { dir } => list(&Folder::open(&dir)?),
        WitnessCommand::Serve { dir, listen, cert_file, key_file } => {
            open(dir, listen, cert_file.zip(key_file)).await
        }
    }
}

fn list(folder: &Folder) -> anyhow::Result<()> {
    let key = folder.key.verifier().to_string();
    let mut logs = Vec::new();
    for log in folder.logs()? {
        let last = folder.last(log.name())?;
        let size = last.as_ref().map(|last| last.claimed().size());
        let root = last.as_ref().map(|last| last.claimed().root().to_base64());
        let shown = size.map_or("nothing yet".to_owned(), |size| format!("{size} leaves"));
        out::say(format!("{}: {shown}", log.name()));
        logs.push(serde_json::json!({ "key": log.to_string(), "size": size, "root": root }));
    }
    out::say(format!("witness key: {key}"));
    out::json(&serde_json::json!({ "key": key, "logs": logs }));
    Ok(())
}

async fn open(
    dir: PathBuf,
    listen: SocketAddr,
    tls: Option<(PathBuf, PathBuf)>,
) -> anyhow::Result<()> {
    start_log(&LogConfig::default(), None)?;
    let certificates = tls.map(|(cert, key)| {
        let read = |file: PathBuf| {
            std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
        };
        anyhow::Ok(Certificates::from_pem(&[(&read(cert)?, &read(key)?)])?)
    });
    let folder = Folder::open(&dir)?;
    let key = folder.key.verifier().to_string();
    let opening = Opening {
        folder,
        listen,
        certificates: certificates.transpose()?,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let running = serve(opening).await?;
    let address = running.local_addr();
    out::json(&serde_json::json!({ "listen": address.to_string(), "key": key }));
    out::say(format!("The witness listens on {address}. Its key: {key}"));
    told_to_stop()?.await;
    running.drain(std::time::Duration::from_secs(2)).await;
    Ok(())
}
