//! The words that this crate itself says to people (English). Rooms keep theirs in templates.

use http::StatusCode;

/// Told where something of ours broke.
pub const BROKEN: &str =
    "Something on our side went wrong. Try again; if it stays, tell us the request id.";
/// Told where nothing is.
pub const NOT_FOUND: &str = "There is nothing here. Check the address.";
/// Told where a method is not for this path.
pub const METHOD: &str =
    "This path does not take this method; the Allow header lists those it does.";
/// Told to a caller without a session.
pub const UNAUTHENTICATED: &str = "Sign in, or send a valid key in the Authorization header.";
/// Told to a caller who may not.
pub const FORBIDDEN: &str = "Your account may not do this. Ask an administrator for the role.";
/// Told to an operator whose proof is too old for a change.
pub const PASSWORD_NEEDED: &str = "It is too long ago that you proved your password. Prove it again \
                                   on our page, or sign in anew, and repeat this.";
/// Told above the list of wrong fields.
pub const INVALID_FIELDS: &str = "Some fields are wrong; each is named with how to mend it.";
/// Told where a form's token is missing, wrong or another session's.
pub const CSRF: &str = "This form is too old or was not sent from our page. Reload the page and \
                        send it again.";
/// Told where a page of another site sent the request.
pub const CROSS_SITE: &str = "This request was not proved to come from our own page. Send it from \
                              there, or send an Origin header that names this site.";
/// Told where a body is too large.
pub const TOO_LARGE: &str = "The body is too large for this path.";
/// Told where a handler took too long.
pub const TIMEOUT: &str = "This took too long and was stopped. Try again in a moment.";
/// Told where the body is not the kind of document that is wanted.
pub const NOT_JSON: &str = "Send the body as JSON, with Content-Type: application/json.";
/// Told where the body is not a form.
pub const NOT_FORM: &str =
    "Send the body as a form, with Content-Type: application/x-www-form-urlencoded.";
/// Told where a body ended early or could not be read.
pub const BODY_LOST: &str = "The body could not be read to its end. Send it again.";
/// Told where a form is not what a form is.
pub const MALFORMED_FORM: &str = "The form cannot be read: send name=value pairs, percent-encoded.";
/// Told where too many streams are open.
pub const STREAMS_FULL: &str = "Too many live streams are open. Try again in a moment.";

/// What a status is called, for a person.
#[must_use]
pub fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "The request is wrong",
        StatusCode::UNAUTHORIZED => "Sign in first",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        StatusCode::CONFLICT => "Not possible in this state",
        StatusCode::PAYLOAD_TOO_LARGE => "Too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "Wrong kind of document",
        StatusCode::UNPROCESSABLE_ENTITY => "Some fields are wrong",
        StatusCode::TOO_MANY_REQUESTS => "Too much, too fast",
        StatusCode::SERVICE_UNAVAILABLE => "Not available just now",
        StatusCode::INTERNAL_SERVER_ERROR => "Something went wrong",
        other => other.canonical_reason().unwrap_or("Refused"),
    }
}
