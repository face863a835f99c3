//! Merging of embedded messages that a sender wrote in pieces.
//!
//! Protobuf lets a singular embedded message occur several times and then merges the occurrences,
//! which is the same as reading their bytes one after the other. The borrowed views cannot do that.
//! No known sender writes such requests, so they are rewritten once, here, at leisure.

use super::pb::{BYTES, Reader, tag};

/// What normalising needs to know of a message: which of its fields are messages.
pub(crate) struct Message {
    fields: &'static [Field],
    /// The fields of `AnyValue.value` exclude each other: the last one set wins.
    is_one_of: bool,
}

struct Field {
    number: u32,
    repeated: bool,
    message: &'static Message,
}

const fn one(number: u32, message: &'static Message) -> Field {
    Field { number, repeated: false, message }
}

const fn many(number: u32, message: &'static Message) -> Field {
    Field { number, repeated: true, message }
}

const fn message(fields: &'static [Field]) -> Message {
    Message { fields, is_one_of: false }
}

static ANY_VALUE: Message = Message { fields: &[one(5, &ARRAY), one(6, &MAP)], is_one_of: true };
static ARRAY: Message = message(&[many(1, &ANY_VALUE)]);
static MAP: Message = message(&[many(1, &KEY_VALUE)]);
static KEY_VALUE: Message = message(&[one(2, &ANY_VALUE)]);
static RESOURCE: Message = message(&[many(1, &KEY_VALUE)]);
static SCOPE: Message = message(&[many(3, &KEY_VALUE)]);
static EVENT: Message = message(&[many(3, &KEY_VALUE)]);
static LINK: Message = message(&[many(4, &KEY_VALUE)]);
static STATUS: Message = message(&[]);
static SPAN: Message = message(&[many(9, &KEY_VALUE), many(11, &EVENT), many(13, &LINK), one(15, &STATUS)]);
static SCOPE_SPANS: Message = message(&[one(1, &SCOPE), many(2, &SPAN)]);
static RESOURCE_SPANS: Message = message(&[one(1, &RESOURCE), many(2, &SCOPE_SPANS)]);
static LOG_RECORD: Message = message(&[one(5, &ANY_VALUE), many(6, &KEY_VALUE)]);
static SCOPE_LOGS: Message = message(&[one(1, &SCOPE), many(2, &LOG_RECORD)]);
static RESOURCE_LOGS: Message = message(&[one(1, &RESOURCE), many(2, &SCOPE_LOGS)]);

/// `ExportTraceServiceRequest`.
pub(crate) static TRACES: &Message = &message(&[many(1, &RESOURCE_SPANS)]);
/// `ExportLogsServiceRequest`.
pub(crate) static LOGS: &Message = &message(&[many(1, &RESOURCE_LOGS)]);

/// Rewrites `payload`, which the caller has checked, so that no singular message occurs twice.
/// Unknown fields stay. Takes time linear in the payload times the depth of its messages.
pub(crate) fn normalize(payload: &[u8], schema: &'static Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    rewrite(payload, schema, &mut out);
    out
}

/// One field of a message: a singular message's pieces together, or anything else as it stands.
enum Piece<'a> {
    Message { number: u32, message: &'static Message, bytes: Vec<u8> },
    Raw(&'a [u8]),
}

fn rewrite(bytes: &[u8], schema: &'static Message, out: &mut Vec<u8>) {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut reader = Reader::new(bytes);
    loop {
        let before = reader.remaining();
        let Ok(Some(found)) = reader.tag() else { break };
        let header_end = reader;
        if reader.skip(found).is_err() {
            break;
        }
        let whole = bytes.get(bytes.len() - before..bytes.len() - reader.remaining()).unwrap_or_default();
        let field = schema.fields.iter().find(|field| tag(field.number, BYTES) == found);
        let Some(field) = field else {
            // Set members of a oneof exclude what stands before them; unknown fields do not.
            if schema.is_one_of && (1..=7).contains(&(found >> 3)) {
                pieces.retain(|piece| matches!(piece, Piece::Raw(_)));
            }
            pieces.push(Piece::Raw(whole));
            continue;
        };
        let payload = { header_end }.bytes().unwrap_or_default();
        let same = pieces.iter_mut().find_map(|piece| match piece {
            Piece::Message { number, bytes, .. } if *number == field.number && !field.repeated => Some(bytes),
            _ => None,
        });
        match same {
            Some(bytes) => bytes.extend_from_slice(payload),
            None => {
                if schema.is_one_of {
                    pieces.clear();
                }
                let (number, message) = (field.number, field.message);
                pieces.push(Piece::Message { number, message, bytes: payload.to_vec() });
            }
        }
    }
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => out.extend_from_slice(bytes),
            Piece::Message { number, message, bytes } => {
                let mut inner = Vec::with_capacity(bytes.len());
                rewrite(&bytes, message, &mut inner);
                super::pb_write::put_bytes(out, number, &inner);
            }
        }
    }
}
