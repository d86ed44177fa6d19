//! What a Redis or Valkey server says (RESP3): read from bytes that may be anybody's, with a bound on
//! every length, count and depth.

use std::io;

/// The largest text that is taken.
pub(crate) const TEXT_BYTES_MAX: usize = 512 * 1024;
/// The most parts of one reply.
const PARTS_MAX: usize = 1_024;
/// The longest line of a length, a number or an error.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// How deep replies may lie within each other.
const DEPTH_MAX: usize = 4;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// A short word: `OK`, `PONG`; also numbers that are no integers, as text.
    Word(String),
    /// The server's refusal.
    Refused(String),
    /// A number.
    Int(i64),
    /// A text, of any bytes.
    Text(Vec<u8>),
    /// Nothing.
    Nil,
    /// Several; a map is its keys and values in turn.
    Parts(Vec<Reply>),
    /// Said unasked: a message of a channel.
    Push(Vec<Reply>),
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a reply of Redis: {what}"))
}

/// Reads one reply from the front of `bytes`; gives it with its length, or none where more is needed.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<(Reply, usize)>> {
    let mut reader = Reader { bytes, at: 0 };
    let reply = reader.reply(DEPTH_MAX)?;
    Ok(reply.map(|reply| (reply, reader.at)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn reply(&mut self, depth: usize) -> io::Result<Option<Reply>> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (sort, rest) = line.split_at_checked(1).ok_or_else(|| wrong("an empty line"))?;
        Ok(Some(match sort {
            "+" | "," | "(" | "#" => Reply::Word(rest.to_owned()),
            "-" => Reply::Refused(rest.to_owned()),
            ":" => Reply::Int(rest.parse().map_err(|_| wrong("a number"))?),
            "_" => Reply::Nil,
            "$" | "=" | "!" => match self.text(rest)? {
                Some(text) if sort == "!" => {
                    Reply::Refused(String::from_utf8_lossy(&text.unwrap_or_default()).into_owned())
                }
                Some(text) => text.map_or(Reply::Nil, Reply::Text),
                None => return Ok(None),
            },
            "*" | "~" | ">" | "%" => {
                if rest == "-1" {
                    return Ok(Some(Reply::Nil));
                }
                let each = if sort == "%" { 2 } else { 1 };
                let Some(parts) = self.parts(rest, each, depth)? else { return Ok(None) };
                if sort == ">" { Reply::Push(parts) } else { Reply::Parts(parts) }
            }
            _ => return Err(wrong("an unknown sort")),
        }))
    }

    /// A line without its end; none where it is not all there.
    fn line(&mut self) -> io::Result<Option<String>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = rest.windows(2).take(LINE_BYTES_MAX).position(|two| two == b"\r\n") else {
            let long = rest.len() > LINE_BYTES_MAX;
            return if long { Err(wrong("a long line")) } else { Ok(None) };
        };
        let line = rest.get(..end).unwrap_or_default();
        self.at += end + 2;
        String::from_utf8(line.to_vec()).map(Some).map_err(|_| wrong("a line"))
    }

    /// A text of a length; the inner none is the server's nothing.
    fn text(&mut self, length: &str) -> io::Result<Option<Option<Vec<u8>>>> {
        if length == "-1" {
            return Ok(Some(None));
        }
        let length: usize = length.parse().map_err(|_| wrong("a length"))?;
        if length > TEXT_BYTES_MAX {
            return Err(wrong("a text that is too long"));
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(text) = rest.get(..length + 2) else { return Ok(None) };
        let text = text.strip_suffix(b"\r\n").ok_or_else(|| wrong("a text without an end"))?;
        let text = text.to_vec();
        self.at += length + 2;
        Ok(Some(Some(text)))
    }

    fn parts(&mut self, count: &str, each: usize, depth: usize) -> io::Result<Option<Vec<Reply>>> {
        let count: usize = count.parse().map_err(|_| wrong("a count"))?;
        let count = count.saturating_mul(each);
        if count > PARTS_MAX || depth == 0 {
            return Err(wrong("too many parts"));
        }
        let mut parts = Vec::new();
        for _ in 0..count {
            let Some(part) = self.reply(depth - 1)? else { return Ok(None) };
            parts.push(part);
        }
        Ok(Some(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Reply {
        // no prefix of a reply is taken for the whole
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]).unwrap(), None, "{end}");
        }
        let (reply, length) = parse(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        reply
    }

    #[test]
    fn replies_are_read_whole_or_not_yet() {
        assert_eq!(whole(b"+OK\r\n"), Reply::Word("OK".to_owned()));
        assert_eq!(whole(b":-7\r\n"), Reply::Int(-7));
        assert_eq!(whole(b"$-1\r\n"), Reply::Nil);
        assert_eq!(whole(b"-NOAUTH no\r\n"), Reply::Refused("NOAUTH no".to_owned()));
        let push = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\na\r\nb\r\n";
        let texts = ["message".as_bytes(), b"c", b"a\r\nb"].map(|text| Reply::Text(text.to_vec()));
        assert_eq!(whole(push), Reply::Push(texts.to_vec()));
        let map = b"%1\r\n+server\r\n*2\r\n_\r\n#t\r\n";
        let inner = Reply::Parts(vec![Reply::Nil, Reply::Word("t".to_owned())]);
        assert_eq!(whole(map), Reply::Parts(vec![Reply::Word("server".to_owned()), inner]));
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_held() {
        for text in [
            "$999999999\r\n",
            "*99999\r\n",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
            "?\r\n",
            "\r\n",
            ":x\r\n",
            "$1\r\nabc\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(&vec![b'+'; LINE_BYTES_MAX + 2]).is_err());
    }
}
