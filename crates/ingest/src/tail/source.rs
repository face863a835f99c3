//! Where the bytes of a log come from: plain, gzip or zstd, told by the first bytes.

use std::io::{self, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// First bytes that are looked at to tell a log's format.
const SAMPLE_BYTES_MAX: u64 = 256 << 10;

/// The bytes of a log, decompressed where its first bytes say that it is gzip or zstd.
///
/// # Errors
/// Whatever the reader says.
pub fn decompressed(mut reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::with_capacity(4);
    Read::by_ref(&mut reader).take(4).read_to_end(&mut magic)?;
    let (gzip, zstd) = (magic.starts_with(&[0x1f, 0x8b]), magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let whole = Cursor::new(magic).chain(reader);
    Ok(match (gzip, zstd) {
        (true, _) => Box::new(MultiGzDecoder::new(whole)),
        (_, true) => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// True for names of compressed logs, which do not grow.
pub fn is_compressed_name(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["gz", "zst", "bz2", "xz", "zip"].iter().any(|known| ending == *known))
}

/// The beginning of a log, and a reader that still begins there.
///
/// # Errors
/// Whatever the reader says.
pub fn sample(mut reader: Box<dyn Read + Send>) -> io::Result<(String, Box<dyn Read + Send>)> {
    let mut begin = Vec::new();
    Read::by_ref(&mut reader).take(SAMPLE_BYTES_MAX).read_to_end(&mut begin)?;
    let text = String::from_utf8_lossy(&begin).into_owned();
    Ok((text, Box::new(Cursor::new(begin).chain(reader))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn compressed_logs_are_read_as_plain_ones() {
        let text = b"a line\nanother\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let zstd = zstd::encode_all(text.as_slice(), 1).unwrap();
        for bytes in [text.to_vec(), gzip.finish().unwrap(), zstd] {
            let (begin, mut whole) = sample(decompressed(Cursor::new(bytes)).unwrap()).unwrap();
            let mut read = Vec::new();
            whole.read_to_end(&mut read).unwrap();
            assert_eq!((begin.as_bytes(), read.as_slice()), (text.as_slice(), text.as_slice()));
        }
    }
}
