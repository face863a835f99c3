"""Drives one trace through the OpenTelemetry SDKs for Python and Node and a Rust service, in every header format.

usage: propagation.py BINARY SERVICE [--without-node]

BINARY is `tracewell`, SERVICE the example `w3c_service` of tracewell-sdk. For each format a request goes from Python
over Rust to Node, back over Rust, and ends in Python; then the server must hold one whole trace of it: each span the
child of the one before, all of them sampled, the baggage arrived. A second request that its root does not record must
arrive with the same trace id and unsampled, and leave no span. Datadog's headers are written and read by ddtrace,
where it is installed; Node has no package for them.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

from check import OPENER, Server, stored_spans
from opentelemetry import baggage, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.cloud_trace_propagator import CloudTraceFormatPropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.jaeger import JaegerPropagator
from opentelemetry.propagators.ot_trace import OTTracePropagator
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HERE = Path(__file__).parent
STORED_SECONDS_MAX = 20
KINDS = {2: "server", 3: "client"}


class Headers(Getter):
    """Header names are compared without regard to case, as every HTTP server's own getter does."""

    def get(self, carrier, key):
        values = carrier.get_all(key)
        return values or None

    def keys(self, carrier):
        return [key.lower() for key in carrier.keys()]


class DatadogPropagator(TextMapPropagator):
    """Datadog's own code for its headers."""

    def __init__(self):
        os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
        os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
        os.environ["DD_TRACE_PROPAGATION_STYLE"] = "datadog"
        from ddtrace.propagation.http import HTTPPropagator
        from ddtrace.trace import Context

        self.propagator, self.context = HTTPPropagator, Context

    def extract(self, carrier, context=None, getter=None):
        found = self.propagator.extract(dict(carrier.items()))
        if not found.trace_id or not found.span_id:
            return context
        flags = TraceFlags(TraceFlags.SAMPLED if (found.sampling_priority or 0) > 0 else 0)
        parent = SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(parent), context)

    def inject(self, carrier, context=None, setter=None):
        span = trace.get_current_span(context).get_span_context()
        self.propagator.inject(self.context(span.trace_id, span.span_id, sampling_priority=int(span.trace_flags.sampled)), carrier)

    @property
    def fields(self):
        return set()


def with_baggage(propagator):
    return CompositePropagator([propagator, W3CBaggagePropagator()])


def formats():
    """The value of OTEL_PROPAGATORS and Python's propagator for each format."""
    found = {
        "tracecontext": ("tracecontext,baggage", with_baggage(TraceContextTextMapPropagator())),
        "b3": ("b3,baggage", with_baggage(B3SingleFormat())),
        "b3multi": ("b3multi,baggage", with_baggage(B3MultiFormat())),
        "jaeger": ("jaeger", JaegerPropagator()),
        "xray": ("xray,baggage", with_baggage(AwsXRayPropagator())),
        "ottrace": ("ottrace", OTTracePropagator()),
        "gcp": ("gcp,baggage", with_baggage(CloudTraceFormatPropagator())),
    }
    try:
        found["datadog"] = ("datadog,baggage", with_baggage(DatadogPropagator()))
    except ImportError as error:
        print(f"without Datadog: {error}")
    return found


class Ids(RandomIdGenerator):
    """OT trace carries 64 bits: a trace that begins with more is cut by every SDK that writes it."""

    bits = 128

    def generate_trace_id(self):
        return super().generate_trace_id() & (1 << self.bits) - 1 or 1

    def is_trace_id_random(self):
        # Python's OT trace takes a trace that is sampled and random for one that is not sampled.
        return self.bits == 128


class Python:
    """The service in this process: it begins each trace and ends it."""

    def __init__(self, endpoint, formats):
        self.ids, self.formats, self.arrived = Ids(), formats, []
        resource = Resource.create({"service.name": "python"})
        self.provider = TracerProvider(resource=resource, id_generator=self.ids)
        exporter = OTLPSpanExporter(endpoint=f"http://{endpoint}/v1/traces")
        self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        self.tracer = self.provider.get_tracer("propagation")
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                service.serve(self.path[1:], self.headers)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, name, headers):
        context = self.formats[name][1].extract(headers, getter=Headers())
        user = baggage.get_baggage("user", context) or ""
        with self.tracer.start_as_current_span(f"POST /{name}", context, SpanKind.SERVER, {"baggage.user": user}) as span:
            self.arrived.append((span.get_span_context().trace_id, trace.get_current_span(context).get_span_context(), user))

    def call(self, name, user, url, arguments, sampled):
        """Sends a request as the root of a trace, and returns the trace's id."""
        self.ids.bits = 64 if name == "ottrace" else 128
        propagator = self.formats[name][1]
        context = baggage.set_baggage("user", user, trace.set_span_in_context(trace.INVALID_SPAN))
        if sampled:
            span = self.tracer.start_span("POST", context, SpanKind.CLIENT)
        else:
            ids = (self.ids.generate_trace_id(), self.ids.generate_span_id())
            span = NonRecordingSpan(SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(0)))
        headers = {"content-type": "application/json"}
        propagator.inject(headers, trace.set_span_in_context(span, context))
        with OPENER.open(Request(url, json.dumps(arguments).encode(), headers), timeout=20) as answer:
            answer.read()
        span.end()
        return span.get_span_context().trace_id


