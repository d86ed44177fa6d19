//! The API document, put together from the rooms' routes, and the table of operations that it
//! holds: what each changes and who may ask for it (W6).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use axum::Router;
use http::StatusCode;
use thiserror::Error;
use utoipa::openapi::path::{Operation as Described, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;

use crate::problem::{Document, PROBLEM_JSON};
use crate::proof;

/// What an operation changes (`x-effect`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Facts, and it leaves an event.
    Fact,
    /// Cursors, leases, stamps: nothing that is told.
    Upkeep,
    /// Nothing.
    None,
}

/// Who may ask for an operation (`x-access`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Everyone.
    Public,
    /// A person with a live session.
    Session,
    /// An operator with this role.
    Operator(String),
    /// A service whose key has this scope.
    Service(String),
}

/// One operation of the API or of the pages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// The path, as documented (`/v1/things/{id}`).
    pub path: String,
    /// The method, in capitals.
    pub method: &'static str,
    /// Its stable name (`identity.sign_up`).
    pub id: String,
    /// What it changes.
    pub effect: Effect,
    /// Who may ask.
    pub access: Access,
}

/// Why the routes are not served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApiError {
    /// An operation lacks a word about itself.
    #[error("{method} {path} lacks {what}")]
    Missing {
        /// The method.
        method: &'static str,
        /// The path.
        path: String,
        /// What is missing: `operation_id`, `x-effect` or `x-access`.
        what: &'static str,
    },
    /// A word that is none of the known ones.
    #[error("{method} {path}: {what} is `{word}`, which is none of {known}")]
    Unknown {
        /// The method.
        method: &'static str,
        /// The path.
        path: String,
        /// `x-effect` or `x-access`.
        what: &'static str,
        /// What stands there.
        word: String,
        /// What may stand there.
        known: &'static str,
    },
    /// Two operations of one name.
    #[error("two operations are called `{0}`")]
    Twice(String),
}

const PROBLEM: &str = "Problem";
const EFFECTS: &str = "fact, upkeep, none";
const ACCESSES: &str = "public, session, operator:<role>, service:<scope>";

impl FromStr for Effect {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "fact" => Ok(Self::Fact),
            "upkeep" => Ok(Self::Upkeep),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
    }
}

impl FromStr for Access {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let name = |text: &str| {
            let fine = !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'));
            fine.then(|| text.to_owned()).ok_or(())
        };
        match word.split_once(':') {
            None if word == "public" => Ok(Self::Public),
            None if word == "session" => Ok(Self::Session),
            Some(("operator", role)) => name(role).map(Self::Operator),
            Some(("service", scope)) => name(scope).map(Self::Service),
            None | Some(_) => Err(()),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fact => "fact",
            Self::Upkeep => "upkeep",
            Self::None => "none",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Session => f.write_str("session"),
            Self::Operator(role) => write!(f, "operator:{role}"),
            Self::Service(scope) => write!(f, "service:{scope}"),
        }
    }
}

/// Routes with their document and their table of operations.
pub struct Assembled {
    /// The routes, for [`crate::serve_stack`].
    pub router: Router,
    /// The document.
    pub document: OpenApi,
    /// Every operation, by path.
    pub operations: Vec<Operation>,
}

/// Puts the rooms' routes together, and the layer around them that asks operators for a fresh proof
/// before they change facts.
///
/// # Errors
/// [`ApiError`] where an operation lacks its name, effect or access, or a name stands twice.
pub fn assemble(
    title: &str,
    version: &str,
    rooms: impl IntoIterator<Item = OpenApiRouter>,
) -> Result<Assembled, ApiError> {
    let about =
        OpenApiBuilder::new().info(InfoBuilder::new().title(title).version(version).build());
    let mut all = OpenApiRouter::with_openapi(about.build());
    for room in rooms {
        all = all.merge(room);
    }
    let (router, mut document) = all.split_for_parts();
    let components = document.components.get_or_insert_with(Components::new);
    add_security(components);
    add_problem(components);
    for item in document.paths.paths.values_mut() {
        for described in described_mut(item) {
            let refusal = Ref::from_response_name(PROBLEM).into();
            let responses = &mut described.responses.responses;
            responses.entry("default".to_owned()).or_insert(refusal);
            responses.iter_mut().for_each(|(status, response)| name_status(status, response));
        }
    }
    let operations = operations(&document)?;
    let router = proof::guard(router, &operations);
    Ok(Assembled { router, document, operations })
}

