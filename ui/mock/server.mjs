// The fixture server: the native API over generated traces, and the built page. No dependencies.
//   node mock/server.mjs [--port 3210] [--mode normal|empty|error] [--slow MS]
// The query language is understood only as far as the tests need: `attribute op value` joined by `&&`.
import { createServer } from 'node:http';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brokenTrace, deepTrace, fromOtlp, largeTrace, random, shopTrace } from './generate.mjs';
import { encodeColumns } from './columns.mjs';
import { explainSet, explainTrace, hopChangesOf, hopsOf, redOf } from './explain.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = join(HERE, '..', 'dist');
const REAL = join(HERE, '..', '..', '..', 'shared', 'data', 'traces', 'otlp');
const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'];
const CODES = ['unset', 'ok', 'error'];

/** The demo: a chain of thirty services and a fault of each shape. */
function demoState() {
  const chain = ['web-frontend', 'api-gateway', 'checkout', 'order-orchestrator', 'inventory', 'reservations', 'warehouse-router', 'stock-ledger', 'allocation', 'fulfilment', 'carrier-selection', 'rates', 'zones', 'customs', 'duties', 'tax', 'tax-rules', 'jurisdictions', 'address-check', 'geocoding', 'regions', 'risk', 'fraud-scoring', 'features', 'profiles', 'history', 'archive', 'ledger', 'ledger-store', 'ledger-db'];
  const fault = (name, title, description, verdict, more = {}) => ({
    name, title, description, on: false, setting: null, settings: [], services: [], look: 'Open a slow trace: one bar takes nearly all of the time.', query: '{ trace:duration > 1s }',
    verdict: { sentence: '', kind: '', service: null, edge: null, direction: null, operation: null, statement: null, attribute: null, ...verdict }, ...more,
  });
  return {
    services: 50, instances: 61, requestsPerSecond: 5, chain,
    faults: [
      fault('slow-query', 'Slow query in the thirtieth service', 'The statement that sums up the ledger reads the whole table instead of its index.', { kind: 'slow-operation', service: 'ledger-db', sentence: 'Checkout is slow because of one statement in ledger-db, the thirtieth service.', statement: 'SELECT sum(amount) FROM entries WHERE account = ?' }, { services: ['ledger-db'] }),
      fault('congestion-request', 'Congestion from the tenth to the eleventh', 'The link carries requests at 40 kB/s with a queue before it.', { kind: 'network', edge: { caller: 'fulfilment', callee: 'carrier-selection' }, direction: 'request', sentence: 'The time goes on the network from fulfilment to carrier-selection, on the way there.' }, { services: ['fulfilment', 'carrier-selection'] }),
      fault('slow-database', 'A database waits for locks', 'Queries of one database wait two to four seconds for a lock.', { kind: 'lock-wait', service: 'inventory-db', sentence: 'inventory-db waits for a lock.' }, { services: ['inventory-db'], setting: 'inventory-db', settings: ['inventory-db', 'orders-db'] }),
      fault('clock-skew', 'A clock is wrong', 'The clock of one service is 180 ms ahead.', { kind: 'clock-skew', service: 'rates', sentence: 'The clock of rates is 180 ms ahead.' }, { services: ['rates'] }),
    ],
  };
}
const id = (n) => String(n).padStart(32, '0');

/** Named traces, so that tests and people can open them: /trace/00…0200 and so on. */
export const FIXTURES = { shop: id(200), large: id(100000), broken: id(404), deep: id(36), million: id(1000000) };

