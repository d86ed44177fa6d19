//! What a supervisor and its processes tell each other: documents, and open descriptors beside
//! them, over a pair of sockets that nobody else holds. Four bytes of length, then JSON.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The largest document: certificates and authorities of many names.
const DOCUMENT_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Descriptors beside one document.
const DESCRIPTORS_MAX: usize = 4;

/// Sends a document, and descriptors beside it.
pub(super) fn send<T: Serialize>(
    socket: &UnixStream,
    told: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let document = Zeroizing::new(serde_json::to_vec(told)?);
    let length = u32::try_from(document.len()).ok();
    let length = length.filter(|_| document.len() <= DOCUMENT_MAX_BYTES).ok_or_else(too_long)?;
    send_with(socket, &length.to_be_bytes(), descriptors)?;
    (&*socket).write_all(&document)
}

/// The next document, and the descriptors beside it; none where the other end is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let (count, descriptors) = receive_with(socket, &mut length)?;
    if count == 0 {
        return Ok(None);
    }
    let rest = length.get_mut(count..).unwrap_or_default();
    (&*socket).read_exact(rest)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > DOCUMENT_MAX_BYTES {
        return Err(too_long());
    }
    let mut document = Zeroizing::new(vec![0; length]);
    (&*socket).read_exact(&mut document)?;
    Ok(Some((serde_json::from_slice(&document)?, descriptors)))
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the document is too long")
}

/// Sends a few bytes at once, with descriptors beside them.
pub(super) fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives at most so many bytes, and what descriptors came beside them.
pub(super) fn receive_with(
    socket: impl AsFd,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(bytes)];
    let came = recvmsg(socket, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((came.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_descriptors_arrive_together() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (left, right) = UnixStream::pair().unwrap();
        send(&ours, &"first", &[left.as_fd()]).unwrap();
        send(&ours, &"second", &[]).unwrap();
        let (told, descriptors) = receive::<String>(&theirs).unwrap().unwrap();
        assert_eq!((told.as_str(), descriptors.len()), ("first", 1));
        let passed = UnixStream::from(descriptors.into_iter().next().unwrap());
        (&passed).write_all(b"x").unwrap();
        drop((passed, left));
        let mut read = Vec::new();
        (&right).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"x");
        let (told, descriptors) = receive::<String>(&theirs).unwrap().unwrap();
        assert_eq!((told.as_str(), descriptors.len()), ("second", 0));
        drop(ours);
        assert!(receive::<String>(&theirs).unwrap().is_none());
    }

    #[test]
    fn a_length_that_is_too_long_is_refused_before_it_is_read() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&ours).write_all(&u32::MAX.to_be_bytes()).unwrap();
        let refused = receive::<String>(&theirs).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
