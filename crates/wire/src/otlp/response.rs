//! What an OTLP receiver answers: export responses with partial success, and `google.rpc.Status` for
//! errors (OTLP specification, "OTLP/gRPC Response" and "OTLP/HTTP Response").

use std::time::Duration;

use super::json::{put_integer, put_string};
use super::pb::{BYTES, Reader, VARINT, tag};
use super::pb_write::{put_bytes, put_int32, put_message, put_number, put_text};
use crate::{DecodeError, Problem};

/// The encoding of a response, which is that of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`, and gRPC.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Which request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `ExportTraceServiceResponse`.
    Traces,
    /// `ExportLogsServiceResponse`.
    Logs,
}

/// That not everything was taken, or was taken with a warning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartialSuccess {
    /// Spans or log records that were rejected; 0 with a message is a warning.
    pub rejected: u64,
    /// Why, for the sender's operator.
    pub error_message: String,
}

impl PartialSuccess {
    /// The partial success that a checked request deserves; `None` if all of it is taken.
    pub fn of(checked: &super::Checked) -> Option<Self> {
        (checked.rejected > 0)
            .then(|| Self { rejected: checked.rejected, error_message: checked.reason.clone().unwrap_or_default() })
    }
}

/// An export response. Full success has no `partial_success` at all, as the specification demands.
pub fn encode_export_response(service: Service, partial: Option<&PartialSuccess>, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    match (encoding, partial) {
        (Encoding::Protobuf, None) => {}
        (Encoding::Protobuf, Some(partial)) => put_message(&mut out, 1, |out| {
            if partial.rejected > 0 {
                put_number(out, 1, partial.rejected);
            }
            put_text(out, 2, partial.error_message.as_bytes());
        }),
        (Encoding::Json, None) => out.extend_from_slice(b"{}"),
        (Encoding::Json, Some(partial)) => {
            let rejected: &[u8] = match service {
                Service::Traces => b"{\"partialSuccess\":{\"rejectedSpans\":\"",
                Service::Logs => b"{\"partialSuccess\":{\"rejectedLogRecords\":\"",
            };
            out.extend_from_slice(rejected);
            put_integer(&mut out, partial.rejected);
            out.extend_from_slice(b"\",\"errorMessage\":");
            put_string(&mut out, partial.error_message.as_bytes());
            out.extend_from_slice(b"}}");
        }
    }
    out
}

/// Reads a protobuf export response of either service, for clients; `None` is full success.
pub fn decode_export_response(bytes: &[u8]) -> Result<Option<PartialSuccess>, DecodeError> {
    read_export_response(bytes).map_err(|problem| DecodeError::protobuf("ExportServiceResponse", problem))
}

fn read_export_response(bytes: &[u8]) -> Result<Option<PartialSuccess>, Problem> {
    const PARTIAL_SUCCESS: u32 = tag(1, BYTES);
    const REJECTED: u32 = tag(1, VARINT);
    const ERROR_MESSAGE: u32 = tag(2, BYTES);
    let mut partial = PartialSuccess::default();
    let mut reader = Reader::new(bytes);
    while let Some(found) = reader.tag()? {
        if found != PARTIAL_SUCCESS {
            reader.skip_unknown(found, 1 << 1)?;
            continue;
        }
        let mut inner = Reader::new(reader.bytes()?);
        while let Some(found) = inner.tag()? {
            match found {
                REJECTED => partial.rejected = u64::try_from(inner.varint()? as i64).unwrap_or(0),
                ERROR_MESSAGE => partial.error_message = super::decode_text(inner.bytes()?),
                other => inner.skip_unknown(other, 1 << 1 | 1 << 2)?,
            }
        }
    }
    Ok((partial != PartialSuccess::default()).then_some(partial))
}

