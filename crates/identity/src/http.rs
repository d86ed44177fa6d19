//! The list of this room's routes; each stands in its noun's file.

use utoipa_axum::router::OpenApiRouter;

use crate::mail::{self, Outbox};
use crate::room::Identity;
use crate::{account, application, factor, gate, recovery, refresh, session, sign_in, sign_up};

/// The room's pages and API. The outbox of letters is shown only where one is handed over.
pub fn routes(room: Identity, outbox: Option<Outbox>) -> OpenApiRouter {
    let routes = OpenApiRouter::new()
        .merge(sign_up::http::routes())
        .merge(sign_in::http::routes())
        .merge(recovery::http::routes())
        .merge(account::http::routes())
        .merge(session::http::routes())
        .merge(refresh::http::routes())
        .merge(gate::http::pages())
        .merge(gate::http::routes())
        .merge(factor::http::routes())
        .with_state(room);
    match outbox {
        Some(outbox) => routes.merge(mail::http::routes(outbox)),
        None => routes,
    }
}

/// The pages of a sign-in that is half-way, for whatever site it began on.
pub fn second_factor_pages(room: Identity) -> OpenApiRouter {
    gate::http::pages().with_state(room)
}

/// What operators ask of the room as API, for the console's listener.
pub fn operator_routes(room: Identity) -> OpenApiRouter {
    application::http::routes().with_state(room)
}
