//! What stands in the address: the parts of its path and its query.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path as AxumPath, RawPathParams};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::fields::{from_pairs, wrong_field};
use crate::{App, Problem};

/// The parts of the path that the route names.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

/// The query.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        App::of(parts)?;
        match AxumPath::<T>::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                Err(explain(error.kind(), &only_name(parts, state).await))
            }
            Err(other) => Err(Problem::broken("web.path", other)),
        }
    }
}

/// The name of the part that is wrong where the error does not say: the only one there is.
async fn only_name<S: Send + Sync>(parts: &mut Parts, state: &S) -> String {
    let Ok(all) = RawPathParams::from_request_parts(parts, state).await else {
        return "path".to_owned();
    };
    let mut names = all.iter().map(|(name, _)| name.to_owned());
    match (names.next(), names.next()) {
        (Some(name), None) => name,
        (None, _) | (Some(_), Some(_)) => "path".to_owned(),
    }
}

fn explain(kind: &ErrorKind, name: &str) -> Problem {
    match kind {
        ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
            wrong_field(key, &format!("invalid value, expected {expected_type}"))
        }
        ErrorKind::DeserializeError { key, message, .. } => wrong_field(key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => {
            wrong_field(key, "is not UTF-8: percent-encode its UTF-8 bytes")
        }
        ErrorKind::ParseErrorAtIndex { expected_type, .. }
        | ErrorKind::ParseError { expected_type, .. } => {
            wrong_field(name, &format!("invalid value, expected {expected_type}"))
        }
        ErrorKind::Message(message) => wrong_field(name, message),
        // What is left is a route that does not fit its handler: our own fault.
        other => Problem::broken("web.path", other.to_string()),
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        App::of(parts)?;
        // The stack bounds the whole address.
        from_pairs(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}