class Process:
    """A service that says on its first line where it listens."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ, **environment)
        )
        self.command = command

    def url(self):
        line = self.process.stdout.readline()
        if not line.startswith("listening on http://"):
            raise SystemExit(f"{self.command} did not get ready: {line!r}")
        return line.split()[-1]

    def stop(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(timeout=10)


def rust(binary, endpoint, propagators):
    environment = {
        "OTEL_PROPAGATORS": propagators,
        "OTEL_SERVICE_NAME": "rust",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{endpoint}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_LOGS_EXPORTER": "none",
    }
    return Process([binary, "127.0.0.1:0"], environment)


def trace_of(server, trace_id):
    try:
        return stored_spans(server.get(f"/api/v1/traces/{trace_id:032x}"))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}
        raise


def way(spans):
    """The spans from the root down, as service and kind, where each has exactly one child."""
    children = {}
    for span in spans.values():
        children.setdefault(span["parentSpanId"], []).append(span)
    found, parent = [], ""
    while len(children.get(parent, [])) == 1:
        (span,) = children[parent]
        found.append(f"{span['resource']['service.name'][1]} {KINDS.get(span['kind'], span['kind'])}")
        parent = span["spanId"]
    return found


def check(server, python, name, rust_url, node_url):
    """What is wrong with one format, as sentences."""
    # OT trace sends values as they are, and each SDK has its own idea of what a byte above 127 is. Python's own
    # baggage has no space: it writes one as +, which nobody else takes for one.
    user = "alice b" if name == "ottrace" else "alice-é,;="
    arguments = [{"url": f"{python.url}/{name}", "arguments": []}]
    expected = ["python client", "rust server", "rust client"]
    if node_url:
        arguments = [{"url": f"{node_url}/{name}", "arguments": [{"url": f"{rust_url}/test", "arguments": arguments}]}]
        expected += ["node server", "node client", "rust server", "rust client"]
    expected.append("python server")
    problems = []

    trace_id = python.call(name, user, f"{rust_url}/test", arguments, sampled=True)
    arrived_in, parent, arrived = python.arrived.pop()
    if (arrived_in, parent.trace_flags.sampled, arrived) != (trace_id, True, user):
        problems.append(f"{name}: arrived in trace {arrived_in:032x}, not {trace_id:032x}, {parent}, baggage {arrived!r}")
    unsampled_id = python.call(name, user, f"{rust_url}/test", arguments, sampled=False)
    arrived_in, parent, arrived = python.arrived.pop()
    if (arrived_in, parent.trace_flags.sampled, arrived) != (unsampled_id, False, user):
        problems.append(f"{name}, unsampled: arrived in trace {arrived_in:032x}, not {unsampled_id:032x}, {parent}")

    ended = time.monotonic() + STORED_SECONDS_MAX
    while len(spans := trace_of(server, trace_id)) < len(expected) and time.monotonic() < ended:
        time.sleep(0.05)
    if (found := way(spans)) != expected or len(spans) != len(expected):
        problems.append(f"{name}: {len(spans)} spans stored, the way is {found}, not {expected}")
    for span in spans.values():
        if span["attributes"].get("baggage.user", ["string", user]) != ["string", user]:
            problems.append(f"{name}: {span['resource']['service.name'][1]} got the baggage {span['attributes']}")
    # What was recorded of the request before has arrived: this one's spans would have, too.
    if spans := trace_of(server, unsampled_id):
        problems.append(f"{name}: {len(spans)} spans of a trace that is not recorded are stored: {way(spans)}")
    return problems


def main():
    binary, service, *options = sys.argv[1:]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tracewell-propagation-") as folder:
        server = Server(binary, Path(folder))
        services = {}
        try:
            known = formats()
            python = Python(server.otlp_http, known)
            for name, (propagators, _) in known.items():
                services[name] = rust(service, server.otlp_http, propagators)
            if "--without-node" not in options:
                services["node"] = Process(["node", str(HERE / "propagation.mjs"), server.otlp_http], {})
            urls = {name: process.url() for name, process in services.items()}
            problems = []
            for name in known:
                node = None if name == "datadog" else urls.get("node")
                problems += check(server, python, name, urls[name], node)
            if problems:
                raise SystemExit("\n".join(problems))
            with_node = "Python, Rust and Node" if "node" in urls else "Python and Rust"
            print(f"one trace over {with_node} in each of {', '.join(known)}, in {time.monotonic() - started:.1f} s")
        finally:
            for process in services.values():
                process.stop()
            server.stop()


main()
