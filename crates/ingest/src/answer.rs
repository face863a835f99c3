//! Answers in the request's own format: export responses and `google.rpc.Status`.

use std::time::Duration;

use bytes::Bytes;
use tracewell_wire::otlp::response::{
    Encoding, PartialSuccess, RpcStatus, Service, encode_export_response, encode_retry_info,
};

use crate::pipeline::{Format, Taken};
use crate::refusal::Refusal;
use crate::sink::Signal;

/// `ExportTraceServiceResponse` or `ExportLogsServiceResponse`.
pub(crate) fn taken(format: Format, signal: Signal, taken: &Taken) -> Bytes {
    let service = match signal {
        Signal::Traces => Service::Traces,
        Signal::Logs => Service::Logs,
    };
    let partial = (taken.rejected > 0)
        .then(|| PartialSuccess { rejected: taken.rejected, error_message: taken.reason.clone().unwrap_or_default() });
    Bytes::from(encode_export_response(service, partial.as_ref(), encoding(format)))
}

/// `google.rpc.Status`, with RetryInfo where a retry can help.
pub(crate) fn status(format: Format, refusal: &Refusal) -> Bytes {
    let status = RpcStatus {
        code: i32::from(refusal.grpc_code),
        message: refusal.message.clone().into_owned(),
        retry_after: refusal.retry_after,
    };
    Bytes::from(status.encode(encoding(format)))
}

/// `google.rpc.RetryInfo` alone.
pub(crate) fn retry_info(delay: Duration) -> Bytes {
    Bytes::from(encode_retry_info(delay))
}

fn encoding(format: Format) -> Encoding {
    match format {
        Format::Protobuf => Encoding::Protobuf,
        Format::Json => Encoding::Json,
    }
}
