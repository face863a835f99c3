//! Decompression in bounded steps: a step writes only into the spare capacity that it is given, so that a bomb costs what
//! its reader allows and not what it expands to.

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Window of a zstd frame that is accepted, as a power of two: 64 MiB, the default limit of a whole body.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// Members of one gzip body. Each costs the set-up of a decoder, so their number is bounded (bgzip and pigz cut at 64 KiB
/// and above: 1,024 members in a body of 64 MiB).
const GZIP_MEMBERS_MAX: u32 = 16_384;

/// A content coding of a body or a gRPC message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Encoding {
    /// What the listeners take, as in `accept-encoding` and `grpc-accept-encoding`.
    pub(crate) const ACCEPTED: &'static str = "identity,gzip,deflate,zstd";

    /// The coding of that name, in any case; `None` for one that is not known.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let known = [
            ("gzip", Self::Gzip),
            ("zstd", Self::Zstd),
            ("deflate", Self::Deflate),
            ("identity", Self::Identity),
            ("x-gzip", Self::Gzip),
            ("", Self::Identity),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim())).map(|(_, encoding)| encoding)
    }
}

/// Bytes that are not what their coding says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not valid {encoding}: {reason}")]
pub(crate) struct InflateError {
    encoding: &'static str,
    reason: String,
}

/// A decoder between two steps.
pub(crate) enum Inflater {
    Gzip(Zlib),
    Deflate(Zlib),
    Zstd(Zstd),
}

/// Gzip, zlib or raw deflate.
pub(crate) struct Zlib {
    /// `None` before the first byte and between two gzip members.
    decoder: Option<Decompress>,
    members: u32,
}

/// Zstandard: any number of frames.
pub(crate) struct Zstd {
    decoder: Decoder<'static>,
    inside_frame: bool,
}

impl Inflater {
    /// A decoder for `encoding`; `None` for identity, which needs none.
    pub(crate) fn new(encoding: Encoding) -> Result<Option<Self>, InflateError> {
        let zlib = || Zlib { decoder: None, members: 0 };
        Ok(match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => Some(Self::Gzip(zlib())),
            Encoding::Deflate => Some(Self::Deflate(zlib())),
            Encoding::Zstd => {
                let fail = |e: std::io::Error| InflateError { encoding: "zstd", reason: e.to_string() };
                let mut decoder = Decoder::new().map_err(fail)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(fail)?;
                Some(Self::Zstd(Zstd { decoder, inside_frame: false }))
            }
        })
    }

    /// Decodes from `input` into the spare capacity of `out` and says how much of the input is done. Call again while
    /// input is left, and with what is left (even nothing) while `out` comes back full.
    pub(crate) fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, InflateError> {
        match self {
            Self::Gzip(zlib) => zlib.step("gzip", input, out),
            Self::Deflate(zlib) => zlib.step("deflate", input, out),
            Self::Zstd(zstd) => zstd.step(input, out),
        }
    }

    /// Checks that the input ended where its coding ends.
    pub(crate) fn finish(&self) -> Result<(), InflateError> {
        let (encoding, whole) = match self {
            Self::Gzip(zlib) => ("gzip", zlib.decoder.is_none() && zlib.members > 0),
            Self::Deflate(zlib) => ("deflate", zlib.decoder.is_none() && zlib.members > 0),
            Self::Zstd(zstd) => ("zstd", !zstd.inside_frame),
        };
        if whole { Ok(()) } else { Err(InflateError { encoding, reason: "it ends in the middle of the data".into() }) }
    }
}

impl Zlib {
    fn step(&mut self, encoding: &'static str, input: &[u8], out: &mut Vec<u8>) -> Result<usize, InflateError> {
        let fail = |reason: String| InflateError { encoding, reason };
        let decoder = match (&mut self.decoder, input.first()) {
            (Some(decoder), _) => decoder,
            (None, None) => return Ok(0),
            (None, Some(first)) => {
                let members_max = if encoding == "gzip" { GZIP_MEMBERS_MAX } else { 1 };
                if self.members >= members_max {
                    return Err(fail(format!("there are bytes after the end of the data ({members_max} member(s))")));
                }
                self.members += 1;
                self.decoder.insert(match encoding {
                    "gzip" => Decompress::new_gzip(15),
                    // "deflate" is zlib by the letter, raw deflate in many clients. A raw stream never starts with the
                    // zlib method nibble 8: that would be a stored block with a padding bit set.
                    _ => Decompress::new(first & 0x0f == 8),
                })
            }
        };
        let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress_vec(input, out, FlushDecompress::None).map_err(|e| fail(e.to_string()))?;
        let consumed = (decoder.total_in() - before_in) as usize;
        let produced = decoder.total_out() - before_out;
        match status {
            Status::StreamEnd => self.decoder = None,
            Status::Ok | Status::BufError => {
                let stuck = consumed == 0 && produced == 0 && !input.is_empty() && out.len() < out.capacity();
                if stuck {
                    return Err(fail("the decoder makes no progress".into()));
                }
            }
        }
        Ok(consumed)
    }
}

