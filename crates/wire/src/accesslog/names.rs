//! What proxies call the parts of a line.

use super::field::{Field, Slot, Unit};

/// What nginx's variable means.
pub(super) fn nginx(name: &str) -> Slot {
    let field = match name {
        "remote_addr" | "remote" | "realip_remote_addr" => Field::Client,
        "remote_user" => Field::User,
        "time_local" | "time_iso8601" | "msec" => Field::EndTime,
        "start_time" => Field::StartTime,
        "request" => Field::Request,
        "request_method" => Field::Method,
        "request_uri" | "uri" | "document_uri" => Field::Target,
        "args" | "query_string" => Field::Query,
        "server_protocol" => Field::Protocol,
        "scheme" => Field::Scheme,
        "host" | "http_host" => Field::Host,
        "status" => Field::Status,
        "bytes_sent" => Field::BytesSent,
        "body_bytes_sent" => Field::BodyBytesSent,
        "request_length" => Field::BytesReceived,
        "request_time" => return Slot::Known(Field::Duration, Unit::Seconds),
        "upstream_response_time" => return Slot::Known(Field::UpstreamTime, Unit::Seconds),
        "upstream_connect_time" => return Slot::Known(Field::UpstreamConnectTime, Unit::Seconds),
        "upstream_addr" => Field::Upstream,
        "upstream_status" => Field::UpstreamStatus,
        "proxy_host" => Field::UpstreamName,
        "request_id" | "req_id" => Field::RequestId,
        "otel_trace_id" | "opentelemetry_trace_id" | "tracewell_trace_id" => Field::TraceId,
        "otel_span_id" | "opentelemetry_span_id" => Field::SpanId,
        "otel_parent_id" | "tracewell_parent_id" => Field::ParentId,
        "tracewell_upstream_span_id" => Field::UpstreamSpanId,
        "service" | "service_name" => Field::Service,
        // HAProxy's, for its preset.
        "haproxy_total" => return Slot::Known(Field::Duration, Unit::Milliseconds),
        "haproxy_connect" => return Slot::Known(Field::UpstreamConnectTime, Unit::Milliseconds),
        "haproxy_response" => return Slot::Known(Field::UpstreamTime, Unit::Milliseconds),
        "haproxy_server" => Field::Upstream,
        "haproxy_backend" => Field::UpstreamName,
        "haproxy_skip" => Field::Ignored,
        // Traefik's, for its preset.
        "traefik_duration" => return Slot::Known(Field::Duration, Unit::Milliseconds),
        _ => {
            return match name.strip_prefix("http_") {
                Some(header) => request_header(&header.replace('_', "-")),
                None => Slot::Attribute(match name.strip_prefix("sent_http_") {
                    Some(header) => format!("http.response.header.{}", header.replace('_', "-")),
                    None => name.to_owned(),
                }),
            };
        }
    };
    Slot::of(field)
}

/// What a request's header means; its name in any case.
pub(super) fn request_header(name: &str) -> Slot {
    let name = name.to_ascii_lowercase();
    let field = match name.as_str() {
        ":method" => Field::Method,
        ":path" | "x-envoy-original-path" => Field::Target,
        ":authority" | "host" => Field::Host,
        ":scheme" | "x-forwarded-proto" => Field::Scheme,
        "user-agent" => Field::UserAgent,
        "referer" => Field::Referer,
        "x-forwarded-for" | "x-real-ip" => Field::ForwardedFor,
        "traceparent" => Field::Traceparent,
        "tracestate" => Field::Tracestate,
        "b3" => Field::B3,
        "x-b3-traceid" => Field::TraceId,
        "x-b3-spanid" => Field::SpanId,
        "x-b3-sampled" => Field::Sampled,
        // The caller's span is enough; its parent is the caller's business.
        "x-b3-parentspanid" => Field::Ignored,
        "x-amzn-trace-id" => Field::AmazonTraceId,
        "uber-trace-id" => Field::Uber,
        "x-datadog-trace-id" => Field::TraceId,
        "x-datadog-parent-id" => Field::SpanId,
        "x-request-id" | "x-correlation-id" | "request-id" | "correlation-id" | "x-amzn-requestid" => Field::RequestId,
        _ => return Slot::Attribute(format!("http.request.header.{name}")),
    };
    Slot::of(field)
}

