//! Words: small closed sets that are stored, sent and shown as one lower-case word.
//!
//! One macro makes the enum, its text and its reading, so that a row, an event, an API answer and a
//! form never spell the same thing in two ways.

use store::{Error as StoreError, Row};

/// A set of words that [`words!`](crate::words) declared.
pub trait Word: Sized + 'static {
    /// Reads the word; none for any other text.
    fn read(text: &str) -> Option<Self>;
}

/// Reads the word of a row's column.
///
/// # Errors
/// [`StoreError::Column`] where the column is missing or holds no word of the set.
pub fn word_of<W: Word>(row: &Row, column: &'static str) -> Result<W, StoreError> {
    W::read(&row.text(column)?).ok_or(StoreError::Column { column })
}

/// Declares a set of words: `words! { /// doc  pub State { /// doc  Active = "active", } }`. The
/// crate that does so depends on `serde` and `utoipa`.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis $name:ident {
        // Not `literal`: utoipa would not see through it and document the name of the variant.
        $($(#[$word_doc:meta])* $word:ident = $text:tt,)+
    }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        $vis enum $name {
            $($(#[$word_doc])* #[serde(rename = $text)] $word,)+
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// The word, as stored and sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }

            /// Reads the word; none for any other text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl $crate::Word for $name {
            fn read(text: &str) -> Option<Self> {
                Self::parse(text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
