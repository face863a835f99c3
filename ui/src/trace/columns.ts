/**
 * A trace as binary columns: parsing and checking of the body of `GET /api/v1/traces/{id}/columns`.
 *
 * Spans lie in preorder of the tree, so that a subtree is the contiguous range `[i, i + descendants[i]]`, a parent
 * always comes before its children, and the next sibling is `i + descendants[i] + 1`. Everything that draws reads
 * these arrays; there is no object per span.
 */

/** Bits of {@link TraceColumns.flags}. */
export const Flag = { orphan: 1, events: 2, links: 4, logs: 8, shared: 16, exception: 32, inferred: 64 } as const;

/** OTLP span kinds in wire order. */
export const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'] as const;

/** OTLP status code of a failed span. */
export const STATUS_ERROR = 2;

export interface TraceColumns {
  traceId: string;
  spanCount: number;
  /** Start of the earliest span, nanoseconds since the Unix epoch. */
  startUnixNano: bigint;
  /** From the earliest start to the latest end, nanoseconds. */
  durationNs: number;
  services: string[];
  names: string[];
  scopes: string[];
  /** What the server noticed while assembling the trace, as sentences. */
  warnings: string[];
  /** Nanoseconds after `startUnixNano`. */
  start: Float64Array;
  /** Nanoseconds. */
  duration: Float64Array;
  /** Eight bytes per span. */
  spanId: Uint8Array;
  /** Preorder index of the parent, −1 for a root. */
  parent: Int32Array;
  /** Number of spans below this one. */
  descendants: Uint32Array;
  service: Uint32Array;
  name: Uint32Array;
  scope: Uint32Array;
  depth: Uint16Array;
  kind: Uint8Array;
  status: Uint8Array;
  flags: Uint8Array;
  /** Nanoseconds by which the clock of each span's host is ahead, where that is known: see {@link corrected}. */
  correction: Float64Array | null;
}

/** The body is not a trace in columns; the message says where it departs. */
export class ColumnsError extends Error {
  override name = 'ColumnsError';
}

const MAGIC = 'TWCOLS1\n';

const ELEMENT: Record<string, { bytes: number; type: string }> = {
  start: { bytes: 8, type: 'f64' },
  duration: { bytes: 8, type: 'f64' },
  spanId: { bytes: 8, type: 'u8' },
  parent: { bytes: 4, type: 'i32' },
  descendants: { bytes: 4, type: 'u32' },
  service: { bytes: 4, type: 'u32' },
  name: { bytes: 4, type: 'u32' },
  scope: { bytes: 4, type: 'u32' },
  depth: { bytes: 2, type: 'u16' },
  kind: { bytes: 1, type: 'u8' },
  status: { bytes: 1, type: 'u8' },
  flags: { bytes: 1, type: 'u8' },
  correction: { bytes: 8, type: 'f64' },
};

interface Header {
  traceId: string;
  spanCount: number;
  startUnixNano: string;
  durationNs: number;
  services: string[];
  names: string[];
  scopes: string[];
  columns: { name: string; type: string; offset: number }[];
  warnings?: string[];
}

