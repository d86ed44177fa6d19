//! A world for tests: a clock that the test moves, randomness from a seed, a real vault and a real
//! spine on either database. Nothing in it sleeps, nothing is left behind.
//!
//! ```no_run
//! const ROOMS: &[spine::Room] = &[]; // yours: `&[wish::ROOM]`
//!
//! testkit::on_both! { ROOMS;
//!     async fn a_use_case(world: &testkit::World) {
//!         let ctx = world.ctx(kernel::Actor::Nobody);
//!         assert_eq!(ctx.now, world.now());
//!     }
//! }
//! ```

mod attack;
mod clock;
mod database;
mod erasure;
mod log;
mod proxy;
mod race;
mod redis;
mod world;

pub use attack::Copy;
pub use clock::{SeededEntropy, TestClock};
pub use database::{postgres_url, with_postgres};
pub use proxy::{Look, Proxy, Way};
pub use race::race;
pub use redis::Redis;
pub use world::World;

/// Runs an async test in a world on SQLite, and again in one on PostgreSQL. The first
/// word is the list of [rooms](spine::Room) that the world has beside the spine. The world's type may
/// be written as it is imported: `&World` or `&testkit::World`.
#[macro_export]
macro_rules! on_both {
    ($rooms:expr; $($(#[$meta:meta])* async fn $name:ident($world:ident: &$type:ty) $body:block)+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports, clippy::allow_attributes, reason = "not every test needs all")]
                use super::*;

                #[allow(unused_qualifications, clippy::allow_attributes, reason = "a path is welcome")]
                async fn body($world: &$type) $body

                #[test]
                fn sqlite() {
                    $crate::World::run_sqlite($rooms, async |world| body(world).await);
                }

                #[test]
                fn postgres() {
                    $crate::World::run_postgres($rooms, async |world| body(world).await);
                }
            }
        )+
    };
}
