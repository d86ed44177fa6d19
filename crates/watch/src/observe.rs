//! What the edge saw, told to the log: a flood of refused requests becomes a few events.
//!
//! Only floods are told, one event a client, and of many clients only the worst: ten thousand
//! clients at their limits are ten thousand counts at the edge and never as many transactions.

use std::collections::BTreeMap;
use std::net::IpAddr;

use spine::{About, Subject, transact};
use web::feed::Observed;

use crate::error::Error;
use crate::events::LimitsHit;
use crate::net::client_of;
use crate::room::Watch;

/// Refusals of one client in one report that are worth an event.
const FLOOR: u64 = 50;
/// Clients told of from one report.
const CLIENTS_MAX: usize = 64;
const LIMIT_BYTES: usize = 64;

struct Flood<'a> {
    address: IpAddr,
    count: u64,
    worst: (u64, &'a str),
}

/// The clients that ran into limits most, worst first.
fn floods(observed: &Observed) -> Vec<Flood<'_>> {
    let mut clients: BTreeMap<[u8; 16], Flood<'_>> = BTreeMap::new();
    for seen in &observed.seen {
        let Some(limit) = seen.rule.strip_prefix("limit.") else { continue };
        let new = Flood { address: seen.client, count: 0, worst: (0, "") };
        let flood = clients.entry(client_of(seen.client)).or_insert(new);
        flood.count = flood.count.saturating_add(seen.count);
        flood.worst = flood.worst.max((seen.count, limit));
    }
    let mut floods: Vec<Flood<'_>> =
        clients.into_values().filter(|flood| flood.count >= FLOOR).collect();
    floods.sort_by_key(|flood| std::cmp::Reverse(flood.count));
    floods.truncate(CLIENTS_MAX);
    floods
}

impl Watch {
    /// Tells the log of clients that ran into limits, from one report of the edge. To be called
    /// every few seconds. Gives how many were told of.
    ///
    /// # Errors
    /// As the database says.
    pub async fn observe(&self, observed: &Observed) -> Result<usize, Error> {
        let floods = floods(observed);
        if floods.is_empty() {
            return Ok(0);
        }
        let ctx = self.spine().system_ctx("edge");
        self.sealer().resolve(&[Subject::Day(ctx.now.day())]).await?;
        transact!(self.spine(), &ctx, tx => {
            for flood in &floods {
                let (_, limit) = flood.worst;
                let end = limit.floor_char_boundary(LIMIT_BYTES);
                let event = LimitsHit {
                    limit: limit.get(..end).unwrap_or_default().to_owned(),
                    count: u32::try_from(flood.count).unwrap_or(u32::MAX),
                    client: flood.address.to_string(),
                };
                tx.emit(About::unknown(ctx.now, "client", [0; 16]), event)?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(floods.len())
    }
}

#[cfg(test)]
mod tests {
    use web::feed::Observation;

    use super::*;

    #[test]
    fn only_floods_over_limits_are_told_and_only_the_worst() {
        let one = |client: u32, rule: &str, count| Observation {
            client: IpAddr::from(client.to_be_bytes()),
            rule: rule.to_owned(),
            second: 1,
            count,
        };
        let mut seen: Vec<Observation> =
            (0..100).map(|client| one(client, "limit.login", u64::from(client))).collect();
        seen.push(one(99, "limit.all", 500));
        seen.push(one(200, "hygiene.path", 9_000));
        let observed = Observed { seen, dropped: 0 };
        let floods = floods(&observed);
        assert_eq!(floods.len(), 50);
        assert_eq!((floods[0].count, floods[0].worst), (599, (500, "all")));
        assert!(floods.iter().all(|flood| flood.count >= FLOOR));
    }
}
