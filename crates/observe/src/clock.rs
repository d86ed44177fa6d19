//! Whether this host's clock is right: held against the database's, and where configured against a
//! server of network time (SNTP, RFC 4330: one packet there, one back).

use std::time::Duration;

use kernel::{Clock, Timestamp};
use spine::Spine;
use tokio::net::UdpSocket;

use crate::error::Error;

/// From here on it is warned of.
pub const WARN_OFFSET: Duration = Duration::from_secs(1);
/// From here on this node takes no traffic: tokens and leases would be judged wrongly.
pub const MAX_OFFSET: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(3);
/// Seconds from 1900, where network time begins, to 1970.
const FROM_1900_S: i64 = 2_208_988_800;

/// How far this host's clock is behind others', in microseconds; negative where it is ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockState {
    /// Behind the database's clock; none of SQLite, which has this host's.
    pub database_us: Option<i64>,
    /// Behind the configured server's.
    pub ntp_us: Option<i64>,
    /// How far the host's clock has jumped ahead, which is not believed.
    pub held_us: Option<i64>,
}

impl ClockState {
    /// The worst of them.
    #[must_use]
    pub fn worst(&self) -> Duration {
        let all = [self.database_us, self.ntp_us].into_iter().flatten();
        Duration::from_micros(all.map(i64::unsigned_abs).max().unwrap_or(0))
    }

    /// What an operator should know of it, in words; none where all is well.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let far = |offset: Option<i64>| offset.filter(|us| us.unsigned_abs() >= 1_000_000);
        let said = |whose: &str, us: i64| {
            let way = if us > 0 { "behind" } else { "ahead of" };
            format!("this host's clock is {:.1} s {way} {whose}", seconds(us).abs())
        };
        let held = self.held_us.map(|us| {
            format!("this host's clock jumped by {:.0} s, and is not believed", seconds(us))
        });
        held.or_else(|| {
            far(self.database_us)
                .map(|us| said("the database's", us))
                .or_else(|| far(self.ntp_us).map(|us| said("observe.ntp_server", us)))
        })
    }
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "an offset is shown, not reckoned with")]
pub(crate) const fn seconds(us: i64) -> f64 {
    us as f64 / 1_000_000.0
}

/// How far we are behind what was read in the middle between two looks at our own clock.
const fn behind(before: Timestamp, theirs_us: i64, after: Timestamp) -> i64 {
    let middle = before.micros() + (after.micros() - before.micros()) / 2;
    theirs_us.saturating_sub(middle)
}

/// Behind the database's clock.
///
/// # Errors
/// [`Error::Spine`].
pub(crate) async fn database(spine: &Spine) -> Result<Option<i64>, Error> {
    let before = spine.clock().now();
    let theirs = spine.db().server_time().await?;
    let after = spine.clock().now();
    Ok(theirs.map(|theirs| behind(before, theirs.micros(), after)))
}

/// Behind a server of network time.
///
/// # Errors
/// [`Error::Away`] where it does not answer, or answers what no such server says.
pub(crate) async fn ntp(server: &str, clock: &dyn Clock) -> Result<i64, Error> {
    let asked = tokio::time::timeout(PATIENCE, ask(server, clock)).await;
    asked.map_err(|_| Error::away("no answer in time"))?
}

async fn ask(server: &str, clock: &dyn Clock) -> Result<i64, Error> {
    let mut found = tokio::net::lookup_host(server).await.map_err(Error::away)?;
    let address = found.next().ok_or_else(|| Error::away("no such host"))?;
    let any = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).await.map_err(Error::away)?;
    socket.connect(address).await.map_err(Error::away)?;
    let before = clock.now();
    // Version 4, client; our moment comes back as the origin, and proves that we are answered.
    let mut question = [0; 48];
    let stamp = to_ntp(before);
    for (to, from) in question.iter_mut().zip([0x23].into_iter().chain([0; 39]).chain(stamp)) {
        *to = from;
    }
    socket.send(&question).await.map_err(Error::away)?;
    let mut answer = [0; 48];
    let read = socket.recv(&mut answer).await.map_err(Error::away)?;
    let after = clock.now();
    let (received, sent) = read_answer(&answer, read, stamp)
        .ok_or_else(|| Error::away("it does not answer as a server of network time does"))?;
    Ok(behind(before, received + (sent - received) / 2, after))
}

