// Encodes plain spans as the binary columns of docs/api.md.

const pad8 = (n) => Math.ceil(n / 8) * 8;

export function encodeColumns(traceId, startUnixNano, spans, logSpans = new Set(), warnings = []) {
  const n = spans.length;
  const services = new Map();
  const names = new Map();
  const scopes = new Map();
  const index = (map, key) => map.get(key) ?? (map.set(key, map.size), map.size - 1);
  const start = new Float64Array(n), duration = new Float64Array(n), ids = new Uint8Array(n * 8), parent = new Int32Array(n), descendants = new Uint32Array(n);
  const service = new Uint32Array(n), name = new Uint32Array(n), scope = new Uint32Array(n), depth = new Uint16Array(n), kind = new Uint8Array(n), status = new Uint8Array(n), flags = new Uint8Array(n);
  const least = spans.reduce((m, s) => Math.min(m, s.start), Infinity);
  let end = 0;
  for (let i = 0; i < n; i++) {
    const s = spans[i];
    start[i] = s.start - least;
    duration[i] = s.duration;
    end = Math.max(end, start[i] + s.duration);
    for (let b = 0; b < 8; b++) ids[i * 8 + b] = parseInt(s.spanId.slice(b * 2, b * 2 + 2), 16);
    parent[i] = s.parent;
    depth[i] = s.parent < 0 ? 0 : depth[s.parent] + 1;
    service[i] = index(services, s.service);
    name[i] = index(names, s.name);
    scope[i] = index(scopes, s.scope ?? 'io.opentelemetry.http');
    kind[i] = s.kind;
    status[i] = s.status;
    flags[i] = s.flags | (s.events.length ? 2 : 0) | (s.links.length ? 4 : 0) | (logSpans.has(s.spanId) ? 8 : 0);
  }
  for (let i = n - 1; i >= 0; i--) if (parent[i] >= 0) descendants[parent[i]] += descendants[i] + 1;
  const arrays = [['start', 'f64', start], ['duration', 'f64', duration], ['spanId', 'u8', ids], ['parent', 'i32', parent], ['descendants', 'u32', descendants], ['service', 'u32', service], ['name', 'u32', name], ['scope', 'u32', scope], ['depth', 'u16', depth], ['kind', 'u8', kind], ['status', 'u8', status], ['flags', 'u8', flags]];
  const header = (base) => {
    let at = base;
    const columns = arrays.map(([name, type, a]) => {
      const c = { name, type, offset: at };
      at = pad8(at + a.byteLength);
      return c;
    });
    const json = Buffer.from(JSON.stringify({ traceId, spanCount: n, startUnixNano: String(startUnixNano + BigInt(Math.round(least))), durationNs: end, services: [...services.keys()], names: [...names.keys()], scopes: [...scopes.keys()], columns, warnings }));
    return { json, columns, size: at };
  };
  let base = 16;
  let h = header(base);
  while (base !== 16 + pad8(h.json.length)) {
    base = 16 + pad8(h.json.length);
    h = header(base);
  }
  const body = Buffer.alloc(h.size, 0);
  body.write('TWCOLS1\n');
  body.writeUInt32LE(base - 16, 8);
  body.fill(32, 16, base);
  h.json.copy(body, 16);
  arrays.forEach(([, , a], i) => Buffer.from(a.buffer, a.byteOffset, a.byteLength).copy(body, h.columns[i].offset));
  return body;
}
