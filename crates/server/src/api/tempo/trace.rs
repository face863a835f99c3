//! A trace by its id.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracewell_wire::otlp::{encode_traces_data, json};

use super::TempoError;
use crate::api::native::{PROTOBUF, wants_protobuf};
use crate::engine;
use crate::http::params::{Tenant, trace_id};
use crate::state::App;

/// `GET /api/traces/{id}`: the trace itself.
pub(super) async fn v1(
    State(app): State<App>,
    Path(id): Path<String>,
    tenant: Tenant,
    headers: HeaderMap,
) -> Result<Response, TempoError> {
    answer(app, &id, tenant, &headers, Version::V1).await
}

/// `GET /api/v2/traces/{id}`: the trace within a `TraceByIDResponse`.
pub(super) async fn v2(
    State(app): State<App>,
    Path(id): Path<String>,
    tenant: Tenant,
    headers: HeaderMap,
) -> Result<Response, TempoError> {
    answer(app, &id, tenant, &headers, Version::V2).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

async fn answer(
    app: App,
    id: &str,
    tenant: Tenant,
    headers: &HeaderMap,
    version: Version,
) -> Result<Response, TempoError> {
    let id = trace_id(id)?;
    let protobuf = wants_protobuf(headers);
    let work = app.clone();
    let answer = app.queries.run(move |budget| {
        let Some(trace) = engine::trace(&work, &tenant, id, budget)? else {
            return Ok((StatusCode::NOT_FOUND, "trace not found\n").into_response());
        };
        Ok(if protobuf {
            let trace = encode_traces_data(&trace.spans);
            let body = if version == Version::V1 { trace } else { in_response(&trace) };
            ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
        } else {
            let mut body = Vec::with_capacity(512 * trace.spans.len());
            match version {
                Version::V1 => json::write_traces(&trace.spans, json::Style::Batches, &mut body),
                Version::V2 => {
                    body.extend_from_slice(b"{\"trace\":");
                    json::write_traces(&trace.spans, json::Style::Names, &mut body);
                    body.push(b'}');
                }
            }
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        })
    });
    Ok(answer.await?)
}

/// `tempopb.TraceByIDResponse` with nothing but field 1, the trace.
fn in_response(trace: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(trace.len() + 6);
    message.push(1 << 3 | 2);
    let mut length = trace.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(trace);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_a_length_delimited_field_one() {
        assert_eq!(in_response(&[7; 3]), [0x0a, 3, 7, 7, 7]);
        let long = in_response(&[7; 300]);
        assert_eq!((&long[..3], long.len()), (&[0x0a, 0xac, 0x02][..], 303));
    }
}