function buildStore(now) {
  const traces = new Map();
  const put = (traceId, start, spans) => traces.set(traceId, { traceId, start, spans });
  const rand = random(99);
  let at = now - 4000;
  for (let i = 0; i < 420; i++) {
    const seed = 1000 + i;
    const traceId = Array.from({ length: 4 }, () => Math.floor(rand() * 2 ** 32).toString(16).padStart(8, '0')).join('');
    put(traceId, BigInt(Math.round(at)) * 1000000n, shopTrace(seed, 20 + Math.floor(rand() * 180), undefined, i % 9 === 0 ? 2 : 1));
    at -= 1500 + rand() * 14000;
  }
  const fixed = (traceId, secondsAgo, spans) => put(traceId, BigInt(now - secondsAgo * 1000) * 1000000n, spans);
  let seed = 1;
  let shop = shopTrace(seed, 200, 'GET /checkout', 2);
  while (seed < 2000 && (shop.length < 160 || !shop.some((s) => s.status === 2))) shop = shopTrace(++seed, 200, 'GET /checkout', 2);
  fixed(FIXTURES.shop, 30, shop);
  fixed(FIXTURES.broken, 95, brokenTrace());
  fixed(FIXTURES.deep, 140, deepTrace());
  if (existsSync(REAL)) {
    for (const file of readdirSync(REAL).filter((f) => f.endsWith('.json'))) {
      const t = fromOtlp(JSON.parse(readFileSync(join(REAL, file), 'utf8')));
      if (t) put(t.traceId.padStart(32, '0'), t.start, t.spans);
    }
  } else console.log(`skipping real traces: ${REAL} is missing`);
  return traces;
}

/** Log records: one for some spans, three for failed ones. */
function logsOf(t) {
  const rand = random(t.spans.length + 5);
  const logs = [];
  if (t.spans.length > 5000) return logs;
  for (const s of t.spans) {
    const log = (offset, severityNumber, severityText, text, attributes = []) =>
      logs.push({ timeUnixNano: String(t.start + BigInt(Math.round(s.start + offset))), observedTimeUnixNano: String(t.start + BigInt(Math.round(s.start + offset + 3e5))), severityNumber, severityText, body: { stringValue: text }, attributes, traceId: t.traceId, spanId: s.spanId, service: s.service, scope: 'app', eventName: '' });
    if (s.status === 2 && s.kind === 2) {
      log(s.duration * 0.2, 13, 'WARN', `upstream slow, retrying ${s.name}`);
      log(s.duration * 0.9, 17, 'ERROR', `request failed: upstream answered 503 after 2 attempts trace_id=${t.traceId}`, [{ key: 'attempts', value: { intValue: '2' } }]);
    } else if (s.kind === 2 && rand() < 0.3) log(s.duration * 0.1, 9, 'INFO', `${s.name} accepted`, [{ key: 'queue.depth', value: { intValue: String(Math.floor(rand() * 9)) } }]);
    else if (s.service.endsWith('-db') && s.duration > 60e6) log(s.duration, 13, 'WARN', `slow statement: ${(s.duration / 1e6).toFixed(0)} ms`);
  }
  return logs.sort((a, b) => (a.timeUnixNano < b.timeUnixNano ? -1 : 1));
}

function bounds(t) {
  if (t.bounds) return t.bounds;
  let least = Infinity, end = 0, errors = 0;
  const services = new Map();
  for (const s of t.spans) {
    least = Math.min(least, s.start);
    end = Math.max(end, s.start + s.duration);
    const c = services.get(s.service) ?? services.set(s.service, { name: s.service, spans: 0, errors: 0 }).get(s.service);
    c.spans++;
    if (s.status === 2) (errors++, c.errors++);
  }
  return (t.bounds = { least, duration: end - least, errors, services: [...services.values()].sort((a, b) => b.spans - a.spans) });
}

const UNIT = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

