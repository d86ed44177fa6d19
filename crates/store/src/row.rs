//! A row that came back, read by column name and by the type that the code expects.

use kernel::Timestamp;
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{Row as _, ValueRef as _};

use crate::{Error, Value};

/// One row of a result.
pub struct Row(pub(crate) AnyRow);

/// Shows no value: rows hold what logs must not.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({} columns)", self.0.len())
    }
}

/// A type that is made from a row.
pub trait FromRow: Sized {
    /// Reads the columns.
    ///
    /// # Errors
    /// [`Error::Column`] where one is missing or holds another type.
    fn from_row(row: &Row) -> Result<Self, Error>;
}

impl Row {
    fn read<'r, T>(&'r self, column: &'static str) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
    {
        self.0.try_get(column).map_err(|_| Error::Column { column })
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Error::Column`], as for each reader here.
    pub fn int(&self, column: &'static str) -> Result<i64, Error> {
        self.read(column)
    }

    /// Text.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn text(&self, column: &'static str) -> Result<String, Error> {
        self.read(column)
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn bytes(&self, column: &'static str) -> Result<Vec<u8>, Error> {
        self.read(column)
    }

    /// A double.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn real(&self, column: &'static str) -> Result<f64, Error> {
        self.read(column)
    }

    /// An integer, or none.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn opt_int(&self, column: &'static str) -> Result<Option<i64>, Error> {
        self.read(column)
    }

    /// Text, or none.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn opt_text(&self, column: &'static str) -> Result<Option<String>, Error> {
        self.read(column)
    }

    /// Bytes, or none.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn opt_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>, Error> {
        self.read(column)
    }

    /// The 16 bytes of an id.
    ///
    /// # Errors
    /// [`Error::Column`], also where the length is another.
    pub fn id16(&self, column: &'static str) -> Result<[u8; 16], Error> {
        self.fixed(column)
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// [`Error::Column`], also where the length is another.
    pub fn fixed<const N: usize>(&self, column: &'static str) -> Result<[u8; N], Error> {
        self.bytes(column)?.try_into().map_err(|_| Error::Column { column })
    }

    /// A moment.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn time(&self, column: &'static str) -> Result<Timestamp, Error> {
        self.int(column).map(Timestamp::from_micros)
    }

    /// A moment, or none.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn opt_time(&self, column: &'static str) -> Result<Option<Timestamp>, Error> {
        Ok(self.opt_int(column)?.map(Timestamp::from_micros))
    }

    /// A flag: 0 is false, all else true.
    ///
    /// # Errors
    /// [`Error::Column`].
    pub fn flag(&self, column: &'static str) -> Result<bool, Error> {
        Ok(self.int(column)? != 0)
    }

    /// The value of a column whatever it holds, for digests of whole rows. NULL is `NoBytes`.
    ///
    /// # Errors
    /// [`Error::Column`] where the column is missing or of none of our types.
    pub fn value(&self, column: &'static str) -> Result<Value, Error> {
        value_of(&self.0, column, column)
    }
}

/// The value in a place of a row whatever it holds; `column` names the place in an error.
pub(crate) fn value_of<P>(row: &AnyRow, place: P, column: &'static str) -> Result<Value, Error>
where
    P: sqlx::ColumnIndex<AnyRow> + Copy,
{
    use AnyTypeInfoKind::{BigInt, Blob, Bool, Double, Integer, Null, Real, SmallInt, Text};
    let fault = |_| Error::Column { column };
    let raw = row.try_get_raw(place).map_err(fault)?;
    if raw.is_null() {
        return Ok(Value::NoBytes);
    }
    Ok(match raw.type_info().kind() {
        SmallInt | Integer | BigInt => Value::Int(row.try_get(place).map_err(fault)?),
        Text => Value::Text(row.try_get(place).map_err(fault)?),
        Blob => Value::Bytes(row.try_get(place).map_err(fault)?),
        Real | Double => Value::Real(row.try_get(place).map_err(fault)?),
        Bool | Null => return Err(Error::Column { column }),
    })
}
