// Sends spans with the OpenTelemetry SDK for Node and prints, as JSON, what the SDK recorded.
//
// usage: node send.mjs grpc|proto|json ENDPOINT SERVICE
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, createTraceState, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [protocol, endpoint, service] = process.argv.slice(2);

async function exporter() {
  switch (protocol) {
    case "grpc": {
      const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-grpc");
      return new OTLPTraceExporter({ url: `http://${endpoint}` });
    }
    case "proto": {
      const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-proto");
      return new OTLPTraceExporter({ url: `http://${endpoint}/v1/traces`, compression: "gzip" });
    }
    case "json": {
      const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-http");
      return new OTLPTraceExporter({ url: `http://${endpoint}/v1/traces` });
    }
    default:
      throw new Error(`unknown protocol ${protocol}`);
  }
}

const recorded = [];
const recorder = {
  onStart() {},
  onEnd: (span) => recorded.push(span),
  forceFlush: async () => {},
  shutdown: async () => {},
};

/** A value with its OTLP type. JavaScript has one kind of number; its SDK sends whole ones as integers. */
function typed(value) {
  if (Array.isArray(value)) return ["array", value.map(typed)];
  if (value instanceof Uint8Array) return ["bytes", Buffer.from(value).toString("hex")];
  switch (typeof value) {
    case "boolean":
      return ["bool", value];
    case "number":
      return Number.isInteger(value) ? ["int", String(value)] : ["double", value];
    default:
      return ["string", value];
  }
}

const attributes = (map = {}) => Object.fromEntries(Object.entries(map).map(([key, value]) => [key, typed(value)]));
const nanoseconds = ([seconds, rest]) => String(BigInt(seconds) * 1_000_000_000n + BigInt(rest));

const described = (span) => ({
  traceId: span.spanContext().traceId,
  spanId: span.spanContext().spanId,
  parentSpanId: span.parentSpanContext?.spanId ?? "",
  traceState: span.spanContext().traceState?.serialize() ?? "",
  name: span.name,
  kind: span.kind + 1,
  start: nanoseconds(span.startTime),
  end: nanoseconds(span.endTime),
  status: [span.status.code, span.status.message ?? ""],
  attributes: attributes(span.attributes),
  events: span.events.map((event) => [event.name, nanoseconds(event.time), attributes(event.attributes)]),
  links: span.links.map((link) => [link.context.traceId, link.context.spanId, attributes(link.attributes)]),
  resource: attributes(span.resource.attributes),
  scope: [span.instrumentationScope.name, span.instrumentationScope.version ?? ""],
});

function emit(tracer) {
  const values = {
    text: "Grüße, 世界",
    empty: "",
    integer: 9007199254740991,
    negative: -42,
    double: 0.1,
    truth: false,
    texts: ["a", "", "c"],
    integers: [1, 2, 3],
    truths: [true, false],
  };
  const caller = {
    traceId: "1bf7651916cd43dd8448eb211c80319e",
    spanId: "10f067aa0ba902b7",
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
    traceState: createTraceState("vendor=a,other=1"),
  };
  const elsewhere = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "00f067aa0ba902b7", traceFlags: 1 };
  const context = trace.setSpanContext(ROOT_CONTEXT, caller);
  const root = tracer.startSpan("GET /cart", { kind: SpanKind.SERVER, attributes: values }, context);
  const below = trace.setSpan(context, root);
  const links = [{ context: elsewhere, attributes: values }];
  const query = tracer.startSpan("SELECT cart", { kind: SpanKind.CLIENT, links }, below);
  query.addEvent("fetched", { rows: 3, cached: false });
  query.setStatus({ code: SpanStatusCode.ERROR, message: "deadlock detected" });
  query.recordException(new Error("deadlock"));
  query.end();
  root.setStatus({ code: SpanStatusCode.OK });
  root.end();
  for (let number = 0; number < 700; number++) {
    tracer.startSpan(`job ${number % 7}`, { kind: SpanKind.CONSUMER, attributes: { number } }).end();
  }
}

const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": service, "service.version": "1.2.3" }),
  spanProcessors: [recorder, new BatchSpanProcessor(await exporter(), { maxQueueSize: 4096 })],
});
emit(provider.getTracer("tests.clients", "0.1"));
await provider.shutdown();
process.stdout.write(JSON.stringify(recorded.map(described)));
