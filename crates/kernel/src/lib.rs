//! The values that every room shares: time, randomness, who asks, ids, secrets, money, refusals.
//!
//! No IO, no async. Promises:
//! - **K1** time and randomness are values: nothing below the binary reads a clock or a generator
//!   that its caller did not hand over;
//! - **K2** a [`Secret`] is never printed, and is wiped when dropped;
//! - **K3** an id's text form names its noun, and parsing refuses another noun's id;
//! - **K4** money is integer minor units of a named currency; arithmetic that would overflow or
//!   mix currencies is an error, never a wrong number.

mod ctx;
mod id;
mod limits;
mod money;
mod refusal;
mod schema;
mod secret;
mod time;

pub use ctx::{Actor, Ctx, Entropy, Origin, SystemEntropy};
pub use id::{
    AccountId, ConsumerId, EventId, ID_TEXT_LEN, IdError, KeyId, RequestId, SessionId, TenantId,
};
pub use limits::Limits;
pub use money::{Currency, Money, MoneyError};
pub use refusal::{FieldProblem, Kind, Refusal, Refused};
pub use secret::Secret;
pub use time::{Clock, SystemClock, Timestamp, ahead_us};

#[doc(hidden)]
pub mod private {
    //! What the `id!` macro needs from its callers' crates.
    pub use crate::id::{decode, encode};
    pub use crate::schema::of_id;
    pub use serde;
    pub use utoipa;
}
