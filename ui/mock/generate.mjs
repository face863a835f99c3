// Deterministic traces for development and browser tests. A trace here is a list of plain spans in preorder:
// {parent, service, name, kind, status, start, duration, attributes, events, links, flags, spanId}; times in ns.

/** mulberry32: small, seeded, the same everywhere. */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const MS = 1e6;

/** The call graph: what each service answers and whom it asks. `p` is how likely, `ms` the service's own time. */
const GRAPH = {
  gateway: { op: ['GET /checkout', 'GET /product/{id}', 'POST /cart', 'GET /account', 'GET /search'], ms: 3, calls: [['auth', 1], ['cart', 0.9], ['catalog', 0.9], ['profile', 0.6], ['checkout', 0.5]] },
  auth: { op: ['POST /verify'], ms: 2, calls: [['session-cache', 1], ['identity', 0.3]] },
  identity: { op: ['identity.Users/Get'], ms: 2, calls: [['users-db', 1]] },
  cart: { op: ['GET /cart', 'POST /cart/items'], ms: 3, calls: [['cart-cache', 1], ['inventory', 0.9], ['pricing', 0.9]] },
  inventory: { op: ['inventory.Stock/Check'], ms: 4, calls: [['inventory-db', 1], ['inventory-db', 0.7], ['warehouse', 0.4]] },
  warehouse: { op: ['GET /availability'], ms: 6, calls: [['warehouse-db', 1], ['warehouse-db', 0.8]] },
  pricing: { op: ['pricing.Quote/Get'], ms: 3, calls: [['pricing-db', 1], ['promotions', 0.7], ['currency', 0.5]] },
  promotions: { op: ['POST /evaluate'], ms: 2, calls: [['promotions-db', 0.9]] },
  currency: { op: ['currency.Rates/Convert'], ms: 1, calls: [] },
  catalog: { op: ['GET /products/{id}', 'GET /products'], ms: 3, calls: [['catalog-db', 1], ['images', 0.4], ['recommendations', 0.5]] },
  recommendations: { op: ['recommend.Items/List'], ms: 8, calls: [['feature-store', 0.9], ['catalog', 0.3]] },
  'feature-store': { op: ['GET /features'], ms: 2, calls: [] },
  images: { op: ['GET /img/{id}'], ms: 1, calls: [] },
  profile: { op: ['GET /profile'], ms: 2, calls: [['users-db', 1], ['profile-cache', 0.7]] },
  checkout: { op: ['POST /orders'], ms: 5, calls: [['cart', 0.8], ['payment', 1], ['shipping', 0.9], ['orders-db', 1], ['orders-queue', 0.9]] },
  payment: { op: ['POST /charge'], ms: 6, calls: [['fraud', 0.9], ['card-provider', 1], ['payments-db', 1]] },
  fraud: { op: ['fraud.Score/Get'], ms: 12, calls: [['feature-store', 1]] },
  'card-provider': { op: ['POST /v1/charges'], ms: 60, calls: [] },
  shipping: { op: ['POST /quote'], ms: 4, calls: [['carrier', 0.8]] },
  carrier: { op: ['GET /rates'], ms: 30, calls: [] },
  'orders-queue': { op: ['orders publish'], ms: 1, calls: [] },
};
const STATEMENTS = {
  'users-db': 'SELECT id, email, tier FROM users WHERE id = $1',
  'inventory-db': 'SELECT sku, quantity, reserved FROM stock WHERE sku = ANY($1) FOR UPDATE',
  'warehouse-db': 'SELECT location_id, quantity FROM bins WHERE sku = $1 ORDER BY distance LIMIT 20',
  'pricing-db': 'SELECT amount, currency FROM prices WHERE sku = ANY($1) AND valid_at @> now()',
  'promotions-db': 'SELECT code, discount FROM promotions WHERE active AND tier = $1',
  'catalog-db': 'SELECT p.id, p.title, p.body FROM products p JOIN product_tags t ON t.product_id = p.id WHERE p.id = $1',
  'orders-db': 'INSERT INTO orders (id, user_id, total, currency, items) VALUES ($1, $2, $3, $4, $5) RETURNING id',
  'payments-db': 'UPDATE payments SET state = $2 WHERE id = $1',
};

const hex = (rand, digits) => Array.from({ length: digits / 8 }, () => Math.floor(rand() * 2 ** 32).toString(16).padStart(8, '0')).join('');
const str = (key, v) => ({ key, value: { stringValue: v } });
const int = (key, v) => ({ key, value: { intValue: String(v) } });

