//! How the kernel's values stand in an API document (OpenAPI 3.1): written once, here.

use utoipa::openapi::schema::{KnownFormat, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::{ID_TEXT_LEN, Timestamp};

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .description(Some("A moment: microseconds since 1970, UTC."))
            .into()
    }
}

impl ToSchema for Timestamp {}

/// An id: its prefix, an underscore and 26 letters and digits.
#[must_use]
pub fn of_id(prefix: &str) -> RefOr<Schema> {
    let pattern = format!("^{prefix}_[0-9a-hjkmnp-tv-z]{{{ID_TEXT_LEN}}}$");
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some(pattern))
        .description(Some(format!("An id: `{prefix}_…`.")))
        .into()
}
