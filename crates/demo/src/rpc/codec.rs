//! The message of the shop's methods, in protobuf, by hand: five fields are not worth a generator.

use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Longest text of one field.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What a request is about.
///
/// ```text
/// message Subject { string order = 1; string user = 2; uint64 product = 3; string country = 4; uint64 cents = 5; }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Subject {
    pub(crate) order: String,
    pub(crate) user: String,
    pub(crate) product: u64,
    pub(crate) country: String,
    pub(crate) cents: u64,
}

impl Subject {
    fn write(&self, out: &mut impl BufMut) {
        let mut text = |field: u8, text: &str| {
            if !text.is_empty() {
                out.put_u8(field << 3 | 2);
                put_varint(out, text.len() as u64);
                out.put_slice(text.as_bytes());
            }
        };
        text(1, &self.order);
        text(2, &self.user);
        text(4, &self.country);
        for (field, number) in [(3, self.product), (5, self.cents)] {
            if number != 0 {
                out.put_u8(field << 3);
                put_varint(out, number);
            }
        }
    }

    /// Fields that it does not know are skipped, as protobuf asks; `None` where the bytes are not a message.
    fn read(mut from: impl Buf) -> Option<Self> {
        let mut subject = Self::default();
        while from.has_remaining() {
            let tag = take_varint(&mut from)?;
            match tag & 7 {
                0 => {
                    let number = take_varint(&mut from)?;
                    match tag >> 3 {
                        3 => subject.product = number,
                        5 => subject.cents = number,
                        _ => {}
                    }
                }
                2 => {
                    let length = usize::try_from(take_varint(&mut from)?).ok()?;
                    if length > from.remaining().min(TEXT_BYTES_MAX) {
                        return None;
                    }
                    let text = String::from_utf8(from.copy_to_bytes(length).to_vec()).ok()?;
                    match tag >> 3 {
                        1 => subject.order = text,
                        2 => subject.user = text,
                        4 => subject.country = text,
                        _ => {}
                    }
                }
                _ => return None,
            }
        }
        Some(subject)
    }
}

fn put_varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn take_varint(from: &mut impl Buf) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The message both ways.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SubjectCodec;

impl Codec for SubjectCodec {
    type Encode = Subject;
    type Decode = Subject;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for SubjectCodec {
    type Item = Subject;
    type Error = Status;

    fn encode(&mut self, subject: Subject, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        subject.write(out);
        Ok(())
    }
}

impl Decoder for SubjectCodec {
    type Item = Subject;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Subject>, Status> {
        Subject::read(from).map(Some).ok_or_else(|| Status::internal("the message is not a subject"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was_and_nonsense_does_not() {
        let subject = Subject {
            order: "ord-1".to_owned(),
            user: "u17".to_owned(),
            product: 300,
            country: String::new(),
            cents: u64::MAX,
        };
        let mut bytes = Vec::new();
        subject.write(&mut bytes);
        assert_eq!(&bytes[..7], b"\x0a\x05ord-1");
        assert_eq!(Subject::read(&bytes[..]), Some(subject));
        assert_eq!(Subject::read(&b"\x3a\x01x\x40\x05"[..]), Some(Subject::default()), "unknown fields");
        for nonsense in [&b"\x0a\x05or"[..], b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0b", b"\x0a\x01\xff"]
        {
            assert_eq!(Subject::read(nonsense), None, "{nonsense:x?}");
        }
    }
}
