//! Merging of embedded messages that a sender wrote in pieces.
//!
//! Protobuf lets a singular embedded message occur several times and then merges the occurrences,
//! which is the same as reading their bytes one after the other. The borrowed views cannot do that.
//! No known sender writes such requests, so they are rewritten once, here, at leisure.

use super::check::DEPTH_MAX;
use super::pb::{Reader, tag};
use super::pb_write::put_bytes;
use super::schema::{Kind, Message};
use crate::{DecodeError, Problem};

/// Rewrites `payload` so that no singular message occurs twice. Unknown fields stay. The outcome must
/// be checked: only the last of several pieces has been looked into before.
/// Takes time linear in the payload times the depth of its messages, which is limited.
pub(crate) fn merge_pieces(payload: &[u8], schema: &'static Message) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(payload.len());
    rewrite(payload, schema, 0, &mut out)?;
    Ok(out)
}

/// A field of a message: an embedded message, put together from its pieces, or anything else as it stands.
enum Piece<'a> {
    Message { number: u32, message: &'static Message, bytes: Vec<u8> },
    Raw(&'a [u8]),
}

/// `depth` counts the lists and maps around this message.
fn rewrite(bytes: &[u8], schema: &'static Message, depth: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let broken = |problem| DecodeError::protobuf(schema.name, problem);
    let depth = depth + usize::from(schema.nests());
    if depth > DEPTH_MAX {
        return Err(broken(Problem::TooDeep));
    }
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    // Where the pieces of a singular message gather, by field number.
    let mut gathers = [None::<usize>; 32];
    let mut reader = Reader::new(bytes);
    loop {
        let before = reader.remaining();
        let Some(found) = reader.tag().map_err(broken)? else { break };
        let mut value = reader;
        reader.skip(found).map_err(broken)?;
        let whole = bytes.get(bytes.len() - before..bytes.len() - reader.remaining()).unwrap_or_default();
        let field = schema.fields.iter().find(|field| tag(field.number, field.kind.wire_type()) == found);
        let gather = field.and_then(|field| gathers.get_mut(field.number as usize));
        if let (Some(field), Some(gather)) = (field, gather) {
            let payload = if let Kind::Message(_) = field.kind { value.bytes().map_err(broken)? } else { &[] };
            if let Some(Piece::Message { bytes, .. }) = gather.and_then(|index| pieces.get_mut(index)) {
                bytes.extend_from_slice(payload);
                continue;
            }
            if schema.is_one_of {
                pieces.clear();
                gathers = [None; 32];
            }
            if let Kind::Message(message) = field.kind {
                if !field.repeated {
                    gathers[field.number as usize] = Some(pieces.len());
                }
                pieces.push(Piece::Message { number: field.number, message, bytes: payload.to_vec() });
                continue;
            }
        }
        pieces.push(Piece::Raw(whole));
    }
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => out.extend_from_slice(bytes),
            Piece::Message { number, message, bytes } => {
                let mut inner = Vec::with_capacity(bytes.len());
                rewrite(&bytes, message, depth, &mut inner)?;
                put_bytes(out, number, &inner);
            }
        }
    }
    Ok(())
}