/** Parses and checks a body; the arrays are views of `body`, not copies. */
export function parseColumns(body: ArrayBuffer): TraceColumns {
  if (body.byteLength < 16) throw new ColumnsError(`expected at least 16 bytes, got ${body.byteLength}`);
  const bytes = new Uint8Array(body);
  for (let i = 0; i < MAGIC.length; i++) {
    if (bytes[i] !== MAGIC.charCodeAt(i)) throw new ColumnsError('expected the mark TWCOLS1 at the start');
  }
  const headerLength = new DataView(body).getUint32(8, true);
  if (16 + headerLength > body.byteLength) throw new ColumnsError(`header of ${headerLength} bytes ends past the body`);
  let header: Header;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + headerLength))) as Header;
  } catch (cause) {
    throw new ColumnsError(`header is not JSON: ${String(cause)}`);
  }
  const n = header.spanCount;
  if (!Number.isInteger(n) || n < 0) throw new ColumnsError(`spanCount is ${String(n)}, expected a whole number`);

  const at = (name: string): number => {
    const column = header.columns.find((c) => c.name === name);
    const element = ELEMENT[name]!;
    if (!column) throw new ColumnsError(`column ${name} is missing`);
    // The type of the span ids may be written with its width.
    if (name !== 'spanId' && column.type !== element.type) {
      throw new ColumnsError(`column ${name} is of type ${column.type}, expected ${element.type}`);
    }
    if (column.offset % 8 !== 0) throw new ColumnsError(`column ${name} starts at ${column.offset}, not a multiple of 8`);
    if (column.offset + n * element.bytes > body.byteLength) throw new ColumnsError(`column ${name} ends past the body`);
    return column.offset;
  };

  const trace: TraceColumns = {
    traceId: header.traceId,
    spanCount: n,
    startUnixNano: BigInt(header.startUnixNano),
    durationNs: header.durationNs,
    services: header.services,
    names: header.names,
    scopes: header.scopes,
    warnings: header.warnings ?? [],
    start: new Float64Array(body, at('start'), n),
    duration: new Float64Array(body, at('duration'), n),
    spanId: new Uint8Array(body, at('spanId'), n * 8),
    parent: new Int32Array(body, at('parent'), n),
    descendants: new Uint32Array(body, at('descendants'), n),
    service: new Uint32Array(body, at('service'), n),
    name: new Uint32Array(body, at('name'), n),
    scope: new Uint32Array(body, at('scope'), n),
    depth: new Uint16Array(body, at('depth'), n),
    kind: new Uint8Array(body, at('kind'), n),
    status: new Uint8Array(body, at('status'), n),
    flags: new Uint8Array(body, at('flags'), n),
    correction: header.columns.some((c) => c.name === 'correction') ? new Float64Array(body, at('correction'), n) : null,
  };
  check(trace);
  return trace;
}

/** What the drawing relies on without asking again: one pass, so that a broken body fails here with its reason. */
function check(t: TraceColumns): void {
  for (let i = 0; i < t.spanCount; i++) {
    const parent = t.parent[i]!;
    const last = i + t.descendants[i]!;
    if (last >= t.spanCount) throw new ColumnsError(`span ${i} has descendants past the end`);
    if (parent >= i || parent < -1) throw new ColumnsError(`span ${i} has parent ${parent}, expected an earlier span`);
    if (parent >= 0 && last > parent + t.descendants[parent]!) {
      throw new ColumnsError(`span ${i} is not inside the subtree of its parent ${parent}`);
    }
    if (t.service[i]! >= t.services.length) throw new ColumnsError(`span ${i} names service ${t.service[i]}, which is not listed`);
    if (t.name[i]! >= t.names.length) throw new ColumnsError(`span ${i} names name ${t.name[i]}, which is not listed`);
  }
}

/** The trace as it would be if all clocks agreed; its start is that of its then earliest span. */
export function corrected(t: TraceColumns): TraceColumns {
  const { correction } = t;
  if (!correction) return t;
  const start = t.start.map((ns, i) => ns - correction[i]!);
  const least = start.reduce((least, ns) => Math.min(least, ns), Infinity);
  const origin = Number.isFinite(least) ? least : 0;
  let durationNs = 0;
  for (let i = 0; i < t.spanCount; i++) {
    start[i] = start[i]! - origin;
    durationNs = Math.max(durationNs, start[i]! + t.duration[i]!);
  }
  return { ...t, start, durationNs, startUnixNano: t.startUnixNano + BigInt(Math.round(origin)) };
}

const HEX = Array.from({ length: 256 }, (_, b) => b.toString(16).padStart(2, '0'));

/** The id of span `i` as 16 lower-case hex digits. */
export function spanIdHex(t: TraceColumns, i: number): string {
  let id = '';
  for (let b = i * 8; b < i * 8 + 8; b++) id += HEX[t.spanId[b]!];
  return id;
}

/** The first span with this id in preorder, or −1. A linear pass: for links and clicks, not for frames. */
export function findSpan(t: TraceColumns, idHex: string): number {
  if (!/^[0-9a-f]{16}$/i.test(idHex)) return -1;
  const want = new Uint8Array(8);
  for (let b = 0; b < 8; b++) want[b] = parseInt(idHex.slice(b * 2, b * 2 + 2), 16);
  const ids = t.spanId;
  for (let i = 0, o = 0; i < t.spanCount; i++, o += 8) {
    if (
      ids[o] === want[0] && ids[o + 1] === want[1] && ids[o + 2] === want[2] && ids[o + 3] === want[3] &&
      ids[o + 4] === want[4] && ids[o + 5] === want[5] && ids[o + 6] === want[6] && ids[o + 7] === want[7]
    ) {
      return i;
    }
  }
  return -1;
}