/// When the server got the question and sent its answer, microseconds since 1970; none where this
/// is no answer to what was stamped so.
fn read_answer(answer: &[u8; 48], read: usize, stamp: [u8; 8]) -> Option<(i64, i64)> {
    let (mode, stratum) = (answer.first()? & 7, *answer.get(1)?);
    let origin = answer.get(24..32)?;
    let is_answer = read == 48 && mode == 4 && (1..=15).contains(&stratum) && origin == stamp;
    let at = |bytes: &[u8]| Some(from_ntp(bytes.try_into().ok()?));
    is_answer.then(|| Some((at(answer.get(32..40)?)?, at(answer.get(40..48)?)?)))?
}

/// 32 bits of seconds since 1900, of an era of 136 years, and 32 bits of their fraction.
fn to_ntp(at: Timestamp) -> [u8; 8] {
    let seconds = at.seconds().saturating_add(FROM_1900_S).rem_euclid(1 << 32);
    let fraction = (at.micros().rem_euclid(1_000_000) << 32) / 1_000_000;
    ((seconds << 32) | fraction).to_be_bytes()
}

fn from_ntp(bytes: [u8; 8]) -> i64 {
    let stamp = u64::from_be_bytes(bytes);
    let seconds = i64::try_from(stamp >> 32).unwrap_or(0);
    let fraction = i64::try_from(stamp & 0xffff_ffff).unwrap_or(0);
    // The era that began in 2036, where the first bit is not set.
    let era = if seconds < 1 << 31 { 1_i64 << 32 } else { 0 };
    (seconds + era - FROM_1900_S) * 1_000_000 + ((fraction * 1_000_000) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_time_is_read_in_both_eras() {
        for seconds in [1_795_487_140, 2_085_978_495, 2_085_978_496, 3_000_000_000] {
            let at = Timestamp::from_micros(seconds * 1_000_000 + 250_000);
            let read = from_ntp(to_ntp(at));
            assert!((read - at.micros()).abs() <= 1, "{seconds}: {read}");
        }
    }

    #[test]
    fn an_offset_is_warned_of_from_a_second_on() {
        let state =
            |us| ClockState { database_us: Some(us), ntp_us: Some(-900_000), held_us: None };
        assert_eq!(state(-999_999).warning(), None);
        let words = "this host's clock is 2.0 s behind the database's";
        assert_eq!(state(2_000_000).warning().unwrap(), words);
        assert!(state(-2_000_000).warning().unwrap().contains("ahead of"));
        assert_eq!(state(0).worst(), Duration::from_micros(900_000));
        let held = ClockState { held_us: Some(-3_600_000_000), ..state(0) };
        assert!(held.warning().unwrap().contains("jumped by -3600 s"));
    }

    /// A server whose clock is an hour ahead, over a real socket.
    #[tokio::test]
    async fn a_server_of_network_time_is_asked() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let ahead = Duration::from_secs(3_600);
        let serve = async {
            let mut question = [0; 48];
            for stratum in [0, 2] {
                let (_, peer) = server.recv_from(&mut question).await.unwrap();
                let mut answer = [0; 48];
                (answer[0], answer[1]) = (0x24, stratum);
                answer[24..32].copy_from_slice(&question[40..48]);
                let theirs = to_ntp(kernel::SystemClock.now().plus(ahead));
                answer[32..40].copy_from_slice(&theirs);
                answer[40..48].copy_from_slice(&theirs);
                server.send_to(&answer, peer).await.unwrap();
            }
        };
        let ask = async {
            // A server that does not know the time itself is not believed.
            assert!(ntp(&address, &kernel::SystemClock).await.is_err());
            ntp(&address, &kernel::SystemClock).await.unwrap()
        };
        let ((), behind) = tokio::join!(serve, ask);
        assert!((behind - 3_600_000_000).abs() < 1_000_000, "{behind}");
    }
}
