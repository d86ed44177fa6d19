//! The pages of events: the list, one event with its proof, its files, the look at what is sealed.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use kernel::{Ctx, EventId};
use spine::{About, Opened, Recorded, Subject, transact};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Admin, App, Form, Operator, Page, Path, Problem, Query, Staff, html};

use super::live::{Live, session_over};
use super::proof::Drawn;
use super::{
    Asked, Line, Shown, Wanted, actor, capitalised, sealed_fields, spoken, tone, with_unit,
};
use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::events::{PersonalDataRevealed, Revealed};
use crate::room::Console;
use crate::sight::Sight;
use crate::told;

const ROWS: i64 = 50;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(follow))
        .routes(routes!(show))
        .routes(routes!(ask_reveal, reveal))
        .routes(routes!(proof_file))
        .routes(routes!(entry_file))
}

/// One choice of the kinds, with the room that it belongs to.
struct Kinds {
    room: &'static str,
    kinds: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    page: Page,
    desk: Desk,
    wanted: Wanted,
    rooms: Vec<Kinds>,
    lines: Vec<Line>,
    /// Where the live list comes from; none on older pages.
    stream: Option<String>,
    older: Option<String>,
}

impl EventsPage {
    /// Whether this choice is the present one.
    fn is_kind(&self, kind: &str) -> bool {
        self.wanted.kind == kind
    }

    /// Whether this choice is the present one: all of a room.
    fn is_room(&self, room: &str) -> bool {
        self.wanted.kind.strip_suffix('.') == Some(room)
    }
}

fn kinds(console: &Console) -> Vec<Kinds> {
    let mut rooms: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for spec in console.catalogue() {
        let room = spec.kind.split_once('.').map_or(spec.kind, |(room, _)| room);
        rooms.entry(room).or_default().push(spec.kind);
    }
    rooms.into_iter().map(|(room, kinds)| Kinds { room, kinds }).collect()
}

/// Events, newest first, and new ones as they come
#[utoipa::path(get, path = "/console/events", operation_id = "console.list_events",
    tag = "console",
    params(
        ("kind" = Option<String>, Query, description = "A kind, or a room with its dot"),
        ("actor" = Option<String>, Query, description = "What sort of actor"),
        ("account" = Option<String>, Query, description = "Whose"),
        ("before" = Option<i64>, Query, description = "Only older than this leaf")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let asked = wanted.check(desk.sight)?;
    let events = asked.page(&console, wanted.before, ROWS).await?;
    let query = asked.query();
    let full = i64::try_from(events.len()) == Ok(ROWS);
    let oldest = events.last().filter(|_| full);
    let older = oldest.map(|event| format!("/console/events?before={}{query}", event.index));
    let newest = events.first().map_or(-1, |event| event.index);
    let live = wanted.before.is_none();
    let stream = live.then(|| format!("/console/events/stream?after={newest}{query}"));
    let now = caller.ctx.now;
    let shown = events.iter().filter(|event| asked.takes(event));
    let lines = shown.map(|event| Line::of(&console, event, now)).collect();
    let rooms = kinds(&console);
    let page = desk.page(page, "Events");
    html(&EventsPage { page, desk, wanted, rooms, lines, stream, older })
}

