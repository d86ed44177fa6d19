//! The rooms, in the one place that names each: what they bring, what they answer at the two doors,
//! what follows the log, and what is tidied. A new room is named in each function of this file; how
//! it is opened stands in `house.rs`.

use std::pin::Pin;

use spine::{Consumer, Room, Rooms};
use utoipa_axum::router::OpenApiRouter;
use web::api::Assembled;

use crate::house::House;
use crate::keep::{self, ledger};
use crate::{gauges, log_http, position, wrong_clock};

/// The rooms, beside the spine.
const ROOMS: &[Room] = &[
    identity::ROOM,
    access::ROOM,
    watch::ROOM,
    console::ROOM,
    observe::ROOM,
    crate::events::ROOM,
    keep::ROOM,
    #[cfg(feature = "next")]
    crate::next::ROOM,
];

/// Steps of sweeping in one round: what ends within a minute is deleted within a minute.
const SWEEPS_MAX: usize = 50;
/// Days that the keys of persons unknown are kept.
const UNKNOWN_DAYS: i64 = 90;

/// What all rooms bring.
///
/// # Errors
/// Where two rooms claim the same, or one claims what is not its own.
pub(crate) fn rooms() -> Result<Rooms, spine::Error> {
    Rooms::new(ROOMS)
}

/// A piece of upkeep: its name, and what it does.
pub(crate) type Chore<'a> =
    (&'static str, Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>);

impl House {
    /// Everything that follows the log.
    pub(crate) fn consumers(&self) -> Vec<Box<dyn Consumer>> {
        let mut consumers: Vec<Box<dyn Consumer>> = vec![Box::new(spine::Erasure)];
        consumers.extend(self.identity.consumers());
        consumers.extend(self.access.consumers());
        consumers.extend(self.watch.consumers());
        let list = ledger::file_in(&self.config, &self.base);
        consumers.push(Box::new(ledger::Ledger::new(list, self.vault.clone())));
        consumers
    }

    /// Everything that the shop's door answers itself, with its document.
    pub(crate) fn door_routes(&self) -> anyhow::Result<Assembled> {
        let shows_mails = self.config.identity.mail.to == identity::MailRoad::Outbox;
        let outbox = shows_mails.then(|| self.outbox.clone());
        let routes: Vec<OpenApiRouter> = vec![
            identity::routes(self.identity.clone(), outbox),
            access::shop_routes(self.access.clone()),
            log_http::routes(self.spine.clone()),
            gauges::door_routes(),
            web::assets::routes(),
        ];
        self.as_a_node(web::api::assemble("Stagedoor", env!("CARGO_PKG_VERSION"), routes)?)
    }

    /// Everything that the operators' door answers, with its document.
    pub(crate) fn console_routes(&self) -> anyhow::Result<Assembled> {
        let console = console::Console::open(console::Parts {
            spine: self.spine.clone(),
            identity: self.identity.clone(),
            access: self.access.clone(),
            watch: self.watch.clone(),
            observe: self.observe.clone(),
            catalogue: rooms()?.events(),
        });
        let routes: Vec<OpenApiRouter> = vec![
            console::routes(console),
            identity::operator_routes(self.identity.clone()),
            identity::second_factor_pages(self.identity.clone()),
            access::operator_routes(self.access.clone()),
            watch::routes(self.watch.clone()),
            log_http::operator_routes(self.spine.clone()),
            web::assets::routes(),
        ];
        let version = env!("CARGO_PKG_VERSION");
        self.as_a_node(web::api::assemble("Stagedoor console", version, routes)?)
    }

    fn as_a_node(&self, assembled: Assembled) -> anyhow::Result<Assembled> {
        let router = position::told(assembled.router, self);
        let router = wrong_clock::refused(router, &self.clock_is_off);
        Ok(Assembled { router, ..assembled })
    }

    /// What is done each minute. Each stands for itself: one that fails keeps no other from its work.
    pub(crate) fn chores(&self) -> Vec<Chore<'_>> {
        vec![
            ("keys", Box::pin(async { done(self.vault.tend().await) })),
            ("keys opened", Box::pin(self.tell_opens())),
            ("keys of the unknown", Box::pin(self.retire_days())),
            ("public keys", Box::pin(async { self.publish_keys() })),
            ("access", Box::pin(async { done(self.access.tend().await) })),
            ("identity", Box::pin(self.sweep())),
            ("bodies of events", Box::pin(self.retire_bodies())),
            #[cfg(feature = "next")]
            ("next", Box::pin(self.mark())),
            ("rows", Box::pin(async { done(self.spine.retire_rows().await) })),
            ("nodes", Box::pin(async { done(self.spine.retire_nodes().await) })),
            ("watch", Box::pin(async { done(self.watch.retire().await) })),
        ]
    }

    async fn retire_days(&self) -> anyhow::Result<()> {
        done(self.vault.retire_days(self.clock.now().day() - UNKNOWN_DAYS).await)
    }

    async fn sweep(&self) -> anyhow::Result<()> {
        let ctx = self.spine.system_ctx("tend");
        for _ in 0..SWEEPS_MAX {
            if self.identity.sweep(&ctx).await? == identity::SweptRows::default() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn retire_bodies(&self) -> anyhow::Result<()> {
        let specs = rooms()?.events();
        let ours = specs.iter().map(|spec| (spec.kind.to_owned(), spec.retain_days));
        let kinds = self.access.kinds();
        let shops = kinds.iter().map(|kind| (kind.name.clone(), kind.retain_days));
        let kept: Vec<(String, u32)> = ours.chain(shops).collect();
        done(self.spine.retire_bodies(kept, self.clock.now()).await)
    }
}

/// How much was done is each room's own matter.
fn done<T, E: Into<anyhow::Error>>(outcome: Result<T, E>) -> anyhow::Result<()> {
    outcome.map(|_| ()).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_fit_together() {
        rooms().unwrap();
    }

    #[test]
    fn every_answer_has_a_room_that_obeys() {
        assert_eq!(rooms().unwrap().unobeyed(), []);
    }
}