/// What Envoy's command operator means; `argument` is what stands in its parentheses.
pub(super) fn envoy(name: &str, argument: &str) -> Slot {
    let field = match name {
        "START_TIME" | "START_TIME_LOCAL" => Field::StartTime,
        "DURATION" => return Slot::Known(Field::Duration, Unit::Milliseconds),
        "PROTOCOL" => Field::Protocol,
        "RESPONSE_CODE" => Field::Status,
        "BYTES_RECEIVED" => Field::BytesReceived,
        "BYTES_SENT" => Field::BodyBytesSent,
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Field::Upstream,
        "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Field::UpstreamName,
        "DOWNSTREAM_REMOTE_ADDRESS"
        | "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => Field::Client,
        "TRACE_ID" => Field::TraceId,
        "STREAM_ID" => Field::RequestId,
        "ROUTE_NAME" => return Slot::Attribute("envoy.route_name".to_owned()),
        // `X?Y:Z` is the first header that is there.
        "REQ" => {
            let first = argument.split('?').map(request_header).find(|slot| matches!(slot, Slot::Known(..)));
            return first.unwrap_or_else(|| request_header(argument.split('?').next().unwrap_or_default()));
        }
        "RESP" if argument.eq_ignore_ascii_case("x-envoy-upstream-service-time") => {
            return Slot::Known(Field::UpstreamTime, Unit::Milliseconds);
        }
        "RESP" => return Slot::Attribute(format!("http.response.header.{}", argument.to_ascii_lowercase())),
        _ => return Slot::Attribute(format!("envoy.{}", name.to_ascii_lowercase())),
    };
    Slot::of(field)
}

/// What a directive of Apache's `LogFormat` means: the letter and what stands in braces before it.
pub(super) fn apache(letter: char, argument: &str) -> Slot {
    let field = match (letter, argument) {
        ('h' | 'a', _) => Field::Client,
        ('u', _) => Field::User,
        ('l', _) => Field::Ignored,
        ('t', "" | "msec_frac" | "usec_frac" | "sec" | "msec" | "usec") => Field::StartTime,
        ('t', argument) if argument.starts_with("end:") => Field::EndTime,
        ('t', _) => Field::StartTime,
        ('r', _) => Field::Request,
        ('m', _) => Field::Method,
        ('U', _) => Field::Target,
        ('q', _) => Field::Query,
        ('H', _) => Field::Protocol,
        ('V' | 'v', _) => Field::Host,
        ('s', _) => Field::Status,
        ('b' | 'B', _) => Field::BodyBytesSent,
        ('O', _) => Field::BytesSent,
        ('I', _) => Field::BytesReceived,
        ('D', _) | ('T', "us") => return Slot::Known(Field::Duration, Unit::Microseconds),
        ('T', "ms") => return Slot::Known(Field::Duration, Unit::Milliseconds),
        ('T', _) => return Slot::Known(Field::Duration, Unit::Seconds),
        ('i', header) => return request_header(header),
        ('o', header) => return Slot::Attribute(format!("http.response.header.{}", header.to_ascii_lowercase())),
        ('e', "UNIQUE_ID") => Field::RequestId,
        ('L', _) => Field::RequestId,
        (letter, "") => return Slot::Attribute(format!("apache.{letter}")),
        (_, argument) => return Slot::Attribute(argument.to_owned()),
    };
    Slot::of(field)
}