/// New events as server-sent events, for the page of events
#[utoipa::path(get, path = "/console/events/stream", operation_id = "console.follow_events",
    tag = "console",
    params(
        ("kind" = Option<String>, Query, description = "A kind, or a room with its dot"),
        ("actor" = Option<String>, Query, description = "What sort of actor"),
        ("account" = Option<String>, Query, description = "Whose"),
        ("after" = Option<i64>, Query, description = "Only newer than this leaf")),
    responses((status = 200, description = "A stream of flat documents, one an event")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn follow(
    State(console): State<Console>,
    app: App,
    Operator(caller, _): Operator<Staff>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = wanted.check(Sight::of(&caller.roles))?;
    // A browser that comes back says what it saw last (WHATWG HTML section 9.2.4).
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let last = match seen.or(wanted.after) {
        Some(after) => after,
        None => newest(&console, &asked).await?,
    };
    let of = (caller.account, caller.session);
    let over = session_over(console.clone(), caller.ctx.clone(), of, caller.roles.clone());
    let live = Live { console, ctx: caller.ctx, asked, last };
    app.streams.open(live.stream(), over)
}

async fn newest(console: &Console, asked: &Asked) -> Result<i64, spine::Error> {
    Ok(asked.page(console, None, 1).await?.first().map_or(-1, |event| event.index))
}

/// A clear field.
struct Clear {
    name: String,
    value: String,
}

impl Clear {
    fn of(name: &str, value: &serde_json::Value) -> Self {
        let (name, value) = with_unit(name, value);
        Self { name: capitalised(&name), value }
    }
}

#[derive(Template)]
#[template(path = "event.html")]
struct EventPage {
    page: Page,
    desk: Desk,
    event: String,
    kind: String,
    what: String,
    /// The whole of the words, where the headline is only their beginning.
    more: Option<String>,
    tone: &'static str,
    actor: &'static str,
    at: String,
    machine: String,
    ago: String,
    index: String,
    aggregate: String,
    account: Option<String>,
    plain: Vec<Clear>,
    /// Whether retention took the body.
    deleted: bool,
    sealed: Vec<Shown>,
    retain_days: Option<u32>,
    /// Whether this page shows whole values.
    revealed: bool,
    may_reveal: bool,
    proof: Option<Drawn>,
}

/// The proof of an event; none where it is under no checkpoint yet.
async fn drawn(console: &Console, id: EventId) -> Result<Option<Drawn>, Problem> {
    let key = console.spine().verifier_key().await?;
    match console.spine().prove(id).await {
        Ok(proof) => Ok(Some(Drawn::of(&proof, &key))),
        Err(spine::Error::NoSuchEvent) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn event_page(
    console: &Console,
    (page, desk, ctx): (Page, Desk, &Ctx),
    event: &Recorded,
    sight: Sight,
) -> Result<Response, Problem> {
    let proof = drawn(console, event.id).await?;
    let what = console.headline(&event.kind);
    let more = Some(console.words_of(&event.kind)).filter(|words| *words != what);
    let open = matches!(&event.sealed, Opened::Whole(fields) if !fields.is_empty());
    let plain = event.plain.iter();
    let account = event.account().filter(|_| desk.sees()).map(|account| account.to_string());
    html(&EventPage {
        page: desk.page(page, event.kind.clone()),
        event: event.id.to_string(),
        tone: tone(&event.kind),
        actor: actor(&event.actor_kind),
        at: told::clock(event.at),
        machine: told::machine(event.at),
        ago: told::ago(ctx.now, event.at),
        index: told::grouped(event.index),
        aggregate: spoken(&event.aggregate),
        account,
        plain: plain.map(|(name, value)| Clear::of(name, value)).collect(),
        deleted: event.sealed == Opened::Deleted,
        sealed: sealed_fields(console, event, sight),
        retain_days: console.spec(&event.kind).map(|spec| spec.retain_days),
        revealed: sight == Sight::Whole,
        may_reveal: desk.admin && open && sight != Sight::Whole,
        kind: event.kind.clone(),
        desk,
        what,
        more,
        proof,
    })
}

/// One event: what happened, what is sealed, and its proof step by step
#[utoipa::path(get, path = "/console/events/{id}", operation_id = "console.show_event",
    tag = "console", params(("id" = String, Path, description = "The event")),
    responses((status = 200, description = "The page"), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn show(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
    Path(id): Path<EventId>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let event = console.spine().event(id).await?;
    let sight = desk.sight;
    event_page(&console, (page, desk, &caller.ctx), &event, sight).await
}

fn reveal_act(id: EventId) -> Act {
    Act {
        title: "Show personal data",
        text: "The sealed part of this event is shown to you in the clear, once. That you looked, \
               and why, is an event that nobody can take back.",
        target: id.to_string(),
        action: format!("/console/events/{id}/reveal"),
        button: "Show it",
        back: format!("/console/events/{id}"),
    }
}

/// The question before personal data of an event is shown
#[utoipa::path(get, path = "/console/events/{id}/reveal",
    operation_id = "console.ask_reveal_event", tag = "console",
    params(("id" = String, Path, description = "The event")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:admin"))))]
async fn ask_reveal(
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Path(id): Path<EventId>,
) -> Result<Response, Problem> {
    reveal_act(id).ask(page, Desk::of(&caller))
}

/// Show the sealed part of an event in the clear, and tell that it was shown
#[utoipa::path(post, path = "/console/events/{id}/reveal", operation_id = "console.reveal_event",
    tag = "console", params(("id" = String, Path, description = "The event")),
    responses((status = 200, description = "The event's page with whole values"),
        (status = 404), (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn reveal(
    State(console): State<Console>,
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Path(id): Path<EventId>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let asked = (page.clone(), desk.clone());
    let act = async |reason: &str| {
        let event = console.spine().event(id).await?;
        if !matches!(event.sealed, Opened::Whole(_)) {
            return event_page(&console, (page, desk, &caller.ctx), &event, Sight::Masked).await;
        }
        let about = match event.account() {
            Some(account) => About::thing_of(account, "event", *id.as_bytes(), 0),
            None => About::house("event", *id.as_bytes(), 0),
        };
        let told = PersonalDataRevealed {
            what: Revealed::Event,
            kind: event.kind.clone(),
            event: Some(id),
            reason: reason.to_owned(),
        };
        tell(&console, &caller.ctx, about, told).await?;
        event_page(&console, (page, desk, &caller.ctx), &event, Sight::Whole).await
    };
    reveal_act(id).carry_out(asked, &form, act).await
}

/// Tells of a look, before anything is shown (C2).
pub(crate) async fn tell(
    console: &Console,
    ctx: &Ctx,
    about: About,
    look: PersonalDataRevealed,
) -> Result<(), spine::Error> {
    console.spine().sealer().resolve(&[about.subject, Subject::House]).await?;
    transact!(console.spine(), ctx, tx => {
        tx.emit(about, look.clone())?;
        Ok::<_, spine::Error>(())
    })
}

/// A file to take along.
pub(crate) fn file(
    name: &str,
    kind: &'static str,
    body: impl Into<axum::body::Body>,
) -> Result<Response, Problem> {
    let disposition = format!("attachment; filename=\"{name}\"");
    let disposition = HeaderValue::from_str(&disposition)
        .map_err(|error| Problem::broken("console.file_name", error))?;
    let mut response = body.into().into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// The proof of an event as a tlog-proof file
#[utoipa::path(get, path = "/console/events/{id}/proof", operation_id = "console.event_proof",
    tag = "console", params(("id" = String, Path, description = "The event")),
    responses((status = 200, description = "C2SP tlog-proof: index, proof, signed checkpoint"),
        (status = 404, description = "No such event, or it is under no checkpoint yet")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn proof_file(
    State(console): State<Console>,
    _: Operator<Staff>,
    Path(id): Path<EventId>,
) -> Result<Response, Problem> {
    let proof = console.spine().prove(id).await?.proof.to_string();
    file(&format!("{id}.tlog-proof"), "text/plain; charset=utf-8", proof)
}

/// The bytes of an event's entry, which its leaf hashes
#[utoipa::path(get, path = "/console/events/{id}/entry", operation_id = "console.event_entry",
    tag = "console", params(("id" = String, Path, description = "The event")),
    responses((status = 200, description = "The entry: pseudonyms and hashes, no personal data"),
        (status = 404, description = "No such event, or it is under no checkpoint yet")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn entry_file(
    State(console): State<Console>,
    _: Operator<Staff>,
    Path(id): Path<EventId>,
) -> Result<Response, Problem> {
    let entry = console.spine().prove(id).await?.entry;
    file(&format!("{id}.entry"), "application/octet-stream", entry)
}