fn add_security(components: &mut Components) {
    let cookie = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("__Host-stagedoor")));
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.add_security_scheme("session", cookie);
    components.add_security_scheme("service", bearer);
}

/// What every operation may answer with instead (W1).
fn add_problem(components: &mut Components) {
    let mut schemas = vec![(PROBLEM.to_owned(), Document::schema())];
    Document::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let content = Content::new(Some(Ref::from_schema_name(PROBLEM)));
    let response = ResponseBuilder::new()
        .description("A refusal (RFC 9457)")
        .content(PROBLEM_JSON, content)
        .build();
    components.responses.insert(PROBLEM.to_owned(), response.into());
}

/// OpenAPI wants a description of every answer; the status has one.
fn name_status(status: &str, response: &mut RefOr<Response>) {
    if let RefOr::T(response) = response
        && response.description.is_empty()
    {
        let known = status.parse::<StatusCode>().ok().and_then(|s| s.canonical_reason());
        response.description = known.unwrap_or("Answered").to_owned();
    }
}

/// The table of operations of a document, by path and method.
///
/// # Errors
/// [`ApiError`] for the first operation that lacks its name, effect or access.
pub fn operations(document: &OpenApi) -> Result<Vec<Operation>, ApiError> {
    let mut operations = Vec::new();
    let mut ids = BTreeSet::new();
    for (path, item) in &document.paths.paths {
        for (method, described) in described(item) {
            let operation = read(path, method, described)?;
            if !ids.insert(operation.id.clone()) {
                return Err(ApiError::Twice(operation.id));
            }
            operations.push(operation);
        }
    }
    operations.sort();
    Ok(operations)
}

fn described(item: &PathItem) -> impl Iterator<Item = (&'static str, &Described)> {
    let all = [
        ("GET", &item.get),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("DELETE", &item.delete),
        ("OPTIONS", &item.options),
        ("HEAD", &item.head),
        ("PATCH", &item.patch),
        ("TRACE", &item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn described_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Described> {
    let all = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.options,
        &mut item.head,
        &mut item.patch,
        &mut item.trace,
    ];
    all.into_iter().filter_map(Option::as_mut)
}

fn read(path: &str, method: &'static str, described: &Described) -> Result<Operation, ApiError> {
    let missing = |what| ApiError::Missing { method, path: path.to_owned(), what };
    let unknown = |what, word: &str, known| ApiError::Unknown {
        method,
        path: path.to_owned(),
        what,
        word: word.to_owned(),
        known,
    };
    let word = |what: &'static str| {
        let found = described.extensions.as_ref().and_then(|all| all.get(what)?.as_str());
        found.ok_or_else(|| missing(what))
    };
    let id = described.operation_id.clone().filter(|id| !id.is_empty());
    let effect = word("x-effect")?;
    let access = word("x-access")?;
    Ok(Operation {
        path: path.to_owned(),
        method,
        id: id.ok_or_else(|| missing("operation_id"))?,
        effect: effect.parse().map_err(|()| unknown("x-effect", effect, EFFECTS))?,
        access: access.parse().map_err(|()| unknown("x-access", access, ACCESSES))?,
    })
}

/// The document as stable text, keys in order, to be checked in and compared.
#[must_use]
pub fn text(document: &OpenApi) -> String {
    // By way of a value: its keys are sorted, where extensions come from a hash map.
    let value = serde_json::to_value(document).unwrap_or_default();
    let mut text = serde_json::to_string_pretty(&value).unwrap_or_default();
    text.push('\n');
    text
}