/** One request through the shop, at most `max` spans; `fan` repeats the calls of the upper levels. */
export function shopTrace(seed, max = 200, operation, fan = 1) {
  const rand = random(seed);
  const slow = rand() < 0.12;
  const failing = rand() < 0.1 ? ['payment', 'inventory', 'recommendations', 'warehouse'][Math.floor(rand() * 4)] : '';
  const spans = [];
  const add = (parent, service, name, kind, start) => spans.push({ parent, service, name, kind, status: 0, start, duration: 0, attributes: [], events: [], links: [], flags: 0, spanId: hex(rand, 16) }) - 1;

  /** Serves a request; returns the index of the span, whose duration is then known. */
  const serve = (parent, service, start, depth) => {
    const isDb = service.endsWith('-db');
    const isCache = service.endsWith('-cache');
    if (isDb || isCache) {
      const i = add(parent, service, isDb ? STATEMENTS[service]?.split(' ')[0] + ' ' + service.replace('-db', '') : 'GET', 3, start);
      const s = spans[i];
      s.duration = (isCache ? 0.2 + rand() * 0.8 : 1 + rand() ** 3 * 12 * (slow && service === 'inventory-db' ? 25 : 1)) * MS;
      s.attributes.push(str('db.system.name', isCache ? 'redis' : 'postgresql'), str('server.address', `${service}.internal`), int('server.port', isCache ? 6379 : 5432));
      if (isDb) s.attributes.push(str('db.query.text', STATEMENTS[service] ?? 'SELECT 1'), int('db.response.returned_rows', Math.floor(rand() * 40)));
      return i;
    }
    const g = GRAPH[service];
    const i = add(parent, service, parent < 0 && operation ? operation : g.op[Math.floor(rand() * g.op.length)], service === 'orders-queue' ? 4 : 2, start);
    const s = spans[i];
    const grpc = s.name.includes('/') && !s.name.includes(' ');
    if (grpc) s.attributes.push(str('rpc.system', 'grpc'), str('rpc.method', s.name.split('/')[1]), int('rpc.grpc.status_code', 0));
    else if (service === 'orders-queue') s.attributes.push(str('messaging.system', 'kafka'), str('messaging.destination.name', 'orders'), int('messaging.kafka.offset', Math.floor(rand() * 1e6)));
    else s.attributes.push(str('http.request.method', s.name.split(' ')[0]), str('http.route', s.name.split(' ')[1] ?? '/'), int('http.response.status_code', 200), str('url.path', (s.name.split(' ')[1] ?? '/').replace('{id}', String(Math.floor(rand() * 9000)))));
    if (parent < 0) s.attributes.push(str('user.id', `u-${Math.floor(rand() * 5000)}`), { key: 'feature.flags', value: { arrayValue: { values: [{ stringValue: 'new-cart' }, { stringValue: 'fast-path' }] } } }, { key: 'sampled.ratio', value: { doubleValue: 0.25 } }, { key: 'cache.hit', value: { boolValue: rand() > 0.5 } });
    let t = start + g.ms * (0.2 + rand() * 0.6) * MS;
    let end = t;
    if (depth < 14) {
      for (const [to, p] of fan > 1 && depth < 3 ? g.calls.flatMap((c) => Array(fan).fill(c)) : g.calls) {
        if (rand() > p || spans.length >= max - 2) continue;
        // Half of the calls run side by side with the one before.
        const at = rand() < 0.5 && end > t ? t + 0.1 * MS : Math.max(t, end) + (0.1 + rand() * 0.6) * MS;
        let call = i;
        let from = at;
        if (!to.endsWith('-db') && !to.endsWith('-cache')) {
          call = add(i, service, `${GRAPH[to].op[0].split(' ')[0].length < 8 && !GRAPH[to].op[0].includes('.') ? GRAPH[to].op[0].split(' ')[0] : GRAPH[to].op[0]}`, to === 'orders-queue' ? 4 : 3, at);
          spans[call].attributes.push(str('server.address', `${to}.internal`), int('network.peer.port', 8080));
          from = at + (0.2 + rand() * 0.8) * MS;
        }
        const child = serve(call, to, from, depth + 1);
        if (call !== i) {
          spans[call].duration = spans[child].start + spans[child].duration - at + (0.1 + rand() * 0.6) * MS;
          if (spans[child].status === 2) spans[call].status = 2;
        }
        t = at;
        end = Math.max(end, at + spans[call === i ? child : call].duration);
      }
    }
    s.duration = Math.max(end, t) - start + g.ms * (0.2 + rand() * 0.8) * MS;
    if (service === failing && rand() < 0.8) fail(s, rand);
    return i;
  };
  serve(-1, 'gateway', 0, 0);
  return spans;
}

