//! Which protocol a connection speaks, told from its first bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest HTTP method that is waited for.
const METHOD_BYTES_MAX: usize = 24;

/// What a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    /// A TLS handshake on a port without TLS.
    Tls,
    /// Neither.
    Junk,
    /// Closed before a byte came.
    Silent,
}

/// The protocol that `start` begins, or `None` while more bytes are needed.
fn decide(start: &[u8]) -> Option<Protocol> {
    if start.is_empty() {
        return None;
    }
    if HTTP2_PREFACE.starts_with(start) {
        return (start.len() == HTTP2_PREFACE.len()).then_some(Protocol::Http2);
    }
    if start.starts_with(HTTP2_PREFACE) {
        return Some(Protocol::Http2);
    }
    if start.first() == Some(&0x16) && start.get(1).is_none_or(|version| *version == 0x03) {
        return (start.len() >= 2).then_some(Protocol::Tls);
    }
    // Empty lines before the request line are to be ignored (RFC 9112, section 2.2).
    let line = start.trim_ascii_start();
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match line.get(method) {
        Some(b' ') if method > 0 => Some(Protocol::Http1),
        None if start.len() < METHOD_BYTES_MAX => None,
        _ => Some(Protocol::Junk),
    }
}

/// Reads until the protocol is clear and gives the stream back as if nothing had been read.
pub(crate) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Protocol, Rewound<S>)> {
    let mut start = BytesMut::with_capacity(2048);
    loop {
        if let Some(protocol) = decide(&start) {
            return Ok((protocol, Rewound { start: start.freeze(), stream }));
        }
        if stream.read_buf(&mut start).await? == 0 {
            let protocol = if start.is_empty() { Protocol::Silent } else { Protocol::Junk };
            return Ok((protocol, Rewound { start: start.freeze(), stream }));
        }
    }
}

/// A stream with bytes put back before it.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    start: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        let taken = self.start.len().min(out.remaining());
        out.put_slice(self.start.get(..taken).unwrap_or_default());
        self.start.advance(taken);
        if self.start.is_empty() {
            // The allocation is not needed any more; a connection may live for days.
            self.start = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes() {
        for (start, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"PO", None),
            (b"POST", None),
            (b"POST ", Some(Protocol::Http1)),
            (b"\r\nGET / HTTP/1.1", Some(Protocol::Http1)),
            (b"PRI * HT", None),
            (HTTP2_PREFACE, Some(Protocol::Http2)),
            (b"PRI * HTTP/1.1\r\n", Some(Protocol::Http1)),
            (b"\x16", None),
            (b"\x16\x03\x01\x02\x00\x01", Some(Protocol::Tls)),
            (b"\x16\x10", Some(Protocol::Junk)),
            (b"\x00\x01\x02", Some(Protocol::Junk)),
            (b"hello\n", Some(Protocol::Junk)),
            (b" ", None),
            (b"  /", Some(Protocol::Junk)),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", Some(Protocol::Junk)),
        ] {
            assert_eq!(decide(start), expected, "{:?}", String::from_utf8_lossy(start));
        }
    }

    #[tokio::test]
    async fn what_was_read_is_read_again() {
        let text = b"POST /v1/traces HTTP/1.1\r\n\r\n";
        let (protocol, mut stream) = sniff(&text[..]).await.unwrap();
        let mut again = Vec::new();
        stream.read_to_end(&mut again).await.unwrap();
        assert_eq!((protocol, again.as_slice()), (Protocol::Http1, &text[..]));
    }
}
