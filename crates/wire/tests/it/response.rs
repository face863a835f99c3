//! What a receiver answers, in both encodings.

use std::time::Duration;

use tracewell_wire::otlp::response::{
    Encoding, PartialSuccess, RpcStatus, Service, decode_export_response, encode_export_response,
};

#[test]
fn full_success_is_empty_and_partial_success_says_how_many_and_why() {
    assert_eq!(encode_export_response(Service::Traces, None, Encoding::Protobuf), b"");
    assert_eq!(encode_export_response(Service::Logs, None, Encoding::Json), b"{}");
    assert_eq!(decode_export_response(b"").unwrap(), None);

    let partial = PartialSuccess { rejected: 300, error_message: "no \"id\"".to_owned() };
    let bytes = encode_export_response(Service::Traces, Some(&partial), Encoding::Protobuf);
    assert_eq!(bytes, b"\x0a\x0c\x08\xac\x02\x12\x07no \"id\"");
    assert_eq!(decode_export_response(&bytes).unwrap(), Some(partial.clone()));
    for (service, expected) in [
        (Service::Traces, r#"{"partialSuccess":{"rejectedSpans":"300","errorMessage":"no \"id\""}}"#),
        (Service::Logs, r#"{"partialSuccess":{"rejectedLogRecords":"300","errorMessage":"no \"id\""}}"#),
    ] {
        let json = encode_export_response(service, Some(&partial), Encoding::Json);
        assert_eq!(String::from_utf8(json).unwrap(), expected);
    }
}

#[test]
fn a_status_carries_its_retry_delay() {
    for (retry_after, json) in [
        (None, r#"{"code":14,"message":"busy"}"#),
        (
            Some(Duration::from_millis(1500)),
            r#"{"code":14,"message":"busy","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.5s"}]}"#,
        ),
        (
            Some(Duration::from_secs(30)),
            r#"{"code":14,"message":"busy","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"30s"}]}"#,
        ),
    ] {
        let status = RpcStatus { code: 14, message: "busy".to_owned(), retry_after };
        assert_eq!(String::from_utf8(status.encode(Encoding::Json)).unwrap(), json);
        assert_eq!(RpcStatus::decode(&status.encode(Encoding::Protobuf)).unwrap(), status);
    }
}
