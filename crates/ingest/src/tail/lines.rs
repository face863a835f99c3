//! Lines of a log, however long and whatever is in them.

use std::io::{self, BufRead, BufReader, Read};

use tracewell_wire::accesslog::LINE_BYTES_MAX;

/// A line goes on for at most so many bytes; what follows counts as another one. It bounds the work for files that have no
/// lines at all.
const SKIP_BYTES_MAX: u64 = 16 << 20;

/// What a reader reads at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Lines of a log, each with its place.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    offset: u64,
    line: Vec<u8>,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes without the line end, at most [`LINE_BYTES_MAX`].
    pub bytes: &'a [u8],
    /// Bytes before it.
    pub offset: u64,
    /// Its length with the line end.
    pub length: u64,
    /// There were more bytes than are here.
    pub cut: bool,
    /// It ends with a line end rather than with the file, so that nothing can be added to it.
    pub ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines from a reader that stands `offset` bytes after the start of the log.
    pub fn new(reader: R, offset: u64) -> Self {
        Self { reader: BufReader::with_capacity(CHUNK_BYTES, reader), offset, line: Vec::new() }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// Whatever the reader says.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let (mut length, mut ended) = (0u64, false);
        while !ended && length < SKIP_BYTES_MAX {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', chunk);
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            ended = end.is_some();
            let taken = part.len() + usize::from(ended);
            length += taken as u64;
            self.reader.consume(taken);
        }
        if length == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += length;
        let cut = self.line.len() > LINE_BYTES_MAX;
        self.line.truncate(LINE_BYTES_MAX);
        if !cut && self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(Some(Line { bytes: &self.line, offset, length, cut, ended: ended || length >= SKIP_BYTES_MAX }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<(Vec<u8>, u64, bool, bool)> {
        let mut lines = Lines::new(text, 100);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push((line.bytes.to_vec(), line.offset, line.cut, line.ended));
        }
        found
    }

    #[test]
    fn lines_have_their_places() {
        assert_eq!(all(b""), []);
        let expected = [
            (b"a".to_vec(), 100, false, true),
            (b"".to_vec(), 102, false, true),
            (b"b".to_vec(), 103, false, true),
            (b"c".to_vec(), 106, false, false),
        ];
        assert_eq!(all(b"a\n\nb\r\nc"), expected);
    }

    #[test]
    fn long_lines_are_cut_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 5];
        text.extend(b"\nnext\n");
        let found = all(&text);
        assert_eq!((found[0].0.len(), found[0].2), (LINE_BYTES_MAX, true));
        assert_eq!((found[1].0.as_slice(), found[1].2), (b"next".as_slice(), false));
        let mut exact = vec![b'x'; LINE_BYTES_MAX];
        exact.push(b'\n');
        assert!(!all(&exact)[0].2);
    }
}
