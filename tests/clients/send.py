"""Sends spans with the OpenTelemetry SDK for Python and prints, as JSON, what the SDK recorded.

usage: send.py grpc|http|http-gzip|json ENDPOINT SERVICE
"""

import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState


def exporter(protocol, endpoint):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=endpoint, insecure=True)
    if protocol in ("http", "http-gzip"):
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        compression = Compression.Gzip if protocol == "http-gzip" else Compression.NoCompression
        return OTLPSpanExporter(endpoint=f"http://{endpoint}/v1/traces", compression=compression)
    if protocol == "json":
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=f"http://{endpoint}/v1/traces")
    raise SystemExit(__doc__)


class Recorder(SpanProcessor):
    """Keeps every span that ends, as the SDK sees it."""

    def __init__(self):
        self.spans = []

    def on_end(self, span):
        self.spans.append(span)


def typed(value):
    """A value with its OTLP type, so that 1, 1.0, "1" and true are told apart."""
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["double", value]
    if isinstance(value, str):
        return ["string", value]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    return ["array", [typed(item) for item in value]]


def attributes(mapping):
    return {key: typed(value) for key, value in (mapping or {}).items()}


def described(span):
    kinds = {SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3, SpanKind.PRODUCER: 4, SpanKind.CONSUMER: 5}
    codes = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}
    return {
        "traceId": f"{span.context.trace_id:032x}",
        "spanId": f"{span.context.span_id:016x}",
        "parentSpanId": f"{span.parent.span_id:016x}" if span.parent else "",
        "traceState": span.context.trace_state.to_header(),
        "name": span.name,
        "kind": kinds[span.kind],
        "start": str(span.start_time),
        "end": str(span.end_time),
        "status": [codes[span.status.status_code], span.status.description or ""],
        "attributes": attributes(span.attributes),
        "events": [[event.name, str(event.timestamp), attributes(event.attributes)] for event in span.events],
        "links": [
            [f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", attributes(link.attributes)]
            for link in span.links
        ],
        "resource": attributes(span.resource.attributes),
        "scope": [span.instrumentation_scope.name, span.instrumentation_scope.version or ""],
    }


def emit(tracer):
    """A request with one of everything, and many small ones."""
    elsewhere = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7, False, TraceFlags(1))
    caller = SpanContext(
        0x1BF7651916CD43DD8448EB211C80319D,
        0x10F067AA0BA902B7,
        True,
        TraceFlags(1),
        TraceState([("vendor", "a=b"), ("other", "1")]),
    )
    parent = trace.set_span_in_context(trace.NonRecordingSpan(caller))
    values = {
        "text": "Grüße, 世界",
        "empty": "",
        "integer": 2**53 + 1,
        "negative": -(2**63),
        "double": 0.1,
        "whole double": 3.0,
        "truth": True,
        "texts": ["a", "b", ""],
        "integers": [1, 2**62],
        "doubles": [1.5, -0.25],
        "truths": [True, False],
        "long": "x" * 20_000,
    }
    with tracer.start_as_current_span("GET /cart", context=parent, kind=SpanKind.SERVER, attributes=values):
        with tracer.start_as_current_span("SELECT cart", kind=SpanKind.CLIENT, links=[Link(elsewhere, values)]) as query:
            query.add_event("fetched", {"rows": 3, "cached": False})
            query.set_status(Status(StatusCode.ERROR, "deadlock\ndetected"))
        try:
            with tracer.start_as_current_span("render"):
                raise ValueError("no template")
        except ValueError:
            pass
        with tracer.start_as_current_span("publish", kind=SpanKind.PRODUCER) as message:
            message.set_status(Status(StatusCode.OK))
    for number in range(700):
        with tracer.start_as_current_span(f"job {number % 7}", kind=SpanKind.CONSUMER, attributes={"number": number}):
            pass


def main():
    _, protocol, endpoint, service = sys.argv
    recorder = Recorder()
    provider = TracerProvider(resource=Resource.create({"service.name": service, "service.version": "1.2.3"}))
    provider.add_span_processor(recorder)
    provider.add_span_processor(BatchSpanProcessor(exporter(protocol, endpoint), max_queue_size=4096))
    emit(provider.get_tracer("tests.clients", "0.1"))
    provider.shutdown()
    json.dump([described(span) for span in recorder.spans], sys.stdout)


main()
