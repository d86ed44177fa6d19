//! Values that are bound to a statement: the few types that both databases keep alike.

use kernel::Timestamp;

/// One bound value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A 64-bit integer; also flags (0, 1) and times (microseconds).
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes; also ids.
    Bytes(Vec<u8>),
    /// A double.
    Real(f64),
    /// NULL where an integer would stand.
    NoInt,
    /// NULL where text would stand.
    NoText,
    /// NULL where bytes would stand.
    NoBytes,
}

macro_rules! from {
    ($($source:ty => |$value:ident| $made:expr;)+) => {$(
        impl From<$source> for Value {
            fn from($value: $source) -> Self {
                $made
            }
        }
    )+};
}

from! {
    i64 => |value| Self::Int(value);
    i32 => |value| Self::Int(i64::from(value));
    u32 => |value| Self::Int(i64::from(value));
    u16 => |value| Self::Int(i64::from(value));
    bool => |value| Self::Int(i64::from(value));
    f64 => |value| Self::Real(value);
    Timestamp => |value| Self::Int(value.micros());
    String => |value| Self::Text(value);
    &str => |value| Self::Text(value.to_owned());
    &String => |value| Self::Text(value.clone());
    Vec<u8> => |value| Self::Bytes(value);
    &[u8] => |value| Self::Bytes(value.to_vec());
    &Vec<u8> => |value| Self::Bytes(value.clone());
    Option<i64> => |value| value.map_or(Self::NoInt, Self::Int);
    Option<Timestamp> => |value| value.map_or(Self::NoInt, Self::from);
    Option<String> => |value| value.map_or(Self::NoText, Self::Text);
    Option<&str> => |value| value.map_or(Self::NoText, Self::from);
    Option<Vec<u8>> => |value| value.map_or(Self::NoBytes, Self::Bytes);
    Option<&[u8]> => |value| value.map_or(Self::NoBytes, Self::from);
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<const N: usize> From<Option<[u8; N]>> for Value {
    fn from(value: Option<[u8; N]>) -> Self {
        value.map_or(Self::NoBytes, Self::from)
    }
}

/// The bound values of a statement, in the order of its `$n`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { ::std::vec![$($crate::Value::from($value)),*] };
}
