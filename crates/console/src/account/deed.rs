//! What is done to an account: each deed asks for a reason on a page of its own (C3), and what a
//! rule could ask for goes by the door of the rules (C4).

use axum::extract::State;
use axum::response::Response;
use identity::{AccountKind, AccountState, AccountView, LockAccount};
use kernel::{AccountId, Kind, SessionId};
use serde::Deserialize;
use spine::{About, ActionKind};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use watch::Ask;
use web::{Caller, Form, Operator, Page, Path, Problem, Support, see_other};

use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::room::Console;

pub(super) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(ask_end, end)).routes(routes!(ask_act, act))
}

/// Whether this desk may act on this account (C3).
pub(super) fn may_act(desk: &Desk, view: &AccountView) -> Result<(), Problem> {
    if view.kind == AccountKind::Staff && !desk.admin {
        let detail = "Only an administrator acts on accounts of the staff.";
        return Err(Problem::new(Kind::Forbidden, "console.staff_account", detail));
    }
    if view.state == AccountState::Erased {
        let detail = "This person was erased: there is nobody left to act on.";
        return Err(Problem::new(Kind::Conflict, "console.erased", detail));
    }
    Ok(())
}

/// What can be done to a whole account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    EndSessions,
    StepUp,
    Lock,
    Unlock,
    ResetFactors,
}

impl Deed {
    /// Whether this desk may do it: whoever can take a second factor away by a story told to the
    /// support is past it.
    fn may(self, desk: &Desk) -> Result<(), Problem> {
        match self {
            Self::ResetFactors if !desk.admin => {
                let detail = "Only an administrator takes second factors away.";
                Err(Problem::new(Kind::Forbidden, "console.reset_factors", detail))
            }
            Self::ResetFactors | Self::EndSessions | Self::StepUp | Self::Lock | Self::Unlock => {
                Ok(())
            }
        }
    }
}

impl Deed {
    fn act(self, id: AccountId) -> Act {
        let (word, title, text, button) = match self {
            Self::EndSessions => (
                "end-sessions",
                "End all sessions",
                "Every device of this account is signed out. Its owner signs in again with the \
                 password.",
                "End all sessions",
            ),
            Self::StepUp => (
                "step-up",
                "Ask for the password again",
                "The account's sessions live on, but must prove the password again before anything \
                 sensitive.",
                "Ask again",
            ),
            Self::Lock => (
                "lock",
                "Lock the account",
                "Nobody can sign in to this account, and all its sessions end, until it is \
                 unlocked.",
                "Lock it",
            ),
            Self::Unlock => (
                "unlock",
                "Unlock the account",
                "The account's owner can sign in again.",
                "Unlock it",
            ),
            Self::ResetFactors => (
                "reset-factors",
                "Take the second factors away",
                "For an owner who has lost the phone and the backup codes. Be sure that it is the \
                 owner who asks: afterwards the password alone lets in. Every session ends, and the \
                 owner is written to.",
                "Take them away",
            ),
        };
        Act {
            title,
            text,
            target: id.to_string(),
            action: format!("/console/accounts/{id}/{word}"),
            button,
            back: format!("/console/accounts/{id}"),
        }
    }
}

