// A service with the OpenTelemetry SDK for Node that calls whom it is told to, in the format that its path names.
//
// usage: node propagation.mjs OTLP_ENDPOINT
//
// POST /b3 takes [{"url", "arguments"}, …] and posts each `arguments` to each `url`. The first line on stdout says
// where it listens; when stdin ends, it sends what it has recorded and ends.
import { createServer, request } from "node:http";
import { SpanKind, context, defaultTextMapGetter, defaultTextMapSetter, propagation, trace } from "@opentelemetry/api";
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";
import { CloudPropagator } from "@google-cloud/opentelemetry-cloud-trace-propagator";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { AWSXRayPropagator } from "@opentelemetry/propagator-aws-xray";
import { B3InjectEncoding, B3Propagator } from "@opentelemetry/propagator-b3";
import { JaegerPropagator } from "@opentelemetry/propagator-jaeger";
import { OTTracePropagator } from "@opentelemetry/propagator-ot-trace";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [endpoint] = process.argv.slice(2);
const exporter = new OTLPTraceExporter({ url: `http://${endpoint}/v1/traces` });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node" }),
  spanProcessors: [new BatchSpanProcessor(exporter, { scheduledDelayMillis: 100 })],
});
const tracer = provider.getTracer("propagation");

const withBaggage = (propagator) => new CompositePropagator({ propagators: [propagator, new W3CBaggagePropagator()] });
const FORMATS = {
  tracecontext: withBaggage(new W3CTraceContextPropagator()),
  b3: withBaggage(new B3Propagator()),
  b3multi: withBaggage(new B3Propagator({ injectEncoding: B3InjectEncoding.MULTI_HEADER })),
  jaeger: new JaegerPropagator(),
  xray: withBaggage(new AWSXRayPropagator()),
  ottrace: new OTTracePropagator(),
  gcp: withBaggage(new CloudPropagator()),
};

function post(url, headers, body) {
  return new Promise((resolve, reject) => {
    const call = request(url, { method: "POST", headers: { ...headers, "content-type": "application/json" } }, (answer) => {
      answer.resume();
      answer.on("end", () => (answer.statusCode === 200 ? resolve() : reject(new Error(`${url}: ${answer.statusCode}`))));
    });
    call.on("error", reject);
    call.end(JSON.stringify(body));
  });
}

async function handle(format, incoming, calls) {
  const propagator = FORMATS[format];
  const caller = propagator.extract(context.active(), incoming.headers, defaultTextMapGetter);
  const user = propagation.getBaggage(caller)?.getEntry("user")?.value ?? "";
  const attributes = { "baggage.user": user };
  const server = tracer.startSpan(`POST /${format}`, { kind: SpanKind.SERVER, attributes }, caller);
  for (const call of calls) {
    const inside = trace.setSpan(caller, server);
    const client = tracer.startSpan("POST", { kind: SpanKind.CLIENT }, inside);
    const headers = {};
    propagator.inject(trace.setSpan(inside, client), headers, defaultTextMapSetter);
    try {
      await post(call.url, headers, call.arguments);
    } finally {
      client.end();
    }
  }
  server.end();
}

const server = createServer(async (incoming, answer) => {
  try {
    const parts = [];
    for await (const part of incoming) parts.push(part);
    await handle(incoming.url.slice(1), incoming, JSON.parse(Buffer.concat(parts).toString()));
    answer.writeHead(200).end();
  } catch (error) {
    answer.writeHead(500).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
process.stdin.on("end", async () => {
  await provider.shutdown();
  process.exit(0);
});
process.stdin.resume();