/// What a key of a JSON or logfmt line means, by the names in common use; the key in lower case, levels joined by dots.
pub(super) fn key(key: &str) -> Option<Slot> {
    let field = match key {
        "time" | "timestamp" | "@timestamp" | "ts" | "t" | "datetime" | "date" | "asctime" | "eventtime"
        | "time_local" | "time_iso8601" | "msec" => Field::Time,
        "start_time" | "starttime" | "start" | "startutc" | "started_at" => Field::StartTime,
        "end_time" | "endtime" | "end" | "finished_at" => Field::EndTime,
        "duration"
        | "request_time"
        | "elapsed"
        | "latency"
        | "took"
        | "duration_s"
        | "duration_seconds"
        | "elapsed_seconds"
        | "response_time"
        | "http.server.request.duration" => Field::Duration,
        "duration_ms" | "elapsed_ms" | "latency_ms" | "took_ms" | "responsetime" | "response_time_ms"
        | "durationms" | "elapsedms" => return Some(Slot::Known(Field::Duration, Unit::Milliseconds)),
        "duration_us" | "elapsed_us" | "latency_us" => return Some(Slot::Known(Field::Duration, Unit::Microseconds)),
        "duration_ns" | "elapsed_ns" | "latency_ns" => return Some(Slot::Known(Field::Duration, Unit::Nanoseconds)),
        "method"
        | "request_method"
        | "http_method"
        | "http.method"
        | "http.request.method"
        | "requestmethod"
        | "request.method"
        | "req.method"
        | "verb" => Field::Method,
        "path" | "uri" | "url" | "request_uri" | "request_path" | "http.target" | "http.url" | "url.path"
        | "target" | "requestpath" | "request.uri" | "request.url" | "req.url" => Field::Target,
        "query" | "args" | "query_string" | "url.query" => Field::Query,
        "request" => Field::Request,
        "protocol" | "server_protocol" | "proto" | "http_version" | "requestprotocol" | "request.proto" => {
            Field::Protocol
        }
        "scheme" | "request_scheme" | "url.scheme" => Field::Scheme,
        "host" | "http_host" | "authority" | "requesthost" | "request.host" | "vhost" => Field::Host,
        "status"
        | "status_code"
        | "response_code"
        | "http_status"
        | "http.status_code"
        | "http.response.status_code"
        | "downstreamstatus"
        | "statuscode"
        | "code"
        | "res.statuscode"
        | "response.status" => Field::Status,
        "bytes_sent" | "size" | "bytes" | "downstreamcontentsize" | "response_size" => Field::BytesSent,
        "body_bytes_sent" => Field::BodyBytesSent,
        "request_length" | "bytes_received" | "bytes_read" | "requestcontentsize" | "request_size" => {
            Field::BytesReceived
        }
        "remote_addr"
        | "remote_ip"
        | "client_ip"
        | "client"
        | "clientaddr"
        | "downstream_remote_address"
        | "ip"
        | "peer"
        | "client.address"
        | "request.remote_ip"
        | "request.client_ip"
        | "remote_address" => Field::Client,
        "x_forwarded_for" | "http_x_forwarded_for" | "forwarded_for" => Field::ForwardedFor,
        "user" | "remote_user" | "user_id" | "username" | "clientusername" => Field::User,
        "referer" | "referrer" | "http_referer" => Field::Referer,
        "user_agent" | "useragent" | "http_user_agent" | "user_agent.original" => Field::UserAgent,
        "route" | "http.route" | "routername" => Field::Route,
        "upstream" | "upstream_addr" | "upstream_host" | "serviceaddr" | "serviceurl.host" => Field::Upstream,
        "upstream_name" | "upstream_cluster" | "servicename" => Field::UpstreamName,
        "upstream_status" | "originstatus" => Field::UpstreamStatus,
        "upstream_time" | "upstream_response_time" => return Some(Slot::Known(Field::UpstreamTime, Unit::Seconds)),
        "upstream_service_time" => return Some(Slot::Known(Field::UpstreamTime, Unit::Milliseconds)),
        "upstream_connect_time" => return Some(Slot::Known(Field::UpstreamConnectTime, Unit::Seconds)),
        "trace_id" | "traceid" | "trace.id" | "otel_trace_id" | "dd.trace_id" | "x_b3_traceid" | "trace" => {
            Field::TraceId
        }
        "span_id" | "spanid" | "span.id" | "otel_span_id" | "dd.span_id" | "x_b3_spanid" | "span" => Field::SpanId,
        "parent_id" | "parent_span_id" | "parentspanid" | "parent.id" => Field::ParentId,
        "upstream_span_id" => Field::UpstreamSpanId,
        "sampled" | "trace_sampled" | "trace_flags" => Field::Sampled,
        "traceparent" | "http_traceparent" => Field::Traceparent,
        "tracestate" | "http_tracestate" => Field::Tracestate,
        "b3" | "http_b3" => Field::B3,
        "x_amzn_trace_id" | "x-amzn-trace-id" | "amzn_trace_id" => Field::AmazonTraceId,
        "uber_trace_id" | "uber-trace-id" => Field::Uber,
        "request_id" | "requestid" | "req_id" | "reqid" | "x_request_id" | "x-request-id" | "http_x_request_id"
        | "correlation_id" | "correlationid" | "req.id" => Field::RequestId,
        "service" | "service_name" | "service.name" | "app" | "application" | "resource.service.name" => Field::Service,
        "message" | "msg" | "body" | "event" => Field::Message,
        "level" | "severity" | "lvl" | "loglevel" | "severity_text" | "levelname" => Field::Severity,
        _ => {
            // `request.headers.X-Request-Id`, `request_X-Request-Id`: the headers that a server was told to log.
            let header = ["request.headers.", "request_headers.", "headers.", "req.headers.", "request_"]
                .iter()
                .find_map(|prefix| key.strip_prefix(prefix))?;
            return match request_header(header) {
                Slot::Attribute(_) => None,
                known => Some(known),
            };
        }
    };
    Some(Slot::of(field))
}
