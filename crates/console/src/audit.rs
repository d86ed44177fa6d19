//! The audit page (C5): what the log claims, a bounded check of all of it, what no check covers,
//! and how to check without this program.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use kernel::{Kind, Timestamp};
use merkle::{Checkpoint, Policy, SignedCheckpoint, VerifyKey};
use serde::Deserialize;
use spine::{About, Fault, Subject, Verification, transact};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    Auditor, Form, Operator, Page, Problem, Staff, Wrong, html, html_with, see_other, wrong_field,
};

use crate::desk::Desk;
use crate::event;
use crate::events::LogVerified;
use crate::pulse;
use crate::room::Console;
use crate::told;

/// The longest check at the console; a longer log is checked at the command line.
const CHECK_MAX: Duration = Duration::from_secs(20);
/// The longest checkpoint that is read, bytes.
const KEPT_BYTES: usize = 16 * 1024;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(verify))
        .routes(routes!(checkpoint_file))
        .routes(routes!(key_file))
}

/// The last check that this node made.
#[derive(Clone, Debug)]
pub(crate) struct LastCheck {
    at: Timestamp,
    took: Duration,
    found: Verification,
}

/// A check, in words.
struct Checked {
    holds: bool,
    at: String,
    ago: String,
    took: String,
    size: String,
    rows: String,
    bodies: String,
    erased: String,
    deleted: String,
    pending: String,
    covered: Option<String>,
    root: String,
    faults: Vec<Fault>,
}

impl Checked {
    fn of(check: &LastCheck, now: Timestamp) -> Self {
        let found = &check.found;
        Self {
            holds: found.holds(),
            at: told::clock(check.at),
            ago: told::ago(now, check.at),
            took: format!(
                "{} ms",
                told::grouped(i128::try_from(check.took.as_millis()).unwrap_or(0))
            ),
            size: told::grouped(found.size),
            rows: told::grouped(found.rows),
            bodies: told::grouped(found.bodies),
            erased: told::grouped(found.erased),
            deleted: told::grouped(found.deleted),
            pending: told::grouped(found.pending),
            covered: (found.covered > 0).then(|| told::grouped(found.covered)),
            root: found.root.clone(),
            faults: found.faults.clone(),
        }
    }
}

/// A signed size, in words.
struct SignedLine {
    who: String,
    size: String,
    at: String,
}

