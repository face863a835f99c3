//! The one message of a unary gRPC request: a flag, a length of four bytes, the message.

use bytes::{Buf, Bytes};
use http_body::Body;

use crate::body::{Assembler, BodyReader, Payload, overloaded, too_large};
use crate::budget::Reservation;
use crate::config::Limits;
use crate::inflate::Encoding;
use crate::refusal::{Reason, Refusal, code};

/// Bytes before a message.
const PREFIX_BYTES: usize = 5;

/// Reads the message and the end of the stream. `declared` is the request's `grpc-encoding`; it holds for messages whose
/// flag says that they are compressed.
pub(super) async fn read_message<B>(
    reader: &mut BodyReader<'_, B>,
    declared: Encoding,
    limits: &Limits,
    reservation: Reservation,
) -> Result<Payload, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut prefix = [0u8; PREFIX_BYTES];
    let mut chunk = Bytes::new();
    for filled in 0..PREFIX_BYTES {
        while chunk.is_empty() {
            chunk = match reader.chunk().await? {
                Some(chunk) => chunk,
                None if filled == 0 => return Err(not_one_message("no message")),
                None => return Err(framing("the stream ends within the prefix of a message")),
            };
        }
        if let Some(byte) = prefix.get_mut(filled) {
            *byte = chunk.get_u8();
        }
    }
    let [flag, length @ ..] = prefix;
    let length = u32::from_be_bytes(length);
    let encoding = match (flag, declared) {
        (0, _) => Encoding::Identity,
        (1, Encoding::Identity) => return Err(framing("a message is marked compressed, and grpc-encoding is missing")),
        (1, declared) if length > 0 => declared,
        (1, _) => Encoding::Identity,
        _ => return Err(framing("the flag of a message is neither 0 nor 1; is the client speaking gRPC?")),
    };
    // What is too large will never fit; only what would fit at another time is to be retried.
    if u64::from(length) > limits.body_bytes_max {
        return Err(too_large(limits.body_bytes_max));
    }
    if !reservation.fits(u64::from(length)) {
        return Err(overloaded(limits.retry_after()));
    }
    let mut assembler = Assembler::new(encoding, u64::from(length), limits, reservation)?;
    let mut missing = length as usize;
    loop {
        let piece = chunk.split_to(missing.min(chunk.len()));
        assembler.push(&piece).await?;
        missing -= piece.len();
        if !chunk.is_empty() {
            return Err(not_one_message("more than one message"));
        }
        chunk = match reader.chunk().await? {
            Some(chunk) => chunk,
            None if missing == 0 => return assembler.finish(),
            None => return Err(framing("the stream ends within a message")),
        };
    }
}

fn framing(message: &'static str) -> Refusal {
    Refusal::new(Reason::BadFraming, message)
}

/// A violation of the method's cardinality, which gRPC answers with UNIMPLEMENTED.
fn not_one_message(found: &str) -> Refusal {
    let message = format!("the method takes exactly one message, the client sent {found}");
    Refusal::new(Reason::BadFraming, message).with_grpc_code(code::UNIMPLEMENTED)
}
