//! How questions and answers travel: a version, lengths, JSON, and behind an answer its keys as they
//! are. Bounded in length; what holds keys is wiped.

use kernel::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::aead::{KEY_LEN, take_key};
use crate::holder::BATCH_MAX;
use crate::holder::ask::{Answer, Ask, Said};

/// The version of all that passes.
const VERSION: u8 = 1;
/// The longest JSON of a question or answer, bytes: 512 keys with their names take some 100 kB.
pub(crate) const TEXT_MAX: usize = 256 * 1024;

/// Why a frame was not read or written.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The stream itself, or its end inside of a frame.
    Io(std::io::Error),
    /// Not a frame of this version, too long, or no question or answer that is known.
    Frame(&'static str),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Broken> for std::io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Io(error) => error,
            Broken::Frame(what) => Self::new(std::io::ErrorKind::InvalidData, what),
        }
    }
}

fn length(bytes: usize) -> Result<[u8; 4], Broken> {
    let fits = u32::try_from(bytes).ok().filter(|_| bytes <= TEXT_MAX);
    fits.map(u32::to_be_bytes).ok_or(Broken::Frame("too long"))
}

async fn text(from: &mut (impl AsyncRead + Unpin), length: [u8; 4]) -> Result<Vec<u8>, Broken> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > TEXT_MAX {
        return Err(Broken::Frame("too long"));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A question as bytes.
pub(crate) fn question(ask: &Ask) -> Result<Vec<u8>, Broken> {
    let text = serde_json::to_vec(ask).map_err(|_| Broken::Frame("no question"))?;
    let mut frame = Vec::with_capacity(5 + text.len());
    frame.push(VERSION);
    frame.extend_from_slice(&length(text.len())?);
    frame.extend_from_slice(&text);
    Ok(frame)
}

/// The first byte of a frame; none at the stream's orderly end.
pub(crate) async fn first(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<u8>, Broken> {
    let mut byte = [0];
    Ok((from.read(&mut byte).await? > 0).then_some(byte[0]))
}

/// The rest of a question, behind its first byte.
pub(crate) async fn read_question(
    from: &mut (impl AsyncRead + Unpin),
    version: u8,
) -> Result<Ask, Broken> {
    if version != VERSION {
        return Err(Broken::Frame("another version"));
    }
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let text = text(from, head).await?;
    serde_json::from_slice(&text).map_err(|_| Broken::Frame("an unknown question"))
}

/// Writes an answer. Its buffer has its whole room from the beginning: a buffer that grows leaves
/// copies behind that nobody wipes.
pub(crate) async fn write_answer(
    to: &mut (impl AsyncWrite + Unpin),
    answer: &Answer,
) -> Result<(), Broken> {
    let text = serde_json::to_vec(&answer.said).map_err(|_| Broken::Frame("no answer"))?;
    let count = u16::try_from(answer.keys.len()).map_err(|_| Broken::Frame("too many keys"))?;
    let mut frame = Vec::with_capacity(7 + text.len() + KEY_LEN * answer.keys.len());
    frame.push(VERSION);
    frame.extend_from_slice(&length(text.len())?);
    frame.extend_from_slice(&count.to_be_bytes());
    frame.extend_from_slice(&text);
    for key in &answer.keys {
        frame.extend_from_slice(key.expose());
    }
    let frame = Secret::new(frame);
    Ok(to.write_all(frame.expose()).await?)
}

/// Reads an answer.
pub(crate) async fn read_answer(from: &mut (impl AsyncRead + Unpin)) -> Result<Answer, Broken> {
    let mut head = [0; 7];
    from.read_exact(&mut head).await?;
    let [version, a, b, c, d, high, low] = head;
    let count = usize::from(u16::from_be_bytes([high, low]));
    if version != VERSION || count > BATCH_MAX {
        return Err(Broken::Frame("no answer of this version"));
    }
    let text = text(from, [a, b, c, d]).await?;
    let said: Said = serde_json::from_slice(&text).map_err(|_| Broken::Frame("an odd answer"))?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let mut bytes = [0; KEY_LEN];
        from.read_exact(&mut bytes).await?;
        keys.extend(take_key(&bytes));
        zeroize::Zeroize::zeroize(&mut bytes);
    }
    Ok(Answer { said, keys })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Ask, Broken> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut from = bytes;
            match first(&mut from).await? {
                Some(version) => read_question(&mut from, version).await,
                None => Err(Broken::Frame("nothing")),
            }
        })
    }

    #[test]
    fn only_whole_known_questions_of_this_version_are_read() {
        let whole = question(&Ask::AddEpoch { epoch: 7 }).unwrap();
        assert!(matches!(read(&whole), Ok(Ask::AddEpoch { epoch: 7 })));
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut to {cut}");
        }
        let mut other = whole.clone();
        other[0] = 2;
        assert!(matches!(read(&other), Err(Broken::Frame("another version"))));
        let mut long = whole;
        long[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(read(&long), Err(Broken::Frame("too long"))));
        for text in ["{\"give_root\":{}}", "\"open\"", "{\"add_epoch\":{\"epoch\":1,\"more\":2}}"] {
            let mut frame = vec![VERSION];
            frame.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(text.as_bytes());
            assert!(matches!(read(&frame), Err(Broken::Frame("an unknown question"))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let mut framed = vec![VERSION, 0, 0, 0, u8::try_from(bytes.len()).unwrap()];
            framed.extend_from_slice(&bytes);
            let _ = read(&framed);
        }
    }
}