/// An error as `google.rpc.Status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RpcStatus {
    /// gRPC status code, such as 3 for `INVALID_ARGUMENT` or 14 for `UNAVAILABLE`.
    pub code: i32,
    /// What is wrong and what to do.
    pub message: String,
    /// When the same request may succeed (`google.rpc.RetryInfo`).
    pub retry_after: Option<Duration>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl RpcStatus {
    /// The encoded status: the body of an HTTP error, or the value of `grpc-status-details-bin`.
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => self.to_protobuf(),
            Encoding::Json => self.to_json(),
        }
    }

    fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_int32(&mut out, 1, self.code);
        put_text(&mut out, 2, self.message.as_bytes());
        if let Some(delay) = self.retry_after {
            let retry_info = encode_retry_info(delay);
            put_message(&mut out, 3, |out| {
                put_bytes(out, 1, RETRY_INFO.as_bytes());
                put_bytes(out, 2, &retry_info);
            });
        }
        out
    }

    fn to_json(&self) -> Vec<u8> {
        let mut out = b"{\"code\":".to_vec();
        put_integer(&mut out, self.code);
        out.extend_from_slice(b",\"message\":");
        put_string(&mut out, self.message.as_bytes());
        if let Some(delay) = self.retry_after {
            out.extend_from_slice(b",\"details\":[{\"@type\":\"");
            out.extend_from_slice(RETRY_INFO.as_bytes());
            out.extend_from_slice(b"\",\"retryDelay\":\"");
            put_integer(&mut out, delay.as_secs());
            if delay.subsec_nanos() > 0 {
                let digits = format!(".{:09}", delay.subsec_nanos());
                out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
            }
            out.extend_from_slice(b"s\"}]");
        }
        out.push(b'}');
        out
    }

    /// Reads a protobuf status, for clients. Details other than `RetryInfo` are passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map_err(|problem| DecodeError::protobuf("Status", problem))
    }

    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        const CODE: u32 = tag(1, VARINT);
        const MESSAGE: u32 = tag(2, BYTES);
        const DETAIL: u32 = tag(3, BYTES);
        let mut status = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some(found) = reader.tag()? {
            match found {
                CODE => status.code = reader.varint()? as i32,
                MESSAGE => status.message = super::decode_text(reader.bytes()?),
                DETAIL => status.retry_after = retry_delay(reader.bytes()?)?.or(status.retry_after),
                other => reader.skip_unknown(other, 0b1110)?,
            }
        }
        Ok(status)
    }
}

/// `google.rpc.RetryInfo` alone, as some gRPC clients want it in metadata of its own.
pub fn encode_retry_info(delay: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    put_message(&mut out, 1, |out| {
        if delay.as_secs() > 0 {
            put_number(out, 1, delay.as_secs());
        }
        if delay.subsec_nanos() > 0 {
            put_number(out, 2, u64::from(delay.subsec_nanos()));
        }
    });
    out
}

/// The delay in an `Any`, if that is a `RetryInfo`.
fn retry_delay(any: &[u8]) -> Result<Option<Duration>, Problem> {
    const FIRST: u32 = tag(1, BYTES);
    const SECOND: u32 = tag(2, BYTES);
    let (mut type_url, mut value) = (&[][..], &[][..]);
    let mut reader = Reader::new(any);
    while let Some(found) = reader.tag()? {
        match found {
            FIRST => type_url = reader.bytes()?,
            SECOND => value = reader.bytes()?,
            other => reader.skip(other)?,
        }
    }
    if type_url != RETRY_INFO.as_bytes() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0i64, 0i32);
    let mut reader = Reader::new(value);
    while let Some(found) = reader.tag()? {
        if found != FIRST {
            reader.skip(found)?;
            continue;
        }
        let mut duration = Reader::new(reader.bytes()?);
        while let Some(found) = duration.tag()? {
            match (found >> 3, found & 7) {
                (1, VARINT) => seconds = duration.varint()? as i64,
                (2, VARINT) => nanos = duration.varint()? as i32,
                _ => duration.skip(found)?,
            }
        }
    }
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(seconds.checked_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
}
