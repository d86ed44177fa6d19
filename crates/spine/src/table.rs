//! Tables declared in Rust: what each column holds, whose it is, why, and how long.
//!
//! The declarations are compared with the live schema, and drive row digests, export, erasure,
//! retention and the records of processing: a column that nobody declared does not ship.

/// What sort of table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Holds facts: each change is told by an event that carries the row's digest.
    Fact,
    /// Holds cursors, leases, deliveries, counters, stamps: changed without an event.
    Upkeep,
    /// The log itself.
    Log,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// The row's id: 16 bytes, the primary key of a fact table.
    Id,
    /// The row's version: raised by one with each change of a fact table.
    Version,
    /// A state, count, or name that is no person's.
    Plain,
    /// Personal data in the clear; needs a reason in its table's purpose.
    Personal,
    /// Sealed bytes: readable only through the vault.
    Sealed,
    /// A keyed digest that lets a sealed value be found.
    BlindIndex,
    /// The digest of a random secret of at least 128 bits.
    SecretHash,
    /// A moment in microseconds.
    Time,
}

/// What erasure of a person does to the person's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// Deletes them.
    Delete,
    /// Keeps the row and empties what is sealed, indexed or personal.
    Blank,
    /// Keeps them, for this reason; what is sealed dies with the key.
    Keep(&'static str),
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: DataKind,
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, `room_noun`.
    pub name: &'static str,
    /// What sort it is.
    pub kind: TableKind,
    /// What one row is, in words.
    pub about: &'static str,
    /// The column with the account of the person it is about; empty where it is nobody's.
    pub subject: &'static str,
    /// Why it is kept.
    pub purpose: &'static str,
    /// How long, in words that retention policy refines.
    pub retain: &'static str,
    /// What erasure does.
    pub erase: Erase,
    /// Every column.
    pub columns: &'static [Column],
    /// Reads one row by its `id` with every column, for its digest; empty but for fact tables.
    pub(crate) digest_sql: &'static str,
    /// Reads rows down from an `id`, page by page; empty but for fact tables. Downwards, because on
    /// SQLite a number or a text that was smuggled in as an id sorts below every id.
    pub(crate) page_sql: &'static str,
    /// Counts the rows that have no id, as SQLite lets them; empty but for fact tables.
    pub(crate) nameless_sql: &'static str,
}

impl Table {
    #[doc(hidden)]
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "called by the tables! macro only")]
    pub const fn declared(
        name: &'static str,
        kind: TableKind,
        about: &'static str,
        subject: &'static str,
        purpose: &'static str,
        retain: &'static str,
        erase: Erase,
        columns: &'static [Column],
        reads: (&'static str, &'static str, &'static str),
    ) -> Self {
        let (digest_sql, page_sql, nameless_sql) = reads;
        Self {
            name,
            kind,
            about,
            subject,
            purpose,
            retain,
            erase,
            columns,
            digest_sql,
            page_sql,
            nameless_sql,
        }
    }
}

/// Declares a room's tables as `pub const TABLES`.
///
/// ```
/// spine::tables! {
///     /// One thing of the demo.
///     demo_thing: fact {
///         subject = "owner_id", purpose = "shown to its owner", retain = "until erased",
///         erase = delete,
///         columns { id: Id, version: Version, owner_id: Plain, note_sealed: Sealed }
///     }
/// }
/// assert_eq!(TABLES.len(), 1);
/// ```
#[macro_export]
macro_rules! tables {
    ($($(#[doc = $about:literal])+ $name:ident: $kind:ident {
        subject = $subject:literal, purpose = $purpose:literal, retain = $retain:literal,
        erase = $erase:ident $(($why:literal))?,
        columns { $($column:ident: $data:ident),+ $(,)? }
    })+) => {
        /// The room's tables.
        #[allow(unreachable_pub, clippy::allow_attributes, reason = "for the schema check")]
        pub const TABLES: &[$crate::Table] = &[$($crate::Table::declared(
            ::core::stringify!($name),
            $crate::tables!(@kind $kind),
            ::core::concat!($($about),+),
            $subject,
            $purpose,
            $retain,
            $crate::tables!(@erase $erase $($why)?),
            &[$($crate::Column {
                name: ::core::stringify!($column),
                kind: $crate::DataKind::$data,
            }),+],
            $crate::tables!(@digest $kind $name $($column)+),
        )),+];
    };
    (@kind fact) => { $crate::TableKind::Fact };
    (@kind upkeep) => { $crate::TableKind::Upkeep };
    (@kind log) => { $crate::TableKind::Log };
    (@erase delete) => { $crate::Erase::Delete };
    (@erase blank) => { $crate::Erase::Blank };
    (@erase keep $why:literal) => { $crate::Erase::Keep($why) };
    (@digest fact $name:ident $first:ident $($column:ident)*) => {
        (
            ::core::concat!(
                "SELECT ", ::core::stringify!($first),
                $(", ", ::core::stringify!($column),)*
                " FROM ", ::core::stringify!($name), " WHERE id = $1"
            ),
            ::core::concat!(
                "SELECT ", ::core::stringify!($first),
                $(", ", ::core::stringify!($column),)*
                " FROM ", ::core::stringify!($name), " WHERE id < $1 ORDER BY id DESC LIMIT $2"
            ),
            ::core::concat!(
                "SELECT COUNT(*) AS rows_found FROM ", ::core::stringify!($name),
                " WHERE id IS NULL"
            ),
        )
    };
    (@digest $kind:ident $name:ident $($column:ident)+) => { ("", "", "") };
}
