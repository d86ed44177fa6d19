//! Statements as constants (S1), each with the sort of table that it may touch.

use std::marker::PhantomData;

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Reads only.
    Read,
    /// Changes a fact table: must be told of by an event, and returns `id` first.
    Fact,
    /// Changes an upkeep table: cursors, leases, counters, stamps.
    Upkeep,
}

/// Marks a statement that only reads.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnly;
/// Marks a statement that changes a fact table.
#[derive(Clone, Copy, Debug)]
pub struct Fact;
/// Marks a statement that changes an upkeep table.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep;

/// A statement of the sort `K`. Made by [`sql!`](crate::sql) only.
#[derive(Debug)]
pub struct Sql<K> {
    text: &'static str,
    table: &'static str,
    sort: PhantomData<K>,
}

impl<K> Sql<K> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(text: &'static str, table: &'static str) -> Self {
        Self { text, table, sort: PhantomData }
    }

    /// The SQL text, the same for both databases.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.text
    }

    /// The table that it changes; empty for a read.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.table
    }
}

macro_rules! listed {
    ($sort:ty, $kind:ident) => {
        impl Sql<$sort> {
            /// The statement in its room's list, for the tests that prepare them all.
            #[must_use]
            pub const fn statement(&self, name: &'static str) -> Statement {
                Statement { name, text: self.text, table: self.table, kind: StatementKind::$kind }
            }
        }
    };
}

listed!(ReadOnly, Read);
listed!(Fact, Fact);
listed!(Upkeep, Upkeep);

/// A statement in a room's list.
#[derive(Clone, Copy, Debug)]
pub struct Statement {
    /// The constant's name.
    pub name: &'static str,
    /// The SQL text.
    pub text: &'static str,
    /// The table that it changes; empty for a read.
    pub table: &'static str,
    /// What it does.
    pub kind: StatementKind,
}

/// Declares the statements of a file, and `STATEMENTS`, their list:
///
/// ```
/// spine_like::sql! {
///     read   FIND = "SELECT id FROM demo_thing WHERE id = $1";
///     fact   MAKE in demo_thing = "INSERT INTO demo_thing (id, version) VALUES ($1, 1) RETURNING id";
///     upkeep TOUCH in demo_use = "UPDATE demo_use SET at = $2 WHERE id = $1";
/// }
/// # use store as spine_like;
/// # assert_eq!(STATEMENTS.len(), 3);
/// ```
#[macro_export]
macro_rules! sql {
    ($($(#[$doc:meta])* $kind:ident $name:ident $(in $table:ident)? = $text:expr;)+) => {
        $($crate::sql!(@one $(#[$doc])* $kind $name $($table)? = $text);)+
        pub(crate) const STATEMENTS: &[$crate::Statement] =
            &[$($name.statement(::core::stringify!($name))),+];
    };
    (@one $(#[$doc:meta])* read $name:ident = $text:expr) => {
        $(#[$doc])*
        pub(crate) const $name: $crate::Sql<$crate::ReadOnly> = $crate::Sql::new($text, "");
    };
    (@one $(#[$doc:meta])* fact $name:ident $table:ident = $text:expr) => {
        $(#[$doc])*
        pub(crate) const $name: $crate::Sql<$crate::Fact> =
            $crate::Sql::new($text, ::core::stringify!($table));
    };
    (@one $(#[$doc:meta])* upkeep $name:ident $table:ident = $text:expr) => {
        $(#[$doc])*
        pub(crate) const $name: $crate::Sql<$crate::Upkeep> =
            $crate::Sql::new($text, ::core::stringify!($table));
    };
}

/// The length of what [`repeat`] makes.
#[must_use]
pub const fn repeat_len(head: &str, columns: usize, rows: usize, tail: &str) -> usize {
    let mut length = head.len() + tail.len();
    let mut number = 1;
    while number <= columns * rows {
        // `$`, the digits, and one of `,` `(` `)` around each; see repeat
        length += 1 + digits(number) + 1;
        number += 1;
    }
    // each row has one bracket more than it has commas, and a comma before it but for the first
    length + rows + rows - 1
}

const fn digits(mut number: usize) -> usize {
    let mut count = 1;
    while number >= 10 {
        number /= 10;
        count += 1;
    }
    count
}

/// Makes `head ($1,$2),($3,$4)… tail` at compile time: one statement for many rows (S1). `LEN` is
/// [`repeat_len`] of the same arguments; see [`multi_row!`](crate::multi_row).
#[must_use]
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "runs at compile time only: a wrong index does not compile"
)]
pub const fn repeat<const LEN: usize>(
    head: &str,
    columns: usize,
    rows: usize,
    tail: &str,
) -> [u8; LEN] {
    let mut text = [0u8; LEN];
    let mut at = 0;
    let mut from = 0;
    while from < head.len() {
        text[at] = head.as_bytes()[from];
        at += 1;
        from += 1;
    }
    let mut number = 1;
    while number <= columns * rows {
        let first = (number - 1) % columns == 0;
        if first && number > 1 {
            text[at] = b',';
            at += 1;
        }
        text[at] = if first { b'(' } else { b',' };
        text[at + 1] = b'$';
        let count = digits(number);
        let mut rest = number;
        let mut place = count;
        while place > 0 {
            text[at + 1 + place] = b'0' + (rest % 10) as u8;
            rest /= 10;
            place -= 1;
        }
        at += 2 + count;
        if number % columns == 0 {
            text[at] = b')';
            at += 1;
        }
        number += 1;
    }
    from = 0;
    while from < tail.len() {
        text[at] = tail.as_bytes()[from];
        at += 1;
        from += 1;
    }
    text
}

/// A statement for `$rows` rows of `$columns` values as a constant text:
/// `multi_row!("INSERT INTO t (a, b) VALUES ", 2, 64, " RETURNING id")`.
#[macro_export]
macro_rules! multi_row {
    ($head:expr, $columns:expr, $rows:expr, $tail:expr) => {{
        const LEN: usize = $crate::repeat_len($head, $columns, $rows, $tail);
        const TEXT: [u8; LEN] = $crate::repeat($head, $columns, $rows, $tail);
        match ::core::str::from_utf8(&TEXT) {
            Ok(text) => text,
            Err(_) => "",
        }
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn many_rows_in_one_constant() {
        const TWO: &str = multi_row!("INSERT INTO t (a, b) VALUES ", 2, 2, " RETURNING a");
        assert_eq!(TWO, "INSERT INTO t (a, b) VALUES ($1,$2),($3,$4) RETURNING a");
        const ONE: &str = multi_row!("V ", 1, 12, "");
        assert_eq!(ONE, "V ($1),($2),($3),($4),($5),($6),($7),($8),($9),($10),($11),($12)");
    }
}
