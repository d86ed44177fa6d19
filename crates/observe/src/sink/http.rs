//! Batches by POST: an event a line. A batch that is not answered by 2xx goes out again.

use bytes::Bytes;
use serde_json::json;

use super::SinkFiles;
use crate::config::{SiemConfig, SiemFormat};
use crate::error::Error;
use crate::ocsf::Told;
use crate::outbound::Outbound;

/// What is shown of a refusal.
const WORDS_MAX: usize = 200;

/// The collector.
pub(super) struct Http {
    outbound: Outbound,
    format: SiemFormat,
}

impl Http {
    pub(super) fn new(config: &SiemConfig, files: &SinkFiles) -> Result<Self, Error> {
        let url = config.url.as_deref().unwrap_or_default();
        let mut outbound = Outbound::new(url, files.authority.as_deref())?;
        if let Some(token) = &files.token {
            outbound = outbound.with_header(&config.token_header, token.expose())?;
        }
        Ok(Self { outbound, format: config.format })
    }

    pub(super) async fn send(&self, batch: &[Told]) -> Result<u64, Error> {
        let mut body = String::new();
        for told in batch {
            let line = match self.format {
                SiemFormat::Ndjson => told.json.to_string(),
                SiemFormat::Hec => {
                    let (seconds, millis) = (told.time_ms.div_euclid(1_000), told.time_ms % 1_000);
                    json!({
                        "time": format!("{seconds}.{millis:03}"),
                        "sourcetype": "ocsf:json", "source": "stagedoor", "event": told.json,
                    })
                    .to_string()
                }
            };
            body.push_str(&line);
            body.push('\n');
        }
        let kind = match self.format {
            SiemFormat::Ndjson => "application/x-ndjson",
            SiemFormat::Hec => "application/json",
        };
        let (status, words) = self.outbound.post(kind, Bytes::from(body)).await?;
        if status.is_success() {
            return Ok(0);
        }
        let words = String::from_utf8_lossy(&words);
        let words: String = words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
        Err(Error::away(format!("it answers {status}: {words}")))
    }
}