function fail(s, rand) {
  s.status = 2;
  s.statusMessage = 'upstream answered 503';
  const code = s.attributes.find((a) => a.key === 'http.response.status_code');
  if (code) code.value.intValue = '503';
  s.attributes.push(str('error.type', 'UpstreamError'));
  s.flags |= 2 | 32;
  s.events.push(
    { at: s.duration * 0.3, name: 'retry', attributes: [int('attempt', 1)] },
    {
      at: s.duration * (0.6 + rand() * 0.3),
      name: 'exception',
      attributes: [
        str('exception.type', 'com.shop.UpstreamError'),
        str('exception.message', 'upstream answered 503 after 2 attempts'),
        str('exception.stacktrace', `com.shop.UpstreamError: upstream answered 503 after 2 attempts\n\tat com.shop.http.Client.send(Client.java:181)\n\tat com.shop.${s.service}.Handler.charge(Handler.java:74)\n\tat com.shop.${s.service}.Handler.handle(Handler.java:31)\n\tat com.shop.server.Router.dispatch(Router.java:210)\nCaused by: java.net.SocketTimeoutException: Read timed out\n\tat java.base/sun.nio.ch.NioSocketImpl.timedRead(NioSocketImpl.java:288)\n\t... 12 more`),
      ],
    },
  );
}

/** Many requests below one batch job: `count` spans exactly. */
export function largeTrace(count, seed = 7) {
  const rand = random(seed);
  const spans = [{ parent: -1, service: 'batch', name: 'reprice nightly', kind: 1, status: 0, start: 0, duration: 0, attributes: [], events: [], links: [], flags: 0, spanId: hex(rand, 16) }];
  let t = 2 * MS;
  let n = 1;
  const lanes = [t, t, t, t];
  while (spans.length < count) {
    const part = shopTrace(seed + n++, 160);
    const lane = n % lanes.length;
    const at = lanes[lane];
    const base = spans.length;
    for (const s of part) {
      if (spans.length >= count) break;
      spans.push({ ...s, parent: s.parent < 0 ? 0 : s.parent + base, start: s.start + at });
    }
    lanes[lane] = at + part[0].duration + rand() * 4 * MS;
  }
  spans[0].duration = Math.max(...lanes) + 5 * MS;
  return spans;
}

/** A chain of `depth` services, each asking the next; the last is slow. */
export function deepTrace(depth = 36) {
  const rand = random(36);
  const spans = [];
  for (let i = 0; i < depth; i++) {
    spans.push({ parent: i - 1, service: `hop-${String(i + 1).padStart(2, '0')}`, name: i === depth - 1 ? 'SELECT ledger' : `GET /step/${i + 1}`, kind: i === depth - 1 ? 3 : 2, status: 0, start: i * 3 * MS + (i > 9 ? 140 * MS : 0), duration: 0, attributes: [str('http.route', `/step/${i + 1}`)], events: [], links: [], flags: 0, spanId: hex(rand, 16) });
  }
  const end = spans.at(-1).start + 320 * MS;
  spans.forEach((s, i) => (s.duration = end + (depth - i) * 2 * MS - s.start - (i > 9 ? 0 : -120 * MS)));
  return spans;
}

