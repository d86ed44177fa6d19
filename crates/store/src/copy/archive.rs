//! Rows in a file: a head that says what is in it, frames of rows and of small files, and an end
//! that says how much there was. What the head and the end mean is their writer's; how the file is
//! sealed, its stream's.

use std::io::{Read, Write};

use super::{Shape, Sink, encode};
use crate::{Error, Value};

/// The longest frame: a batch of rows with one long value.
const FRAME_BYTES_MAX: usize = 80 * 1024 * 1024;
/// The longest file that an archive takes.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

const HEAD: u8 = b'H';
const ROWS: u8 = b'R';
const FILE: u8 = b'F';
const END: u8 = b'E';

/// Writes an archive.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    to: W,
    frame: Vec<u8>,
}

impl<W: Write + Send> ArchiveWriter<W> {
    /// Begins one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn begin(to: W, head: &[u8]) -> Result<Self, Error> {
        let mut archive = Self { to, frame: Vec::new() };
        archive.write(HEAD, head)?;
        Ok(archive)
    }

    /// Adds a small file.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Copy`] for a name or a file that is too long.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let length = u8::try_from(name.len()).ok().filter(|_| bytes.len() <= FILE_BYTES_MAX);
        let length = length.ok_or_else(|| Error::Copy(format!("the file {name} is too long")))?;
        let frame = [&[length], name.as_bytes(), bytes].concat();
        self.write(FILE, &frame)
    }

    /// Ends it, and gives back what it was written to.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn end(mut self, end: &[u8]) -> Result<W, Error> {
        self.write(END, end)?;
        Ok(self.to)
    }

    fn write(&mut self, kind: u8, frame: &[u8]) -> Result<(), Error> {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.to.write_all(&[kind])?;
        self.to.write_all(&length)?;
        Ok(self.to.write_all(frame)?)
    }
}

impl<W: Write + Send> Sink for ArchiveWriter<W> {
    async fn put(&mut self, table: usize, rows: Vec<Vec<Value>>) -> Result<(), Error> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend_from_slice(&u16::try_from(table).unwrap_or(u16::MAX).to_be_bytes());
        rows.iter().for_each(|row| encode::row(row, &mut frame));
        let written = self.write(ROWS, &frame);
        self.frame = frame;
        written
    }
}

/// What comes next in an archive.
#[derive(Debug)]
pub enum Frame {
    /// Rows of the table of this number.
    Rows(usize, Vec<Vec<Value>>),
    /// A small file.
    File(String, Vec<u8>),
    /// The end, and what it says.
    End(Vec<u8>),
}

/// Reads an archive.
#[derive(Debug)]
pub struct ArchiveReader<R> {
    from: R,
}

impl<R: Read + Send> ArchiveReader<R> {
    /// Opens one, and gives what its head says.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Copy`] where it is none.
    pub fn open(from: R) -> Result<(Self, Vec<u8>), Error> {
        let mut archive = Self { from };
        match archive.frame()? {
            (HEAD, head) => Ok((archive, head)),
            _ => Err(broken()),
        }
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Copy`] where it cannot be read.
    pub fn read(&mut self) -> Result<Frame, Error> {
        let (kind, bytes) = self.frame()?;
        match kind {
            ROWS => {
                let (table, rows) = bytes.split_first_chunk::<2>().ok_or_else(broken)?;
                let table = usize::from(u16::from_be_bytes(*table));
                Ok(Frame::Rows(table, encode::read_rows(rows)?))
            }
            FILE => {
                let (length, rest) = bytes.split_first().ok_or_else(broken)?;
                let named = rest.split_at_checked(usize::from(*length));
                let (name, bytes) = named.ok_or_else(broken)?;
                let name = String::from_utf8(name.to_vec()).map_err(|_| broken())?;
                Ok(Frame::File(name, bytes.to_vec()))
            }
            END => {
                // Behind the end nothing may stand.
                if self.from.read(&mut [0])? != 0 {
                    return Err(broken());
                }
                Ok(Frame::End(bytes))
            }
            _ => Err(broken()),
        }
    }

    /// Pours all rows into a sink and hands out the files; gives what the end says.
    ///
    /// # Errors
    /// As [`ArchiveReader::read`], and as the sink says.
    pub async fn pour(
        mut self,
        shapes: &[Shape],
        sink: &mut impl Sink,
        files: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<Vec<u8>, Error> {
        loop {
            match self.read()? {
                Frame::Rows(table, rows) => {
                    let columns = shapes.get(table).map(|shape| shape.columns().len());
                    if rows.iter().any(|row| Some(row.len()) != columns) {
                        return Err(broken());
                    }
                    sink.put(table, rows).await?;
                }
                Frame::File(name, bytes) if files.len() < FILES_MAX => files.push((name, bytes)),
                Frame::File(..) => return Err(broken()),
                Frame::End(end) => return Ok(end),
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), Error> {
        let mut head = [0; 5];
        self.from.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(broken());
        }
        // Grows as bytes come: a length that was made up asks for no memory.
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(length as u64).read_to_end(&mut bytes)?;
        if read != length {
            return Err(broken());
        }
        Ok((kind, bytes))
    }
}

/// The most files that an archive may hold.
pub const FILES_MAX: usize = 4096;

fn broken() -> Error {
    Error::Copy("this is no archive that can be read to its end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::{Counted, Nowhere};

    #[tokio::test]
    async fn an_archive_gives_back_what_went_in_and_a_cut_one_is_refused() {
        let rows = vec![vec![Value::Int(7), Value::NoBytes], vec![Value::Int(8), Value::from("x")]];
        let mut archive = ArchiveWriter::begin(Vec::new(), b"head").unwrap();
        archive.put(0, rows.clone()).await.unwrap();
        archive.add_file("name", b"file").unwrap();
        let bytes = archive.end(b"end").unwrap();
        let shapes = [Shape::new("t", ["a", "b"]).unwrap()];
        let pour = async |bytes: &[u8]| {
            let (archive, head) = ArchiveReader::open(bytes)?;
            assert_eq!(head, b"head");
            let (mut nowhere, mut files) = (Nowhere, Vec::new());
            let mut watch = |_: usize, _: &crate::copy::Tally| {};
            let mut counted = Counted::new(&mut nowhere, 1, &mut watch);
            let end = archive.pour(&shapes, &mut counted, &mut files).await?;
            Ok::<_, Error>((end, counted.tallies(), files))
        };
        let (end, tallies, files) = pour(&bytes).await.unwrap();
        assert_eq!((end.as_slice(), tallies[0].rows), (b"end".as_slice(), 2));
        assert_eq!(files, [("name".to_owned(), b"file".to_vec())]);
        for length in 0..bytes.len() {
            assert!(pour(&bytes[..length]).await.is_err(), "cut at {length}");
        }
        assert!(pour(&[bytes.as_slice(), b"x"].concat()).await.is_err(), "something behind");
    }
}
