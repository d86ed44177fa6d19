//! Words: small closed sets that are stored, sent and shown as one lower-case word.
//!
//! One macro makes the enum, its text and its reading, so that a row, an event and an API answer
//! never spell the same thing in two ways.

/// Declares a set of words: `words! { /// doc  pub State { /// doc  Active = "active", } }`.
macro_rules! words {
    ($(#[$doc:meta])* $vis:vis $name:ident {
        $($(#[$word_doc:meta])* $word:ident = $text:literal,)+
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

            /// Reads the word of a column.
            #[allow(dead_code, clippy::allow_attributes, reason = "not every word is a column")]
            pub(crate) fn of_row(
                row: &spine::Row,
                column: &'static str,
            ) -> Result<Self, spine::StoreError> {
                Self::parse(&row.text(column)?).ok_or(spine::StoreError::Column { column })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;