/** Spans whose parents were never stored, one child whose clock runs ahead, one that outlives its parent. */
export function brokenTrace() {
  const isOrphan = (s, i) => i > 4 && s.service === 'inventory' && s.kind === 2;
  let spans = [];
  for (let seed = 4242; seed < 4442 && !(spans.some(isOrphan) && spans.some((s) => s.service === 'profile')); seed++) spans = shopTrace(seed, 60);
  const orphan = spans.findIndex(isOrphan);
  const moved = takeSubtree(spans, orphan);
  moved[0].parent = -1;
  moved[0].flags |= 1;
  moved[0].missingParent = 'dead00000000beef';
  const base = spans.length;
  moved.forEach((s, i) => {
    if (i > 0) s.parent += base;
    spans.push(s);
  });
  const late = spans.findIndex((s, i) => i > 3 && s.kind === 2 && s.parent >= 0 && s.service === 'catalog');
  if (late > 0) spans[late].start -= 9 * MS;
  const long = spans.findIndex((s, i) => i > 3 && s.service === 'profile' && s.kind === 2);
  if (long > 0) spans[long].duration += 60 * MS;
  spans[1].links.push({ traceId: '00000000000000000000000000000200', spanId: '0000000000000000' });
  spans[1].flags |= 4;
  const inferred = spans.find((s, i) => i > 1 && s.kind === 2);
  inferred.flags |= 64;
  inferred.attributes.push({ key: 'tracewell.inferred', value: { boolValue: true } }, { key: 'tracewell.inferred.by', value: { stringValue: 'x-request-id' } });
  return spans;
}

function takeSubtree(spans, at) {
  let end = at + 1;
  const inside = new Set([at]);
  while (end < spans.length && inside.has(spans[end].parent)) inside.add(end++);
  const part = spans.splice(at, end - at);
  part.forEach((s, i) => (s.parent = i === 0 ? s.parent : s.parent - at));
  for (let i = at; i < spans.length; i++) if (spans[i].parent >= end) spans[i].parent -= part.length;
  return part;
}

/** OTLP JSON to the same plain spans, in preorder. */
export function fromOtlp(body) {
  const all = [];
  for (const rs of body.resourceSpans ?? []) {
    const service = rs.resource?.attributes?.find((a) => a.key === 'service.name')?.value?.stringValue ?? 'unknown_service';
    for (const ss of rs.scopeSpans ?? []) {
      for (const s of ss.spans ?? []) all.push({ raw: s, service, scope: ss.scope?.name ?? '', resource: rs.resource?.attributes ?? [] });
    }
  }
  if (all.length === 0) return null;
  const start = all.reduce((m, s) => (BigInt(s.raw.startTimeUnixNano) < m ? BigInt(s.raw.startTimeUnixNano) : m), BigInt(all[0].raw.startTimeUnixNano));
  const byId = new Map(all.map((s) => [s.raw.spanId.toLowerCase(), s]));
  const below = new Map();
  const roots = [];
  for (const s of all) {
    const p = (s.raw.parentSpanId ?? '').toLowerCase();
    if (p && byId.has(p) && byId.get(p) !== s) (below.get(p) ?? below.set(p, []).get(p)).push(s);
    else roots.push(s);
  }
  const by = (a, b) => Number(BigInt(a.raw.startTimeUnixNano) - BigInt(b.raw.startTimeUnixNano));
  const spans = [];
  const kinds = { SPAN_KIND_INTERNAL: 1, SPAN_KIND_SERVER: 2, SPAN_KIND_CLIENT: 3, SPAN_KIND_PRODUCER: 4, SPAN_KIND_CONSUMER: 5 };
  const codes = { STATUS_CODE_OK: 1, STATUS_CODE_ERROR: 2 };
  const visit = (s, parent) => {
    const r = s.raw;
    const at = Number(BigInt(r.startTimeUnixNano) - start);
    const i = spans.push({
      parent, service: s.service, name: r.name ?? '', kind: kinds[r.kind] ?? Number(r.kind ?? 0), status: codes[r.status?.code] ?? Number(r.status?.code ?? 0), statusMessage: r.status?.message,
      start: at, duration: Math.max(Number(BigInt(r.endTimeUnixNano ?? r.startTimeUnixNano) - BigInt(r.startTimeUnixNano)), 0), attributes: r.attributes ?? [],
      events: (r.events ?? []).map((e) => ({ at: Number(BigInt(e.timeUnixNano) - start) - at, name: e.name, attributes: e.attributes ?? [] })), links: r.links ?? [],
      flags: (parent < 0 && r.parentSpanId ? 1 : 0) | (r.events?.length ? 2 : 0) | (r.links?.length ? 4 : 0), missingParent: parent < 0 ? r.parentSpanId : undefined, spanId: r.spanId.toLowerCase(), resource: s.resource, scope: s.scope,
    }) - 1;
    (below.get(r.spanId.toLowerCase()) ?? []).sort(by).forEach((c) => visit(c, i));
  };
  roots.sort(by).forEach((r) => visit(r, -1));
  return { traceId: (all[0].raw.traceId ?? '').toLowerCase(), start, spans };
}
