//! Rows as bytes: each value behind its kind, texts and bytes behind their length. The same bytes
//! are digested and archived, so what was counted is what was kept.

use crate::{Error, Value};

/// The most values in a row, and the longest value.
const VALUES_MAX: usize = 512;
const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;

const NULL: u8 = 0;
const INT: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;
const REAL: u8 = 4;

/// Appends a row.
pub(super) fn row(values: &[Value], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(values.len()));
    for value in values {
        match value {
            Value::NoInt | Value::NoText | Value::NoBytes => out.push(NULL),
            Value::Int(int) => {
                out.push(INT);
                out.extend_from_slice(&int.to_be_bytes());
            }
            Value::Text(text) => behind_length(TEXT, text.as_bytes(), out),
            Value::Bytes(bytes) => behind_length(BYTES, bytes, out),
            Value::Real(real) => {
                out.push(REAL);
                out.extend_from_slice(&real.to_bits().to_be_bytes());
            }
        }
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn behind_length(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Takes rows from the front of `bytes` until none is left.
pub(super) fn read_rows(mut bytes: &[u8]) -> Result<Vec<Vec<Value>>, Error> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        rows.push(read_row(&mut bytes)?);
    }
    Ok(rows)
}

fn read_row(bytes: &mut &[u8]) -> Result<Vec<Value>, Error> {
    let count = read_length(bytes, VALUES_MAX)?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let [kind] = take(bytes)?;
        values.push(match kind {
            NULL => Value::NoBytes,
            INT => Value::Int(i64::from_be_bytes(take(bytes)?)),
            TEXT => {
                let text = read_bytes(bytes)?.to_vec();
                Value::Text(String::from_utf8(text).map_err(|_| broken())?)
            }
            BYTES => Value::Bytes(read_bytes(bytes)?.to_vec()),
            REAL => Value::Real(f64::from_bits(u64::from_be_bytes(take(bytes)?))),
            _ => return Err(broken()),
        });
    }
    Ok(values)
}

fn read_length(bytes: &mut &[u8], most: usize) -> Result<usize, Error> {
    let length = u32::from_be_bytes(take(bytes)?) as usize;
    if length > most { Err(broken()) } else { Ok(length) }
}

fn read_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Error> {
    let length = read_length(bytes, VALUE_BYTES_MAX)?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(broken)?;
    *bytes = rest;
    Ok(taken)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or_else(broken)?;
    *bytes = rest;
    Ok(*taken)
}

fn broken() -> Error {
    Error::Copy("the archive holds rows that cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::NoBytes),
            any::<i64>().prop_map(Value::Int),
            ".*".prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
            any::<f64>()
                .prop_filter("equal to itself", |real| !real.is_nan())
                .prop_map(Value::Real),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            rows in prop::collection::vec(prop::collection::vec(value(), 0..6), 0..6),
        ) {
            let mut bytes = Vec::new();
            rows.iter().for_each(|values| row(values, &mut bytes));
            prop_assert_eq!(read_rows(&bytes).unwrap(), rows);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_rows(&bytes);
        }
    }
}