impl SignedLine {
    fn of(signed: &pulse::Signed) -> Self {
        Self {
            who: signed.node.clone(),
            size: told::grouped(signed.size),
            at: told::clock(signed.at),
        }
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    page: Page,
    desk: Desk,
    wrong: Wrong,
    kept_text: String,
    origin: String,
    size: String,
    root: Option<String>,
    signed_at: Option<String>,
    key: String,
    nodes: Vec<SignedLine>,
    kept: Vec<SignedLine>,
    check: Option<Checked>,
    /// The last check that the log tells of, by whatever node.
    told: Option<String>,
    limit_s: u64,
}

async fn audit_page(
    console: &Console,
    (page, desk): (Page, Desk),
    now: Timestamp,
) -> Result<AuditPage, Problem> {
    let log = pulse::log(console.spine(), now).await?;
    let checkpoint = console.spine().checkpoint().await?;
    let key = console.spine().verifier_key().await?;
    let asked =
        event::Asked { kind: Some("console.log_verified".to_owned()), ..event::Asked::default() };
    let told_last = asked.page(console, None, 1).await?.pop();
    let check = console.last_check().lock().await.clone();
    let head = log.head.as_ref();
    Ok(AuditPage {
        page: desk.page(page, "Audit"),
        desk,
        wrong: Wrong::default(),
        kept_text: String::new(),
        origin: head.map_or_else(|| key.name().to_owned(), |head| head.origin.clone()),
        size: told::grouped(head.map_or(0, |head| head.size)),
        root: checkpoint.map(|signed| signed.claimed().root().to_base64()),
        signed_at: head.filter(|head| head.note_size >= 0).map(|head| told::clock(head.note_at)),
        key: key.to_string(),
        nodes: log.nodes.iter().map(SignedLine::of).collect(),
        kept: log.kept.iter().map(SignedLine::of).collect(),
        check: check.map(|check| Checked::of(&check, now)),
        told: told_last.map(|event| format!("{} UTC, leaf {}", told::clock(event.at), event.index)),
        limit_s: CHECK_MAX.as_secs(),
    })
}

/// What the log claims, the last check, what is not covered, how to check it elsewhere
#[utoipa::path(get, path = "/console/audit", operation_id = "console.audit", tag = "console",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn show(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
) -> Result<Response, Problem> {
    let shown = audit_page(&console, (page, Desk::of(&caller)), caller.ctx.now).await?;
    html(&shown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyForm {
    /// A checkpoint that was kept outside.
    #[serde(default)]
    kept: String,
}

/// A checkpoint as a person pastes it: checked against the log's key before it is believed.
fn read_kept(text: &str, keys: Vec<VerifyKey>) -> Result<Vec<Checkpoint>, Problem> {
    let wrong = |detail: String| wrong_field("kept", &detail);
    let text = text.replace("\r\n", "\n");
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > KEPT_BYTES {
        return Err(wrong("A checkpoint is at most 16 kB.".to_owned()));
    }
    let text = format!("{}\n", text.trim());
    let signed = SignedCheckpoint::parse(text.as_bytes());
    let signed = signed.map_err(|error| wrong(format!("This is no checkpoint: {error}.")))?;
    let policy = Policy::new(keys);
    let verified = policy.and_then(|policy| policy.verify(&signed));
    let verified = verified
        .map_err(|error| wrong(format!("This log's key did not sign this checkpoint: {error}.")))?;
    Ok(vec![verified.checkpoint])
}

/// Check the whole log and every fact row against it, for at most 20 seconds
#[utoipa::path(post, path = "/console/audit/verify", operation_id = "console.verify_log",
    tag = "console",
    responses((status = 303, description = "Back to the page, with what was found"),
        (status = 409, description = "The page again: another check runs, or it takes too long"),
        (status = 422, description = "The page again: the checkpoint cannot be read")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:auditor"))))]
async fn verify(
    State(console): State<Console>,
    Operator(caller, _): Operator<Auditor>,
    page: Page,
    Form(form): Form<VerifyForm>,
) -> Result<Response, Problem> {
    let keys = console.spine().verifier_keys().await?;
    let done = match read_kept(&form.kept, keys) {
        Ok(known) => check(&console, &caller.ctx, &known).await,
        Err(problem) => Err(problem),
    };
    match done {
        Ok(()) => Ok(see_other("/console/audit")),
        Err(problem) => {
            let (status, wrong) = Wrong::shown(problem)?;
            let shown = audit_page(&console, (page, Desk::of(&caller)), caller.ctx.now).await?;
            html_with(status, &AuditPage { wrong, kept_text: form.kept, ..shown })
        }
    }
}

/// One check at a time, and none that never ends (C7).
async fn check(console: &Console, ctx: &kernel::Ctx, known: &[Checkpoint]) -> Result<(), Problem> {
    let busy = |code, detail: &str| Problem::new(Kind::Conflict, code, detail);
    let Ok(_turn) = console.checking().try_acquire() else {
        return Err(busy("console.checking", "Another check runs. Wait for it, then reload."));
    };
    let clock = console.spine().clock();
    let began = clock.now();
    let mut ignore = |_: u64| {};
    let run = console.spine().verify(known, &mut ignore);
    let Ok(found) = tokio::time::timeout(CHECK_MAX, run).await else {
        let detail = "The log is too long to be checked within a request. Run `stagedoor audit \
                      verify` on the host: it shows its progress and has no limit.";
        return Err(busy("console.check_too_long", detail));
    };
    let found = found?;
    let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
    let event = LogVerified {
        holds: found.holds(),
        size: found.size,
        rows: found.rows,
        faults: count(found.faults.len()),
        covered: found.covered,
        pending: found.pending,
    };
    let took = clock.now().since(began);
    *console.last_check().lock().await = Some(LastCheck { at: ctx.now, took, found });
    console.spine().sealer().resolve(&[Subject::House]).await.map_err(spine::Error::from)?;
    transact!(console.spine(), ctx, tx => {
        tx.emit(About::house("log", [0; 16], 0), event.clone())?;
        Ok::<_, spine::Error>(())
    })?;
    Ok(())
}

/// The latest signed checkpoint, to be kept elsewhere
#[utoipa::path(get, path = "/console/audit/checkpoint", operation_id = "console.checkpoint",
    tag = "console",
    responses((status = 200, description = "C2SP checkpoint"), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn checkpoint_file(
    State(console): State<Console>,
    _: Operator<Staff>,
) -> Result<Response, Problem> {
    let signed = console.spine().checkpoint().await?.ok_or_else(Problem::not_found)?;
    let name = format!("checkpoint-{}.txt", signed.claimed().size());
    event::file(&name, "text/plain; charset=utf-8", signed.to_string())
}

/// The log's verifier key
#[utoipa::path(get, path = "/console/audit/key", operation_id = "console.verifier_key",
    tag = "console", responses((status = 200, description = "C2SP vkey")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn key_file(State(console): State<Console>, _: Operator<Staff>) -> Result<Response, Problem> {
    let key = console.spine().verifier_key().await?;
    event::file("log.vkey", "text/plain; charset=utf-8", format!("{key}\n"))
}
