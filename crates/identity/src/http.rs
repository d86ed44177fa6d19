//! The list of this room's routes; each stands in its noun's file.

use utoipa_axum::router::OpenApiRouter;

use crate::mail::{self, Outbox};
use crate::room::Identity;
use crate::{account, application, recovery, refresh, session, sign_in, sign_up};

/// The room's pages and API. The outbox of letters is shown only where one is handed over.
pub fn routes(room: Identity, outbox: Option<Outbox>) -> OpenApiRouter {
    let routes = OpenApiRouter::new()
        .merge(sign_up::http::routes())
        .merge(sign_in::http::routes())
        .merge(recovery::http::routes())
        .merge(account::http::routes())
        .merge(session::http::routes())
        .merge(refresh::http::routes())
        .with_state(room);
    match outbox {
        Some(outbox) => routes.merge(mail::http::routes(outbox)),
        None => routes,
    }
}

/// What operators ask of the room as API, for the console's listener.
pub fn operator_routes(room: Identity) -> OpenApiRouter {
    application::http::routes().with_state(room)
}