function parseQuery(q) {
  const fail = (message, position, length, hint) => {
    throw { status: 400, error: { code: 'invalid_query', message, position, length, hint } };
  };
  const text = q.trim() || '{}';
  if (!text.startsWith('{')) fail('expected a spanset', q.length - q.trimStart().length, Math.max(text.split(/\s/)[0].length, 1), 'a query starts with {, for example { status = error }');
  if (!text.includes('}')) fail('expected } before the end of the query', Buffer.byteLength(q), 1, 'close the spanset with }');
  const inside = text.slice(1, text.lastIndexOf('}'));
  const tests = [];
  let offset = q.indexOf('{') + 1;
  for (const part of inside.split('&&')) {
    const condition = part.trim();
    const at = offset + (part.length - part.trimStart().length);
    offset += part.length + 2;
    if (condition === '') continue;
    const m = /^([\w.:"-]+)\s*(=~|!~|!=|>=|<=|=|>|<)\s*("(?:[^"\\]|\\.)*"|[\w.]+)$/.exec(condition);
    if (!m) fail(`cannot read \`${condition}\``, Buffer.byteLength(q.slice(0, at)), Buffer.byteLength(condition), 'write a condition as: attribute operator value');
    const [, name, op, raw] = m;
    const known = ['name', 'status', 'duration', 'kind', 'traceDuration', 'rootName', 'rootServiceName', 'statusMessage', 'childCount'];
    if (!name.includes('.') && !known.includes(name)) {
      const near = known.find((k) => k.slice(0, 3) === name.slice(0, 3));
      fail(`unknown intrinsic \`${name}\``, Buffer.byteLength(q.slice(0, at)), name.length, near ? `did you mean \`${near}\`? attributes are written with a scope: span.${name}` : `attributes are written with a scope: span.${name}`);
    }
    const duration = /^([\d.]+)(ns|us|ms|s|m|h)$/.exec(raw);
    const value = duration ? Number(duration[1]) * UNIT[duration[2]] : raw.startsWith('"') ? JSON.parse(raw) : /^[\d.]+$/.test(raw) ? Number(raw) : raw;
    tests.push((t, s) => compare(read(t, s, name), op, value));
  }
  return tests;
}

function read(t, s, name) {
  switch (name) {
    case 'name': return s.name;
    case 'status': return CODES[s.status];
    case 'kind': return KINDS[s.kind];
    case 'duration': return s.duration;
    case 'traceDuration': return bounds(t).duration;
    case 'rootName': return t.spans[0].name;
    case 'rootServiceName': return t.spans[0].service;
    case 'resource.service.name': case '.service.name': return s.service;
  }
  const key = name.replace(/^(span|resource)?\./, '').replaceAll('"', '');
  const v = s.attributes.find((a) => a.key === key)?.value;
  if (!v) return undefined;
  return v.intValue !== undefined ? Number(v.intValue) : (v.stringValue ?? v.doubleValue ?? v.boolValue);
}

function compare(a, op, b) {
  if (a === undefined) return false;
  switch (op) {
    case '=': return String(a) === String(b);
    case '!=': return String(a) !== String(b);
    case '=~': return new RegExp(b).test(String(a));
    case '!~': return !new RegExp(b).test(String(a));
    case '>': return a > b;
    case '>=': return a >= b;
    case '<': return a < b;
    default: return a <= b;
  }
}

function summary(t, matched) {
  const b = bounds(t);
  const root = t.spans[0];
  return {
    traceId: t.traceId, rootService: root.service, rootName: root.name, rootMissing: (root.flags & 1) !== 0,
    startUnixNano: String(t.start + BigInt(Math.round(b.least))), durationNs: b.duration, spanCount: t.spans.length, errorCount: b.errors, services: b.services, matchedSpans: matched.length,
    spans: matched.slice(0, 3).map((s) => ({ spanId: s.spanId, name: s.name, service: s.service, startUnixNano: String(t.start + BigInt(Math.round(s.start))), durationNs: s.duration, status: CODES[s.status], kind: KINDS[s.kind], attributes: {} })),
  };
}

function detail(t, s) {
  return {
    traceId: t.traceId, spanId: s.spanId, parentSpanId: s.missingParent ?? (s.parent >= 0 ? t.spans[s.parent].spanId : ''), name: s.name, kind: KINDS[s.kind], status: { code: CODES[s.status], message: s.statusMessage ?? '' },
    startUnixNano: String(t.start + BigInt(Math.round(s.start))), endUnixNano: String(t.start + BigInt(Math.round(s.start + s.duration))), durationNs: Math.round(s.duration), traceState: '', flags: 257, service: s.service,
    attributes: s.attributes, droppedAttributesCount: 0,
    events: s.events.map((e) => ({ timeUnixNano: String(t.start + BigInt(Math.round(s.start + e.at))), name: e.name, attributes: e.attributes, droppedAttributesCount: 0 })), droppedEventsCount: 0,
    links: s.links.map((l) => ({ traceState: '', attributes: [], flags: 0, ...l })), droppedLinksCount: 0,
    resource: { attributes: s.resource ?? [{ key: 'service.name', value: { stringValue: s.service } }, { key: 'service.version', value: { stringValue: '1.14.2' } }, { key: 'k8s.pod.name', value: { stringValue: `${s.service}-7d9c6b5f4-x2kqp` } }, { key: 'host.name', value: { stringValue: 'node-3' } }, { key: 'telemetry.sdk.language', value: { stringValue: 'rust' } }, { key: 'process.pid', value: { intValue: '4127' } }], schemaUrl: 'https://opentelemetry.io/schemas/1.30.0', droppedAttributesCount: 0 },
    scope: { name: s.scope ?? 'io.opentelemetry.http', version: '0.31.0', attributes: [], schemaUrl: '' },
  };
}

function otlp(t) {
  const groups = new Map();
  for (const s of t.spans) (groups.get(s.service) ?? groups.set(s.service, []).get(s.service)).push(s);
  return {
    resourceSpans: [...groups.values()].map((spans) => ({
      resource: { attributes: detail(t, spans[0]).resource.attributes },
      scopeSpans: [{ scope: { name: spans[0].scope ?? '' }, spans: spans.map((s) => { const d = detail(t, s); return { traceId: d.traceId, spanId: d.spanId, parentSpanId: d.parentSpanId, name: d.name, kind: s.kind, startTimeUnixNano: d.startUnixNano, endTimeUnixNano: d.endUnixNano, attributes: d.attributes, events: d.events, links: d.links, status: { code: s.status } }; }) }],
    })),
  };
}

function time(text, now, fallback) {
  if (!text) return fallback;
  const relative = /^now(?:-(\d+)([smhdw]))?$/.exec(text);
  if (relative) return BigInt(now - (relative[1] ? Number(relative[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 }[relative[2]] : 0)) * 1000000n;
  if (/^\d+$/.test(text)) return BigInt(text) * (text.length <= 11 ? 1000000000n : text.length === 13 ? 1000000n : text.length === 16 ? 1000n : 1n);
  return BigInt(Date.parse(text)) * 1000000n;
}

/** Starts a server; resolves to `{ url, close }`. `port` 0 picks a free one. */
export function startMock({ port = 0, mode = 'normal', slow = 0, now = Date.now() } = {}) {
  const store = mode === 'empty' ? new Map() : buildStore(now);
  const started = Date.now();
  const demo = demoState();
  const get = (traceId) => {
    let t = store.get(traceId);
    const size = traceId === FIXTURES.large ? 100_000 : traceId === FIXTURES.million ? 1_000_000 : 0;
    if (!t && size && mode === 'normal') store.set(traceId, (t = { traceId, start: BigInt(now - 600_000) * 1000000n, spans: largeTrace(size) }));
    if (!t) throw { status: 404, error: { code: 'not_found', message: `no span of trace ${traceId} is stored`, hint: 'it may not have arrived yet, or retention removed it' } };
    return t;
  };
  const within = (url) => {
    const from = time(url.searchParams.get('start'), now, 0n);
    const to = time(url.searchParams.get('end'), now + 86400000, BigInt(now + 864e5) * 1000000n);
    return [...store.values()].filter((t) => t.spans.length < 50_000 && t.start >= from && t.start <= to);
  };

  function api(path, url, body) {
    const parts = path.split('/').map(decodeURIComponent);
    if (path === 'demo') return demo;
    if (parts[0] === 'demo' && parts[1] === 'faults') {
      const fault = demo.faults.find((f) => f.name === parts[2]);
      if (!fault) throw { status: 404, error: { code: 'unknown_fault', message: `there is no fault ${parts[2]}` } };
      return Object.assign(fault, JSON.parse(body));
    }
    const p = url.searchParams;
    if (path === 'search') {
      const tests = parseQuery(p.get('q') ?? '');
      if ((p.get('q') ?? '').includes('boom')) throw { status: 503, error: { code: 'overloaded', message: 'the query was stopped after 30 s', hint: 'narrow the time range' } };
      const limit = Number(p.get('limit') ?? 20);
      const at = Number(p.get('cursor') ?? 0);
      const found = within(url).map((t) => [t, tests.length ? t.spans.filter((s) => tests.every((f) => f(t, s))) : t.spans]).filter(([, m]) => m.length).sort(([a], [b]) => (a.start < b.start ? 1 : -1));
      return { traces: found.slice(at, at + limit).map(([t, m]) => summary(t, m)), nextCursor: at + limit < found.length ? String(at + limit) : undefined, total: found.length, totalRelation: 'eq', warnings: [], stats: { inspectedSpans: found.length * 90, inspectedBytes: 1048576, elapsedMs: 3.2, sources: 4 } };
    }
    if (path === 'explain') {
      const filters = parseQuery(p.get('where') ?? '');
      return explainSet(within(url).filter((t) => t.spans.some((s) => filters.every((f) => f(t, s)))).length, p.get('where'));
    }
    if (parts[0] === 'services' && parts[2] === 'red') return redOf(parts[1], within(url).filter((t) => t.spans.some((s) => s.service === parts[1])).length, now);
    if (path === 'hops') return hopsOf(p.get('service') ?? 'gateway');
    if (path === 'hops/changes') return hopChangesOf();
    if (path === 'services') {
      const map = new Map();
      for (const t of within(url)) for (const s of bounds(t).services) {
        const c = map.get(s.name) ?? map.set(s.name, { name: s.name, spans: 0, errors: 0, operations: 1 }).get(s.name);
        c.spans += s.spans;
        c.errors += s.errors;
      }
      return { services: [...map.values()].sort((a, b) => b.spans - a.spans) };
    }
    if (path === 'operations') {
      const map = new Map();
      for (const t of within(url)) for (const s of t.spans) {
        if (p.get('service') && s.service !== p.get('service')) continue;
        const key = `${s.service}\0${s.name}\0${s.kind}`;
        const o = map.get(key) ?? map.set(key, { service: s.service, name: s.name, kind: KINDS[s.kind], spans: 0, errors: 0, sum: 0 }).get(key);
        o.spans++;
        o.sum += s.duration;
        if (s.status === 2) o.errors++;
      }
      return { operations: [...map.values()].map(({ sum, ...o }) => ({ ...o, meanDurationNs: sum / o.spans })).sort((a, b) => b.spans - a.spans) };
    }
    if (path === 'attributes') {
      const map = new Map();
      for (const t of within(url).slice(0, 60)) for (const s of t.spans) for (const a of s.attributes) {
        const o = map.get(a.key) ?? map.set(a.key, { scope: 'span', key: a.key, types: [Object.keys(a.value)[0].replace('Value', '')], spans: 0 }).get(a.key);
        o.spans++;
      }
      const resource = ['service.name', 'service.version', 'k8s.pod.name', 'host.name'].map((key) => ({ scope: 'resource', key, types: ['string'], spans: 40000 }));
      return { attributes: [...map.values(), ...resource].filter((a) => !p.get('scope') || a.scope === p.get('scope')).sort((a, b) => b.spans - a.spans) };
    }
    if (parts[0] === 'attributes' && parts[3] === 'values') {
      const map = new Map();
      for (const t of within(url).slice(0, 100)) {
        const seen = new Set();
        for (const s of t.spans) {
          const v = read(t, s, `${parts[1]}.${parts[2]}`);
          if (v !== undefined && !seen.has(v)) (seen.add(v), map.set(v, (map.get(v) ?? 0) + 1));
        }
      }
      const prefix = p.get('prefix') ?? '';
      const values = [...map].filter(([v]) => String(v).startsWith(prefix)).map(([value, n]) => ({ value, type: typeof value === 'number' ? 'int' : 'string', traces: n })).sort((a, b) => b.traces - a.traces);
      return { values: values.slice(0, Number(p.get('limit') ?? 100)), complete: true };
    }
    if (parts[0] === 'traces') {
      const t = get(parts[1]);
      if (parts.length === 2) return otlp(t);
      if (parts[2] === 'explain') return explainTrace(t);
      if (parts[2] === 'logs') return { logs: logsOf(t) };
      if (parts[2] === 'spans') {
        const spans = t.spans.filter((s) => s.spanId === parts[3]);
        if (spans.length === 0) throw { status: 404, error: { code: 'not_found', message: `trace ${parts[1]} has no span ${parts[3]}` } };
        return { spans: spans.map((s) => detail(t, s)) };
      }
      if (parts[2] === 'columns') {
        const orphans = t.spans.filter((s) => s.flags & 1).length;
        const warnings = orphans ? [`${orphans} ${orphans === 1 ? 'span has a parent that is' : 'spans have parents that are'} not stored`] : [];
        return (t.columns ??= encodeColumns(t.traceId, t.start, t.spans, new Set(logsOf(t).map((l) => l.spanId)), warnings));
      }
    }
    if (path === 'status') {
      const spans = [...store.values()].reduce((n, t) => n + t.spans.length, 0);
      return {
        version: '0.1.0', demo: mode === 'normal', uptimeSeconds: Math.round((Date.now() - started) / 1000) + 7384,
        receivers: [
          { name: 'otlp-grpc', address: '127.0.0.1:4317', requests: mode === 'empty' ? 0 : 1284, accepted: spans, rejected: {}, lastError: null },
          { name: 'otlp-http', address: '127.0.0.1:4318', requests: mode === 'empty' ? 0 : 412, accepted: mode === 'empty' ? 0 : 20481, rejected: mode === 'empty' ? {} : { invalid_trace_id: 12, too_large: 1 }, lastError: mode === 'empty' ? null : { timeUnixNano: `${now - 400_000}000000`, reason: 'invalid_trace_id', message: 'resourceSpans[0].scopeSpans[0].spans[3].traceId is 15 bytes, expected 16' } },
        ],
        storage: { spans, traces: store.size, segments: mode === 'empty' ? 0 : 14, bytes: mode === 'empty' ? 0 : 1873211, walBytes: 482113, headSpans: mode === 'empty' ? 0 : 3211, headBytes: 1211392, oldestUnixNano: `${now - 86400_000}000000`, dataDir: './data' },
      };
    }
    throw { status: 404, error: { code: 'not_found', message: `no such path: /api/v1/${path}` } };
  }

  const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://mock');
    const send = (status, type, body) => {
      const policy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; worker-src 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'";
      response.writeHead(status, { 'content-type': type, 'content-security-policy': policy, 'cache-control': 'no-store' });
      response.end(body);
    };
    const json = (status, value) => send(status, 'application/json', JSON.stringify(value));
    if (url.pathname.startsWith('/api/v1/')) {
      let body = '';
      request.on('data', (part) => (body += part));
      setTimeout(() => {
        try {
          const path = url.pathname.slice('/api/v1/'.length);
          if (mode === 'error' && path !== 'status') throw { status: 500, error: { code: 'internal', message: 'segment 0191f2.parquet cannot be read: checksum differs in page 17', hint: 'run tracewell doctor' } };
          const answer = api(path, url, body);
          if (Buffer.isBuffer(answer)) send(200, 'application/vnd.tracewell.trace-columns', answer);
          else json(200, answer);
        } catch (e) {
          if (!e.status) console.error(e);
          json(e.status ?? 500, { error: e.error ?? { code: 'internal', message: String(e) } });
        }
      }, Math.max(slow, request.method === 'POST' ? 20 : 0));
      return;
    }
    const file = normalize(join(DIST, url.pathname));
    const asset = file.startsWith(DIST) && extname(file) !== '' && existsSync(file);
    try {
      const path = asset ? file : join(DIST, 'index.html');
      send(200, TYPES[extname(path)] ?? 'application/octet-stream', readFileSync(path));
    } catch {
      send(404, 'text/plain', 'the page is not built: npm run build');
    }
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(port, '127.0.0.1', () => resolve({ url: `http://127.0.0.1:${server.address().port}`, close: () => new Promise((done) => (server.close(done), server.closeAllConnections())) }));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name, fallback) => (process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1] : fallback);
  const { url } = await startMock({ port: Number(option('port', 3210)), mode: option('mode', 'normal'), slow: Number(option('slow', 0)) });
  console.log(`mock server at ${url}`);
  for (const [name, traceId] of Object.entries(FIXTURES)) console.log(`  ${name.padEnd(8)} ${url}/trace/${traceId}`);
}
