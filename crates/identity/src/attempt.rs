//! Attempt budgets that outlive a restart: so many at once, then one more after each span.
//!
//! One row holds the moment at which its budget would be full again (the generic cell rate
//! algorithm, ITU-T I.371); one guarded statement charges it, so that attempts at the same time
//! cannot share one grant. Rows are found by keyed digests only. A budget is charged before the
//! work it guards and given back where the attempt turns out to be right: it slows down guesses,
//! never the owner.

use std::net::IpAddr;

use kernel::{Ctx, Timestamp};
use spine::{FromRow, Row, StoreError, args};

use crate::config::Budget;
use crate::error::Error;
use crate::room::Identity;

struct FullAt(Timestamp);

impl FromRow for FullAt {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.time("full_at").map(Self)
    }
}

/// One budget of one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    key: [u8; 32],
    budget: Budget,
}

impl Bucket {
    fn cost_us(self) -> i64 {
        i64::from(self.budget.refill_s) * 1_000_000
    }

    /// The latest moment of fullness that still grants one at `now`.
    fn edge(self, now: Timestamp) -> i64 {
        let others = i64::from(self.budget.burst.saturating_sub(1));
        now.micros().saturating_add(others.saturating_mul(self.cost_us()))
    }

    /// Seconds from `now` until one is granted.
    fn wait_s(self, now: Timestamp, full_at: Timestamp) -> u32 {
        let wait_us = full_at.micros().saturating_sub(self.edge(now)).max(0);
        u32::try_from(wait_us.div_euclid(1_000_000) + 1).unwrap_or(u32::MAX)
    }
}

/// What stands for one client: an IPv4 address, or the /64 that one subscriber has of IPv6.
fn client_of(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}

impl Identity {
    /// A budget of `name`, for whatever `what` is.
    pub(crate) fn bucket(&self, name: &str, what: &[u8], budget: Budget) -> Bucket {
        let framed = [name.as_bytes(), b"\0", what].concat();
        Bucket { key: self.vault().blind("identity.attempt", &framed), budget }
    }

    /// The budget of the client that this request comes from, for whatever `what` is; all whose
    /// address is unknown share one.
    pub(crate) fn client_bucket(
        &self,
        ctx: &Ctx,
        name: &str,
        what: &[u8],
        budget: Budget,
    ) -> Bucket {
        let client = ctx.origin.address.map(client_of).unwrap_or_default();
        // The client's length is one of three: nothing of `what` can be taken for it.
        let length = u8::try_from(client.len()).unwrap_or(u8::MAX);
        self.bucket(name, &[&[length], client.as_slice(), what].concat(), budget)
    }

    /// Charges one attempt to each bucket, in a transaction of its own: it counts whatever happens
    /// afterwards. Where one is empty, the ones before it are given back.
    ///
    /// # Errors
    /// [`Error::Limited`] with the seconds until another is granted.
    pub(crate) async fn charge(&self, ctx: &Ctx, buckets: &[Bucket]) -> Result<(), Error> {
        let mut upkeep = self.spine().upkeep().await?;
        for (place, bucket) in buckets.iter().enumerate() {
            let row = args![bucket.key, ctx.now, bucket.cost_us(), bucket.edge(ctx.now)];
            if upkeep.run(&CHARGE, row).await? == 0 {
                for earlier in buckets.iter().take(place) {
                    upkeep.run(&GIVE_BACK, args![earlier.key, earlier.cost_us()]).await?;
                }
                upkeep.commit().await?;
                return Err(self.limited(ctx, *bucket).await?);
            }
        }
        upkeep.commit().await?;
        Ok(())
    }

    async fn limited(&self, ctx: &Ctx, bucket: Bucket) -> Result<Error, Error> {
        let mut read = self.spine().read().await?;
        let full: Option<FullAt> = read.maybe(&FULL_AT, args![bucket.key]).await?;
        let retry_after_s = full.map_or(1, |FullAt(at)| bucket.wait_s(ctx.now, at));
        Ok(Error::Limited { retry_after_s })
    }

    /// Gives one attempt back to each bucket: it was the owner's.
    pub(crate) async fn give_back(&self, buckets: &[Bucket]) -> Result<(), Error> {
        let mut upkeep = self.spine().upkeep().await?;
        for bucket in buckets {
            upkeep.run(&GIVE_BACK, args![bucket.key, bucket.cost_us()]).await?;
        }
        upkeep.commit().await?;
        Ok(())
    }
}

spine::sql! {
    read FULL_AT = "SELECT full_at FROM identity_attempt WHERE bucket = $1";
    /// $2 now, $3 the cost, $4 the latest moment of fullness that still grants one.
    upkeep CHARGE in identity_attempt =
        "INSERT INTO identity_attempt (bucket, full_at) \
         VALUES ($1, CAST($2 AS BIGINT) + CAST($3 AS BIGINT)) \
         ON CONFLICT (bucket) DO UPDATE SET full_at = CAST($3 AS BIGINT) + \
         CASE WHEN identity_attempt.full_at < $2 THEN $2 ELSE identity_attempt.full_at END \
         WHERE identity_attempt.full_at <= $4";
    upkeep GIVE_BACK in identity_attempt =
        "UPDATE identity_attempt SET full_at = full_at - $2 WHERE bucket = $1";
    upkeep FORGET in identity_attempt = "DELETE FROM identity_attempt WHERE bucket = $1";
    upkeep SWEEP in identity_attempt = "DELETE FROM identity_attempt WHERE full_at < $1";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> Bucket {
        Bucket { key: [0; 32], budget: Budget { burst: 3, refill_s: 10 } }
    }

    #[test]
    fn the_wait_is_until_one_is_granted() {
        let now = Timestamp::from_seconds(100);
        // three at once fill it up to 130 s; the edge is at 120 s
        assert_eq!(bucket().edge(now), 120_000_000);
        assert_eq!(bucket().wait_s(now, Timestamp::from_seconds(130)), 11);
        assert_eq!(bucket().wait_s(now, Timestamp::from_seconds(90)), 1);
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_client() {
        let a = client_of("2001:db8:1:2::1".parse().unwrap());
        let b = client_of("2001:db8:1:2:ffff::9".parse().unwrap());
        let c = client_of("2001:db8:1:3::1".parse().unwrap());
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(client_of("::ffff:192.0.2.1".parse().unwrap()), vec![192, 0, 2, 1]);
    }
}
