//! From a reader's error to the wrong field and how to mend it. What the caller sent is not
//! repeated: it may be a password, and problems are safe to log.

use serde::de::DeserializeOwned;

use crate::{FieldError, Problem};

const MAX_DETAIL_BYTES: usize = 240;

/// The problem of one field that could not be read. `path` is `.` for the document itself.
pub(super) fn wrong_field(path: &str, message: &str) -> Problem {
    let (field, detail) = explain(path, message);
    Problem::invalid_fields(vec![FieldError { field, detail }])
}

fn explain(path: &str, message: &str) -> (String, String) {
    let message = message.split(" at line ").next().unwrap_or(message);
    let quoted = message.split('`').nth(1);
    let inside = |name: &str| match path {
        "." | "" => cut(name),
        _ if path.ends_with(name) => cut(path),
        _ => cut(&format!("{path}.{name}")),
    };
    if let (Some(name), true) = (quoted, message.starts_with("missing field")) {
        return (inside(name), "is missing: send it".to_owned());
    }
    if let (Some(name), true) = (quoted, message.starts_with("unknown field")) {
        return (inside(name), "is not known here: leave it out".to_owned());
    }
    if let (Some(name), true) = (quoted, message.starts_with("duplicate field")) {
        return (inside(name), "is given twice: send it once".to_owned());
    }
    let path = if path.is_empty() { "." } else { path };
    let quoting = ["invalid type", "invalid value", "invalid length", "unknown variant"];
    if quoting.iter().any(|start| message.starts_with(start)) {
        let wanted = message.rsplit_once("expected ").map_or("another value", |(_, rest)| rest);
        return (cut(path), cut(&format!("is not what is wanted here: send {}", plainly(wanted))));
    }
    // What numbers and flags say where they are read from text.
    let unread = ["invalid digit", "cannot parse integer", "number too", "invalid float"];
    if unread.iter().any(|start| message.starts_with(start)) {
        return (cut(path), "is not what is wanted here: send a number in range".to_owned());
    }
    (cut(path), cut(message))
}

/// The name of a type in plain words.
fn plainly(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more, in range",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number in range",
        "f32" | "f64" => "a number",
        "a string" | "a borrowed string" => "text",
        "a boolean" | "bool" | "`true` or `false`" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_DETAIL_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Reads name=value pairs (forms, queries) into a type.
pub(super) fn from_pairs<T: DeserializeOwned>(pairs: &[u8]) -> Result<T, Problem> {
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(pairs));
    serde_path_to_error::deserialize(reader)
        .map_err(|error| wrong_field(&error.path().to_string(), &error.inner().to_string()))
}

/// Reads a JSON document into a type, to its last byte.
pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let inner = error.inner();
        if inner.is_data() {
            wrong_field(&error.path().to_string(), &inner.to_string())
        } else {
            malformed(inner)
        }
    })?;
    reader.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let detail = format!("The body is not JSON: mend it at line {line}, column {column}.");
    Problem::new(kernel::Kind::Invalid, "web.malformed_json", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_and_the_mend_are_named_and_the_value_is_not() {
        let cases = [
            (".", "missing field `email`", "email", "is missing: send it"),
            ("a.b", "unknown field `x`, expected `y`", "a.b.x", "is not known here: leave it out"),
            (
                "age",
                "invalid type: string \"hunter2\", expected u32 at line 1 column 9",
                "age",
                "is not what is wanted here: send a whole number, 0 or more, in range",
            ),
            (
                "kind",
                "unknown variant `secret`, expected one of `a`, `b`",
                "kind",
                "is not what is wanted here: send one of `a`, `b`",
            ),
        ];
        for (path, message, field, detail) in cases {
            assert_eq!(explain(path, message), (field.to_owned(), detail.to_owned()));
        }
    }
}
