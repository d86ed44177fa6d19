//! Tables declared in Rust: what each column holds, whose it is, why, and how long.
//!
//! The declarations are compared with the live schema, and drive row digests, export, erasure,
//! retention and the records of processing: a column that nobody declared does not ship.

use store::{Statement, StatementKind};

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
    /// The spine deletes them ([`Erasure`](crate::Erasure)): the room does nothing for it.
    Delete,
    /// This consumer of the room deletes them, because it alone writes them and must keep the
    /// order of the log; or the room's own verb, where it names the room.
    DeleteIn(&'static str),
    /// This consumer of the room, or its own verb, keeps the rows and empties what is sealed,
    /// indexed or personal.
    BlankIn(&'static str),
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
    /// Came later than its table: absent in a row, it is left out of the row's digest, so that rows
    /// that were told of before it came, or by an older program since, still are what was told.
    pub added: bool,
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
    /// The columns with the accounts of the persons it is about; none where it is nobody's.
    pub subjects: &'static [&'static str],
    /// Why it is kept.
    pub purpose: &'static str,
    /// How long, in words.
    pub retain: &'static str,
    /// The moment from which a row is kept, and for how many days; the spine deletes it then
    /// ([`Spine::retire_rows`](crate::Spine::retire_rows)). None: the room keeps its own word.
    pub delete_after: Option<(&'static str, u32)>,
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
    /// Deletes rows of one person, a bounded number of facts at a time; empty but for
    /// [`Erase::Delete`].
    pub(crate) erase_sql: &'static str,
    /// Deletes rows whose time is over, a bounded number of facts at a time; empty where none are.
    pub(crate) retire_sql: &'static str,
}

impl Table {
    #[doc(hidden)]
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "called by the tables! macro only")]
    pub const fn declared(
        name: &'static str,
        kind: TableKind,
        about: &'static str,
        subjects: &'static [&'static str],
        purpose: &'static str,
        retain: &'static str,
        erase: Erase,
        columns: &'static [Column],
        reads: (&'static str, &'static str, &'static str),
        erase_sql: &'static str,
        (delete_after, retire_sql): (Option<(&'static str, u32)>, &'static str),
    ) -> Self {
        let (digest_sql, page_sql, nameless_sql) = reads;
        Self {
            name,
            kind,
            about,
            subjects,
            purpose,
            retain,
            delete_after,
            erase,
            columns,
            digest_sql,
            page_sql,
            nameless_sql,
            erase_sql,
            retire_sql,
        }
    }
}

impl Table {
    /// The statements that the declaration makes, for the check of all statements.
    pub(crate) fn derived(&self) -> Vec<Statement> {
        let kind = match self.kind {
            TableKind::Fact => StatementKind::Fact,
            TableKind::Upkeep => StatementKind::Upkeep,
            TableKind::Log => return Vec::new(),
        };
        let all = [("erase", self.erase_sql), ("retire", self.retire_sql)].into_iter();
        let all = all.filter(|(_, text)| !text.is_empty());
        all.map(|(name, text)| Statement { name, kind, text, table: self.name }).collect()
    }
}

/// Declares a room's tables as `pub const TABLES`. A table that is about several persons names all
/// their columns: `subject = "buyer" | "seller"`. Rows that shall go some days after a moment of
/// theirs say so after `retain`: `delete_after = ("dropped_at", 30)`. Columns that a later migration
/// added stand in `added { … }` behind the first ones; they may be NULL.
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
        subject = $($subject:literal)|+, purpose = $purpose:literal, retain = $retain:literal,
        $(delete_after = ($since:literal, $days:literal),)?
        erase = $erase:ident $(($why:literal))?,
        columns { $($column:ident: $data:ident),+ $(,)? }
        $(added { $($later:ident: $later_data:ident),+ $(,)? })?
    })+) => {
        /// The room's tables.
        #[allow(unreachable_pub, clippy::allow_attributes, reason = "for the schema check")]
        pub const TABLES: &[$crate::Table] = &[$($crate::Table::declared(
            ::core::stringify!($name),
            $crate::tables!(@kind $kind),
            ::core::concat!($($about),+),
            $crate::tables!(@subjects $($subject)+),
            $purpose,
            $retain,
            $crate::tables!(@erase $erase $($why)?),
            &[$($crate::Column {
                name: ::core::stringify!($column),
                kind: $crate::DataKind::$data,
                added: false,
            }),+ $(, $($crate::Column {
                name: ::core::stringify!($later),
                kind: $crate::DataKind::$later_data,
                added: true,
            }),+)?],
            $crate::tables!(@digest $kind $name $($column)+ $($($later)+)?),
            $crate::tables!(@wipe $kind $erase $name $($subject)+),
            $crate::tables!(@retire $kind $name $($since $days)?),
        )),+];
    };
    (@subjects "") => { &[] };
    (@subjects $($subject:literal)+) => { &[$($subject),+] };
    (@kind fact) => { $crate::TableKind::Fact };
    (@kind upkeep) => { $crate::TableKind::Upkeep };
    (@kind log) => { $crate::TableKind::Log };
    (@erase delete) => { $crate::Erase::Delete };
    (@erase delete_in $consumer:literal) => { $crate::Erase::DeleteIn($consumer) };
    (@erase blank_in $consumer:literal) => { $crate::Erase::BlankIn($consumer) };
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
    (@wipe fact delete $name:ident $first:literal $($subject:literal)*) => {
        ::core::concat!(
            "DELETE FROM ", ::core::stringify!($name), " WHERE id IN (SELECT id FROM ",
            ::core::stringify!($name), " WHERE ", $first, " = $1",
            $(" OR ", $subject, " = $1",)*
            " ORDER BY id LIMIT $2) RETURNING id"
        )
    };
    (@wipe upkeep delete $name:ident $first:literal $($subject:literal)*) => {
        ::core::concat!(
            "DELETE FROM ", ::core::stringify!($name), " WHERE ", $first, " = $1"
            $(, " OR ", $subject, " = $1")*
        )
    };
    (@wipe $kind:ident $erase:ident $name:ident $($subject:literal)+) => { "" };
    (@retire $kind:ident $name:ident) => { (None, "") };
    (@retire fact $name:ident $since:literal $days:literal) => {
        (
            Some(($since, $days)),
            ::core::concat!(
                "DELETE FROM ", ::core::stringify!($name), " WHERE id IN (SELECT id FROM ",
                ::core::stringify!($name), " WHERE ", $since,
                " < $1 ORDER BY id LIMIT $2) RETURNING id"
            ),
        )
    };
    (@retire upkeep $name:ident $since:literal $days:literal) => {
        (
            Some(($since, $days)),
            ::core::concat!(
                "DELETE FROM ", ::core::stringify!($name), " WHERE ", $since, " < $1"
            ),
        )
    };
}
