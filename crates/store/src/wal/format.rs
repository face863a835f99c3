//! The bytes of a log file. All numbers are little-endian.
//!
//! ```text
//! file   = header header frame*            the header twice, so that one flipped bit costs nothing
//! header = "TWWAL\r\n\x1a"  8 bytes
//!          version          u32            1
//!          salt             u32            random for each file
//!          first            u64            number of the first frame
//!          crc32c           u32            of the 24 bytes before it
//!          zero             u32
//! frame  = length           u32            bytes after the checksum
//!          crc32c           u32            started from the salt, over the length and all that follows this field
//!          number           u64            consecutive within a file
//!          received         u64            milliseconds since the Unix epoch
//!          kind             u8             1 traces, 2 logs
//!          tenant length    u8             1–255
//!          tenant           UTF-8
//!          payload          OTLP export request, protobuf
//! ```
//!
//! The salt makes a frame valid only in the file that it was written to: neither an old block of the disk nor
//! bytes inside somebody's payload can pass for a frame when a reader looks for the next good one.

use crate::table::Signal;

/// Bytes of one copy of the header.
pub const HEADER_BYTES: usize = 32;
/// Bytes before the first frame.
pub const PREAMBLE_BYTES: usize = 2 * HEADER_BYTES;
/// Bytes of a frame before its tenant.
pub const FRAME_HEAD_BYTES: usize = 26;
/// Largest payload of a frame: twice what the listeners let through.
pub const PAYLOAD_BYTES_MAX: usize = 128 << 20;

const MAGIC: &[u8; 8] = b"TWWAL\r\n\x1a";
const VERSION: u32 = 1;
const PREFIX_BYTES: usize = 8;

/// What a file says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Seed of the checksums of this file's frames.
    pub salt: u32,
    /// Number of the first frame.
    pub first: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// Neither copy is whole.
    Damaged,
    /// Written by a later version of this program.
    Version(u32),
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

impl Header {
    /// Both copies.
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(PREAMBLE_BYTES);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&self.first.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        copy.extend_from_slice(&[0; 4]);
        copy.extend_from_within(..);
        copy
    }

    /// The header of a file that begins with `bytes`, from whichever copy is whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut error = HeaderError::Damaged;
        for at in [0, HEADER_BYTES] {
            match Self::decode_copy(bytes.get(at..).unwrap_or_default()) {
                Ok(header) => return Ok(header),
                Err(HeaderError::Version(version)) => error = HeaderError::Version(version),
                Err(HeaderError::Damaged) => {}
            }
        }
        Err(error)
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, HeaderError> {
        let read = || -> Option<(u32, Header)> {
            let body = bytes.get(..24)?;
            if body.get(..8)? != MAGIC || crc32c::crc32c(body) != u32_at(bytes, 24)? {
                return None;
            }
            Some((u32_at(body, 8)?, Header { salt: u32_at(body, 12)?, first: u64_at(body, 16)? }))
        };
        match read() {
            Some((VERSION, header)) => Ok(header),
            Some((version, _)) => Err(HeaderError::Version(version)),
            None => Err(HeaderError::Damaged),
        }
    }
}

/// Name of the file whose first frame is `first`.
pub fn file_name(first: u64) -> String {
    format!("wal-{first:020}.log")
}

/// The first frame number in a file name, if it is that of a log file.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// The number that stands for a signal in files.
pub fn signal_code(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 1,
        Signal::Logs => 2,
    }
}

/// The inverse of [`signal_code`].
pub fn signal_of(code: u8) -> Option<Signal> {
    match code {
        1 => Some(Signal::Traces),
        2 => Some(Signal::Logs),
        _ => None,
    }
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the whole frame, prefix included.
    pub total_bytes: usize,
    crc: u32,
    /// Frame number.
    pub number: u64,
    /// When it was received, in milliseconds since the epoch.
    pub received_ms: u64,
    /// What the payload holds.
    pub signal: Signal,
    /// Bytes of the tenant's name.
    pub tenant_bytes: usize,
}

