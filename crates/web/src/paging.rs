//! Lists in pages (W5): a cursor that says where the next page begins, never a page number, so
//! that rows that come and go between two pages are neither shown twice nor lost.

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use kernel::Limits;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{FieldError, Problem, Query};

const MAX_CURSOR_BYTES: usize = 96;
const DEFAULT_ROWS: i64 = 50;

/// Where a page begins: the sort key of the last row of the page before. Callers treat its text
/// as opaque; rooms check its bytes like any other input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// A cursor after the row with this sort key.
    #[must_use]
    pub fn after(key: &[u8]) -> Self {
        Self(key.to_vec())
    }

    /// The sort key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.0
    }

    /// The text for callers.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_BYTES * 4 / 3 + 1 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok().map(Self)
    }
}

/// Which page of a list is asked for: `?after=<cursor>&limit=<rows>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Where it begins; the start of the list where none.
    pub after: Option<Cursor>,
    /// Rows at most, 1 to [`Limits::PAGE_ROWS`].
    pub limit: i64,
}

impl Paging {
    /// The id that the page begins after, for lists in order of their ids.
    ///
    /// # Errors
    /// 422 where the cursor is no id: it is not `next` of a page of this list.
    pub fn after_id(&self) -> Result<Option<[u8; 16]>, Problem> {
        let id = self.after.as_ref().map(|cursor| cursor.key().try_into());
        id.transpose().map_err(|_| wrong("after", NEXT))
    }
}

const NEXT: &str = "must be `next` of the page before, or left out";

fn wrong(field: &str, detail: impl Into<String>) -> Problem {
    Problem::invalid_fields(vec![FieldError { field: field.to_owned(), detail: detail.into() }])
}

/// The parameters as a caller writes them; for the API document.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PagingParams {
    /// `next` of the page before.
    after: Option<String>,
    /// Rows at most, 1 to 200; 50 where not said.
    limit: Option<i64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(params) = Query::<PagingParams>::from_request_parts(parts, state).await?;
        let limit = params.limit.unwrap_or(DEFAULT_ROWS);
        if !(1..=Limits::PAGE_ROWS).contains(&limit) {
            let detail = format!("must be 1 to {}", Limits::PAGE_ROWS);
            return Err(wrong("limit", detail));
        }
        let after = match params.after.as_deref() {
            None | Some("") => None,
            Some(text) => Some(Cursor::read(text).ok_or_else(|| wrong("after", NEXT))?),
        };
        Ok(Self { after, limit })
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// `after` of the next page; none where this is the last.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// A page from up to `limit + 1` rows that were read: the one too many says that more follow.
    #[must_use]
    pub fn cut(mut rows: Vec<T>, limit: i64, key: impl Fn(&T) -> Cursor) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| key(row).text());
        Self { items: rows, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_too_many_says_that_more_follow() {
        let key = |row: &u8| Cursor::after(&[*row]);
        let first = Listing::cut(vec![1, 2, 3], 2, key);
        assert_eq!(first.items, [1, 2]);
        assert_eq!(Cursor::read(&first.next.unwrap()).unwrap().key(), [2]);
        assert_eq!(Listing::cut(vec![3], 2, key).next, None);
        assert_eq!(Listing::cut(vec![], 2, key).next, None);
    }

    // W5
    #[test]
    fn a_cursor_is_bounded() {
        assert!(Cursor::read(&"A".repeat(4000)).is_none());
        assert!(Cursor::read("not a cursor").is_none());
    }
}
