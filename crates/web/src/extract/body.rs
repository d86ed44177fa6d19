//! Bodies: forms with their token (W3), JSON, and forms of machines. Each is read to its limit and
//! no further (W5).

use std::error::Error;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kernel::{Kind, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fields::{from_json, from_pairs};
use crate::stack::too_large;
use crate::{App, Problem, csrf, proof, texts};

const FORM: &str = "application/x-www-form-urlencoded";
const FORM_BYTES: usize = 64 * 1024;
const FORM_PAIRS: usize = 256;

/// A form of one of our pages, at most 64 kB and 256 fields; its token is checked and taken off, and
/// so is a proof, which the layer of proofs has seen by then.
#[derive(Clone, Copy, Debug)]
pub struct Form<T>(pub T);

/// A form that no cookie authenticates, as OAuth clients send (RFC 6749): no token, at most
/// 64 kB. It is refused where our session cookie comes with it from another page.
#[derive(Clone, Copy, Debug)]
pub struct MachineForm<T>(pub T);

/// A JSON document of at most `MAX_BYTES`; also an answer. Types should deny unknown fields.
#[derive(Clone, Copy, Debug)]
pub struct Json<T, const MAX_BYTES: usize = 65_536>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let sent = Sent::read(&parts, body).await?;
        from_pairs(sent.encoded(None).as_bytes()).map(Self)
    }
}

/// A form of one of our pages as it was sent, its token checked: what the house itself asked for
/// is taken off, what is left is the page's.
pub(crate) struct Sent {
    /// The password that was typed to prove who acts.
    pub(crate) proof: Option<Secret<String>>,
    /// The page's own fields.
    pub(crate) fields: Vec<(String, String)>,
}

impl Sent {
    pub(crate) async fn read(parts: &Parts, body: Body) -> Result<Self, Problem> {
        let app = App::of(parts)?;
        let bytes = form_body(&parts.method, &parts.headers, body).await?;
        let (mut token, mut proof, mut fields) = (None, None, Vec::new());
        for (count, (name, value)) in form_urlencoded::parse(&bytes).enumerate() {
            if count >= FORM_PAIRS {
                return Err(malformed());
            }
            match name.as_ref() {
                csrf::FIELD => token = Some(value.into_owned()),
                proof::FIELD => proof = Some(Secret::new(value.into_owned())),
                _ => fields.push((name.into_owned(), value.into_owned())),
            }
        }
        csrf::check(app, &parts.headers, token.as_deref())?;
        Ok(Self { proof, fields })
    }

    /// The page's own fields as a body, with a token where one is given.
    pub(crate) fn encoded(&self, token: Option<&str>) -> String {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(&self.fields);
        if let Some(token) = token {
            body.append_pair(csrf::FIELD, token);
        }
        body.finish()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for MachineForm<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        App::of(&parts)?;
        let bytes = form_body(&parts.method, &parts.headers, body).await?;
        if form_urlencoded::parse(&bytes).take(FORM_PAIRS + 1).count() > FORM_PAIRS {
            return Err(malformed());
        }
        from_pairs(&bytes).map(Self)
    }
}

impl<T, S, const MAX_BYTES: usize> FromRequest<S> for Json<T, MAX_BYTES>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        App::of(&parts)?;
        if !is_json(media_type(&parts.headers)) {
            return Err(wrong_type(texts::NOT_JSON));
        }
        let bytes = read(body, MAX_BYTES).await?;
        from_json(&bytes).map(Self)
    }
}

impl<T: Serialize, const MAX_BYTES: usize> IntoResponse for Json<T, MAX_BYTES> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
                (kind, body).into_response()
            }
            Err(error) => Problem::broken("web.json", error).into_response(),
        }
    }
}

async fn form_body(method: &Method, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    // A form in an address would stand in logs and histories.
    let posted = *method != Method::GET && *method != Method::HEAD;
    if !posted || !is_form(headers) {
        return Err(wrong_type(texts::NOT_FORM));
    }
    read(body, FORM_BYTES).await
}

async fn read(body: Body, max_bytes: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if over_limit(error.as_ref()) => Err(too_large()),
        Err(_) => Err(Problem::new(Kind::Invalid, "web.body_lost", texts::BODY_LOST)),
    }
}

/// Whether this reader's limit or the stack's own was met, at any depth of the chain.
fn over_limit(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    for _ in 0..8 {
        let Some(error) = next else { break };
        if error.is::<LengthLimitError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether the body is a form.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    media_type(headers) == FORM
}

/// The media type without its parameters, in small letters; empty where there is none.
fn media_type(headers: &HeaderMap) -> String {
    let whole = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    whole.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn is_json(media: String) -> bool {
    media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
}

fn wrong_type(detail: &'static str) -> Problem {
    Problem::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "web.media_type", detail)
}

fn malformed() -> Problem {
    Problem::new(Kind::Invalid, "web.malformed_form", texts::MALFORMED_FORM)
}
