/** Finds a trace id in whatever was pasted: an id, a `traceparent` header, B3, Jaeger, X-Ray, a URL, a log line. */

export interface Pasted {
  traceId: string;
  spanId: string;
}

const ZEROS = /^0+$/;

export function findTraceId(text: string): Pasted | null {
  const line = text.trim();
  if (line === '' || line.length > 100_000) return null;
  const hit = (traceId: string, spanId = ''): Pasted | null =>
    ZEROS.test(traceId) ? null : { traceId: traceId.toLowerCase(), spanId: ZEROS.test(spanId) ? '' : spanId.toLowerCase() };

  // traceparent, as header or value: version-traceid-spanid-flags.
  const w3c = /(?:^|[^0-9a-f])[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?![0-9a-f])/i.exec(line);
  if (w3c) return hit(w3c[1]!, w3c[2]!);
  // b3 single header and uber-trace-id.
  const b3 = /(?:^|[^0-9a-f])([0-9a-f]{32})[-:]([0-9a-f]{16})(?![0-9a-f])/i.exec(line);
  if (b3) return hit(b3[1]!, b3[2]!);
  // X-Ray: 1-5759e988-bd862e3fe1be46a994272793, with the segment after Parent=.
  const xray = /(?:^|[^0-9a-f])1-([0-9a-f]{8})-([0-9a-f]{24})(?![0-9a-f])/i.exec(line);
  if (xray) return hit(xray[1]! + xray[2]!, /Parent=([0-9a-f]{16})/i.exec(line)?.[1] ?? '');
  // A UUID in a trace field is a trace id with dashes.
  const uuid = /trace[-_. ]?id["'\s:=]+([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})/i.exec(line);
  if (uuid) return hit(uuid.slice(1).join(''));
  const span = /span[-_. ]?id["'\s:=]+([0-9a-f]{16})(?![0-9a-f])/i.exec(line)?.[1] ?? '';
  // A field that says so is better than the first long number of a log line.
  const named = /trace[-_. ]?id["'\s:=]+([0-9a-f]{32})(?![0-9a-f])/i.exec(line);
  if (named) return hit(named[1]!, span);
  const bare = /(?:^|[^0-9a-f])([0-9a-f]{32})(?![0-9a-f])/i.exec(line);
  return bare ? hit(bare[1]!, span) : null;
}