/// The question before something is done to an account
#[utoipa::path(get, path = "/console/accounts/{id}/{deed}",
    operation_id = "console.ask_account_deed", tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("deed" = String, Path, description = "end-sessions, step-up, lock, unlock or reset-factors")),
    responses((status = 200, description = "The page"), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn ask_act(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path((id, deed)): Path<(AccountId, Deed)>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    may_act(&desk, &console.identity().account(id).await?)?;
    deed.may(&desk)?;
    deed.act(id).ask(page, desk)
}

/// End an account's sessions, ask it for a proof, lock or unlock it
#[utoipa::path(post, path = "/console/accounts/{id}/{deed}",
    operation_id = "console.do_account_deed", tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("deed" = String, Path, description = "end-sessions, step-up, lock, unlock or reset-factors")),
    responses((status = 303, description = "Back to the account"),
        (status = 403, description = "Support acts neither on staff nor on second factors"),
        (status = 404),
        (status = 409, description = "The page again: the account is in another state"),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn act(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path((id, deed)): Path<(AccountId, Deed)>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let view = console.identity().account(id).await?;
    may_act(&desk, &view)?;
    deed.may(&desk)?;
    let act = async |reason: &str| {
        let notice = carry_out(&console, &caller, (&view, deed), reason).await?;
        Ok(see_other(&format!("/console/accounts/{id}?notice={notice}")))
    };
    deed.act(id).carry_out((page, desk), &form, act).await
}

async fn carry_out(
    console: &Console,
    caller: &Caller,
    (view, deed): (&AccountView, Deed),
    reason: &str,
) -> Result<&'static str, Problem> {
    let (ctx, id) = (&caller.ctx, view.id);
    match deed {
        Deed::EndSessions => {
            ask(console, caller, ActionKind::EndSessions, (id, None), reason).await?;
            Ok(if console.ended(ctx, id, None).await? { "ended" } else { "asked" })
        }
        Deed::StepUp => {
            ask(console, caller, ActionKind::StepUp, (id, None), reason).await?;
            Ok("asked")
        }
        Deed::Lock => {
            lock(console, caller, view, reason).await?;
            Ok("locked")
        }
        Deed::Unlock => {
            if view.state != AccountState::Locked {
                return Err(identity::Error::State("not locked").into());
            }
            let why = ("unlock account", reason);
            console.give_reason(ctx, About::account(id, 0), why).await?;
            console.identity().unlock_account(ctx, id).await?;
            Ok("unlocked")
        }
        Deed::ResetFactors => {
            console.identity().reset_factors(ctx, id, reason).await?;
            Ok("factors")
        }
    }
}

/// Asks by the door that rules use (C4).
async fn ask(
    console: &Console,
    caller: &Caller,
    action: ActionKind,
    (account, session): (AccountId, Option<SessionId>),
    reason: &str,
) -> Result<(), Problem> {
    let (account, reason) = (Some(account), reason.to_owned());
    let ask = Ask { action, account, session, address: None, until: None, reason };
    console.watch().ask(&caller.ctx, ask).await?;
    Ok(())
}

/// Locks an account, unless it is the operator's own; `identity` keeps the last administrator (C3).
async fn lock(
    console: &Console,
    caller: &Caller,
    view: &AccountView,
    reason: &str,
) -> Result<(), Problem> {
    if view.id == caller.account {
        let detail = "You would lock yourself out.";
        return Err(Problem::new(Kind::Conflict, "console.own_account", detail));
    }
    let command = LockAccount { account: view.id, reason: reason.to_owned() };
    console.identity().lock_account(&caller.ctx, command).await?;
    Ok(())
}

fn end_act(id: AccountId, session: SessionId) -> Act {
    Act {
        title: "End this session",
        text: "The device is signed out at once. The account's other sessions live on.",
        target: session.to_string(),
        action: format!("/console/accounts/{id}/sessions/{session}/end"),
        button: "End the session",
        back: format!("/console/accounts/{id}"),
    }
}

/// The question before a session is ended
#[utoipa::path(get, path = "/console/accounts/{id}/sessions/{session}/end",
    operation_id = "console.ask_end_session", tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("session" = String, Path, description = "The session")),
    responses((status = 200, description = "The page"), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn ask_end(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path((id, session)): Path<(AccountId, SessionId)>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    may_act(&desk, &console.identity().account(id).await?)?;
    end_act(id, session).ask(page, desk)
}

/// End one session
#[utoipa::path(post, path = "/console/accounts/{id}/sessions/{session}/end",
    operation_id = "console.end_session", tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("session" = String, Path, description = "The session")),
    responses((status = 303, description = "Back to the account"),
        (status = 403, description = "Support acts neither on staff nor on second factors"),
        (status = 404),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn end(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path((id, session)): Path<(AccountId, SessionId)>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    may_act(&desk, &console.identity().account(id).await?)?;
    let act = async |reason: &str| {
        if !console.lives(&caller.ctx, id, Some(session)).await? {
            return Err(Problem::not_found());
        }
        ask(&console, &caller, ActionKind::EndSession, (id, Some(session)), reason).await?;
        let ended = console.ended(&caller.ctx, id, Some(session)).await?;
        let notice = if ended { "ended" } else { "asked" };
        Ok(see_other(&format!("/console/accounts/{id}?notice={notice}")))
    };
    end_act(id, session).carry_out((page, desk), &form, act).await
}