impl FrameHead {
    /// Reads a frame's fixed part from the beginning of `bytes`; `None` where it cannot be one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let length = u32_at(bytes, 0)? as usize;
        let signal = signal_of(*bytes.get(24)?)?;
        let tenant_bytes = usize::from(*bytes.get(25)?);
        let least = FRAME_HEAD_BYTES - PREFIX_BYTES + tenant_bytes;
        if tenant_bytes == 0 || length < least || length > least + PAYLOAD_BYTES_MAX {
            return None;
        }
        Some(Self {
            total_bytes: PREFIX_BYTES + length,
            crc: u32_at(bytes, 4)?,
            number: u64_at(bytes, 8)?,
            received_ms: u64_at(bytes, 16)?,
            signal,
            tenant_bytes,
        })
    }

    /// Tenant and payload of the frame at the beginning of `bytes`, if it is whole and what was written.
    pub fn verify<'a>(&self, salt: u32, bytes: &'a [u8]) -> Option<(&'a str, &'a [u8])> {
        let frame = bytes.get(..self.total_bytes)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt, frame.get(..4)?), frame.get(PREFIX_BYTES..)?);
        if crc != self.crc {
            return None;
        }
        let (tenant, payload) = frame.get(FRAME_HEAD_BYTES..)?.split_at_checked(self.tenant_bytes)?;
        Some((std::str::from_utf8(tenant).ok()?, payload))
    }
}

/// Appends a frame's bytes up to its payload to `out`. `tenant` has 1 to 255 bytes and `payload` at most
/// [`PAYLOAD_BYTES_MAX`].
pub fn encode_head(
    out: &mut Vec<u8>,
    salt: u32,
    number: u64,
    received_ms: u64,
    signal: Signal,
    tenant: &str,
    payload: &[u8],
) {
    debug_assert!((1..=255).contains(&tenant.len()) && payload.len() <= PAYLOAD_BYTES_MAX);
    let length = ((FRAME_HEAD_BYTES - PREFIX_BYTES + tenant.len() + payload.len()) as u32).to_le_bytes();
    let start = out.len();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&received_ms.to_le_bytes());
    out.push(signal_code(signal));
    out.push(tenant.len() as u8);
    out.extend_from_slice(tenant.as_bytes());
    let mut crc = crc32c::crc32c_append(salt, &length);
    crc = crc32c::crc32c_append(crc, &out[start + PREFIX_BYTES..]);
    crc = crc32c::crc32c_append(crc, payload);
    out[start + 4..start + PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_damage_to_either_copy_but_not_to_both() {
        let header = Header { salt: 0xABCD_1234, first: 77 };
        let bytes = header.encode();
        assert_eq!(bytes.len(), PREAMBLE_BYTES);
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..PREAMBLE_BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(Header::decode(&flipped), Ok(header), "byte {at}");
        }
        let mut both = bytes.clone();
        both[20] ^= 1;
        both[HEADER_BYTES + 9] ^= 1;
        assert_eq!(Header::decode(&both), Err(HeaderError::Damaged));
        assert_eq!(Header::decode(&bytes[..20]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_later_version_is_named_instead_of_called_damage() {
        let mut copy = Header { salt: 1, first: 1 }.encode()[..24].to_vec();
        copy[8] = 9;
        let crc = crc32c::crc32c(&copy);
        copy.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&copy), Err(HeaderError::Version(9)));
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed() {
        let payload = b"the payload of a request";
        let mut frame = Vec::new();
        encode_head(&mut frame, 5, 42, 1_700_000_000_000, Signal::Logs, "acme", payload);
        frame.extend_from_slice(payload);
        let read = |bytes: &[u8]| {
            let head = FrameHead::decode(bytes)?;
            head.verify(5, bytes).map(|(tenant, payload)| (head.number, tenant.to_owned(), payload.to_vec()))
        };
        assert_eq!(read(&frame), Some((42, "acme".to_owned(), payload.to_vec())));
        assert_eq!(FrameHead::decode(&frame).and_then(|head| head.verify(6, &frame).map(|_| ())), None, "other salt");
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn file_names_carry_the_first_frame() {
        assert_eq!(file_name(7), "wal-00000000000000000007.log");
        assert_eq!(parse_file_name(&file_name(u64::MAX)), Some(u64::MAX));
        for other in ["wal-7.log", "wal-00000000000000000007.log.damaged", "catalog.sqlite", "wal-.log"] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
