//! One log: what a process writes passes through the supervisor, which adds the process's name. A
//! process that was taken over can write what it likes, but not in another's name.

use std::io::Write as _;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::Kind;
use crate::config::LogFormat;

/// What is longer is cut into several lines.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// Passes on what a process writes, until it ends.
pub(super) async fn pass(kind: Kind, written: impl AsyncRead + Unpin, format: LogFormat) {
    let mut reader = BufReader::new(written);
    let mut line = Vec::new();
    loop {
        let Ok(buffer) = reader.fill_buf().await else { return };
        if buffer.is_empty() {
            break;
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let room = LINE_MAX_BYTES.saturating_sub(line.len());
        let taken = end.unwrap_or(buffer.len()).min(room);
        line.extend_from_slice(buffer.get(..taken).unwrap_or_default());
        let is_whole = end == Some(taken);
        reader.consume(taken.saturating_add(usize::from(is_whole)));
        if is_whole || line.len() >= LINE_MAX_BYTES {
            write(kind, &line, format);
            line.clear();
        }
    }
    if !line.is_empty() {
        write(kind, &line, format);
    }
}

fn write(kind: Kind, line: &[u8], format: LogFormat) {
    // Nobody reads the log: that is no reason to stop serving.
    let _ = writeln!(std::io::stderr().lock(), "{}", named(kind, line, format));
}

fn named(kind: Kind, line: &[u8], format: LogFormat) -> String {
    let text = String::from_utf8_lossy(line);
    let name = kind.name();
    match format {
        LogFormat::Text => format!("{name}: {text}"),
        LogFormat::Json => {
            let mut line = match serde_json::from_str(&text) {
                Ok(Value::Object(fields)) => fields,
                // A line that is no document: an error at the start, a panic.
                Ok(_) | Err(_) => {
                    [("message".to_owned(), Value::from(text.as_ref()))].into_iter().collect()
                }
            };
            line.insert("process".to_owned(), Value::from(name));
            Value::Object(line).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_bears_the_name_of_its_process_whatever_it_says() {
        let forged = br#"{"message":"all is well","process":"core"}"#;
        let line: Value =
            serde_json::from_str(&named(Kind::Edge, forged, LogFormat::Json)).unwrap();
        assert_eq!((&line["process"], &line["message"]), (&"edge".into(), &"all is well".into()));
        let line = named(Kind::Core, b"no document", LogFormat::Json);
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["process"], &line["message"]), (&"core".into(), &"no document".into()));
        assert_eq!(named(Kind::Edge, b"a line", LogFormat::Text), "edge: a line");
    }
}
