/** Writes trace columns for tests, as the server does. */
export interface SpanInput {
  parent: number;
  service: string;
  name: string;
  start: number;
  duration: number;
  kind?: number;
  status?: number;
  flags?: number;
}

export function encodeColumns(spans: SpanInput[]): ArrayBuffer {
  const n = spans.length;
  const services: string[] = [];
  const names: string[] = [];
  const index = (list: string[], text: string) => {
    const at = list.indexOf(text);
    return at >= 0 ? at : list.push(text) - 1;
  };
  const descendants = new Uint32Array(n);
  const depth = new Uint16Array(n);
  for (let i = n - 1; i >= 0; i--) {
    const p = spans[i]!.parent;
    if (p >= 0) descendants[p] = descendants[p]! + descendants[i]! + 1;
  }
  spans.forEach((s, i) => (depth[i] = s.parent < 0 ? 0 : depth[s.parent]! + 1));
  const ids = new Uint8Array(n * 8);
  for (let i = 0; i < n; i++) new DataView(ids.buffer).setUint32(i * 8 + 4, i + 1);
  const arrays: [string, string, ArrayBufferView][] = [
    ['start', 'f64', Float64Array.from(spans, (s) => s.start)],
    ['duration', 'f64', Float64Array.from(spans, (s) => s.duration)],
    ['spanId', 'u8', ids],
    ['parent', 'i32', Int32Array.from(spans, (s) => s.parent)],
    ['descendants', 'u32', descendants],
    ['service', 'u32', Uint32Array.from(spans, (s) => index(services, s.service))],
    ['name', 'u32', Uint32Array.from(spans, (s) => index(names, s.name))],
    ['scope', 'u32', new Uint32Array(n)],
    ['depth', 'u16', depth],
    ['kind', 'u8', Uint8Array.from(spans, (s) => s.kind ?? 1)],
    ['status', 'u8', Uint8Array.from(spans, (s) => s.status ?? 0)],
    ['flags', 'u8', Uint8Array.from(spans, (s) => s.flags ?? 0)],
  ];
  const pad8 = (x: number) => Math.ceil(x / 8) * 8;
  const header = (base: number) => {
    let at = base;
    const columns = arrays.map(([name, type, a]) => {
      const offset = at;
      at = pad8(at + a.byteLength);
      return { name, type, offset };
    });
    const end = Math.max(0, ...spans.map((s) => s.start + s.duration));
    const text = JSON.stringify({
      traceId: '0'.repeat(31) + '1', spanCount: n, startUnixNano: '1795343881398540597', durationNs: end, services, names, scopes: [''], columns, warnings: [],
    });
    return { text, columns, end: at };
  };
  // Offsets have as many digits as they need: repeat until the header's size settles.
  let base = 16;
  let h = header(base);
  for (let size = pad8(new TextEncoder().encode(h.text).length); base !== 16 + size; size = pad8(new TextEncoder().encode(h.text).length)) {
    base = 16 + size;
    h = header(base);
  }
  const body = new Uint8Array(h.end);
  body.set(new TextEncoder().encode('TWCOLS1\n'));
  new DataView(body.buffer).setUint32(8, base - 16, true);
  body.fill(32, 16, base);
  body.set(new TextEncoder().encode(h.text), 16);
  arrays.forEach(([, , a], i) => body.set(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), h.columns[i]!.offset));
  return body.buffer;
}