impl Zstd {
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, InflateError> {
        if input.is_empty() && !self.inside_frame {
            return Ok(0);
        }
        let start = out.len();
        let mut source = InBuffer::around(input);
        let mut target = OutBuffer::around_pos(out, start);
        let hint = self
            .decoder
            .run(&mut source, &mut target)
            .map_err(|e| InflateError { encoding: "zstd", reason: e.to_string() })?;
        self.inside_frame = hint != 0;
        Ok(source.pos())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Decodes with input and output cut into pieces of these sizes.
    fn decode(encoding: Encoding, data: &[u8], in_bytes: usize, out_bytes: usize) -> Result<Vec<u8>, InflateError> {
        let mut inflater = Inflater::new(encoding)?.unwrap();
        let mut all = Vec::new();
        for mut piece in data.chunks(in_bytes) {
            loop {
                let mut out = Vec::with_capacity(out_bytes);
                let consumed = inflater.step(piece, &mut out)?;
                piece = &piece[consumed..];
                all.extend_from_slice(&out);
                if piece.is_empty() && out.len() < out.capacity() {
                    break;
                }
            }
        }
        inflater.finish()?;
        Ok(all)
    }

    proptest! {
        #[test]
        fn every_coding_gives_back_what_went_in_however_it_is_cut(
            data in proptest::collection::vec(0u8..8, 0..5_000), in_bytes in 1usize..600, out_bytes in 1usize..600,
        ) {
            let zstd = zstd::bulk::compress(&data, 1).unwrap();
            prop_assert_eq!(&decode(Encoding::Gzip, &gzip(&data), in_bytes, out_bytes).unwrap(), &data);
            prop_assert_eq!(&decode(Encoding::Deflate, &zlib(&data), in_bytes, out_bytes).unwrap(), &data);
            prop_assert_eq!(&decode(Encoding::Deflate, &raw_deflate(&data), in_bytes, out_bytes).unwrap(), &data);
            prop_assert_eq!(&decode(Encoding::Zstd, &zstd, in_bytes, out_bytes).unwrap(), &data);
        }

        #[test]
        fn arbitrary_bytes_end_in_an_error_or_in_data(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
                let _ = decode(encoding, &data, 64, 256);
            }
        }
    }

    #[test]
    fn several_members_and_frames_are_one_body() {
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode(Encoding::Gzip, &twice, 5, 3).unwrap(), b"one two");
        let twice = [zstd::bulk::compress(b"one ", 1).unwrap(), zstd::bulk::compress(b"two", 1).unwrap()].concat();
        assert_eq!(decode(Encoding::Zstd, &twice, 5, 3).unwrap(), b"one two");
    }

    #[test]
    fn a_cut_or_followed_body_is_an_error() {
        let data = vec![7u8; 1000];
        for (encoding, whole) in [
            (Encoding::Gzip, gzip(&data)),
            (Encoding::Deflate, zlib(&data)),
            (Encoding::Zstd, zstd::bulk::compress(&data, 1).unwrap()),
        ] {
            for cut in [1, whole.len() / 2, whole.len() - 1] {
                assert!(decode(encoding, &whole[..cut], 64, 64).is_err(), "{encoding:?} cut at {cut}");
            }
            let followed = [whole.as_slice(), b"junk"].concat();
            assert!(decode(encoding, &followed, 64, 64).is_err(), "{encoding:?} followed by junk");
        }
    }

    #[test]
    fn names_are_matched_in_any_case() {
        assert_eq!(Encoding::parse("GZIP"), Some(Encoding::Gzip));
        assert_eq!(Encoding::parse(" zstd "), Some(Encoding::Zstd));
        assert_eq!(Encoding::parse("br"), None);
    }
}
