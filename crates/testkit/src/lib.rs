//! A world for tests: a clock that the test moves, randomness from a seed, a real vault and a real
//! spine on either database. Nothing in it sleeps, nothing is left behind.
//!
//! ```no_run
//! fn room() -> testkit::Room {
//!     testkit::Room { migrations: vec![], tables: vec![], statements: vec![] }
//! }
//!
//! testkit::on_both! { room;
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
mod world;

pub use attack::Copy;
pub use clock::{SeededEntropy, TestClock};
pub use database::{postgres_url, with_postgres};
pub use world::{Room, World};

/// Runs an async test in a world on SQLite, and again in one on PostgreSQL. `room` is a function
/// that gives the [`Room`] whose tables the world has. The world's type may be written as it is
/// imported: `&World` or `&testkit::World`.
#[macro_export]
macro_rules! on_both {
    ($room:expr; $($(#[$meta:meta])* async fn $name:ident($world:ident: &$type:ty) $body:block)+) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports, clippy::allow_attributes, reason = "not every test needs all")]
                use super::*;

                #[allow(unused_qualifications, clippy::allow_attributes, reason = "a path is welcome")]
                async fn body($world: &$type) $body

                #[test]
                fn sqlite() {
                    $crate::World::run_sqlite($room(), async |world| body(world).await);
                }

                #[test]
                fn postgres() {
                    $crate::World::run_postgres($room(), async |world| body(world).await);
                }
            }
        )+
    };
}
