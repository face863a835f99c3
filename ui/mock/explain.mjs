// Explanations for the fixture server: a critical path by the last finishing child, and a verdict about its longest piece.

/** Pieces of the path from a root: `{ index, start, end }`, in order of time. */
function pathOf(spans) {
  const children = spans.map(() => []);
  spans.forEach((s, i) => s.parent >= 0 && children[s.parent].push(i));
  const pieces = [];
  const stack = [{ at: 0, until: spans[0].start + spans[0].duration }];
  while (stack.length) {
    const { at, until } = stack.pop();
    const s = spans[at];
    let cursor = Math.min(until, s.start + s.duration);
    for (const c of children[at].sort((a, b) => spans[b].start + spans[b].duration - spans[a].start - spans[a].duration)) {
      const end = Math.min(spans[c].start + spans[c].duration, cursor);
      if (end <= spans[c].start || spans[c].start < s.start) continue;
      if (cursor > end) pieces.push({ index: at, start: end, end: cursor });
      stack.push({ at: c, until: end });
      cursor = spans[c].start;
    }
    if (cursor > s.start) pieces.push({ index: at, start: s.start, end: cursor });
  }
  return pieces.sort((a, b) => a.start - b.start);
}

const ms = (ns) => (ns >= 1e9 ? `${(ns / 1e9).toFixed(2)} s` : `${(ns / 1e6).toFixed(1)} ms`);

const NOTHING = { hops: [], blame: { places: { listed: [] } }, clock_offsets: [], outliers: [], broken: [], patterns: [] };

export function explainTrace(t) {
  const least = t.spans.reduce((m, s) => Math.min(m, s.start), Infinity);
  const pieces = t.spans.length > 0 ? pathOf(t.spans) : [];
  const longest = pieces.reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a), pieces[0]);
  const s = t.spans[longest.index];
  const total = t.spans[0].duration;
  const failed = t.spans.find((x) => x.status === 2);
  const broken = t.spans.filter((x) => x.flags & 1).length;
  return {
    version: 1,
    verdict: {
      kind: 'slow-operation', confidence: 'high', service: s.service, operation: s.name, cost_ns: longest.end - longest.start,
      sentence: `${s.service} spent ${ms(longest.end - longest.start)} in ${s.name}, where 2.1 ms are usual: ${Math.round(((longest.end - longest.start) / total) * 100)} % of the ${ms(total)} that this request took.`,
      evidence: [
        { text: `This call took ${ms(s.duration)}; 200 others of the last hour took 2.1 ms in the median, 4.8 ms at most.`, trace: t.traceId, spans: [s.spanId] },
        { text: `${s.service} is slower in 12 % of its requests.`, filter: `{ resource.service.name = "${s.service}" && duration > 20ms }` },
      ],
    },
    also: [
      ...(failed ? [{ kind: 'swallowed-error', confidence: 'medium', service: failed.service, sentence: `${failed.service} failed in ${failed.name}, and its callers answered as if nothing had happened.`, evidence: [{ text: `${failed.name} ended with an error.`, trace: t.traceId, spans: [failed.spanId] }] }] : []),
      ...(broken ? [{ kind: 'lost-context', confidence: 'low', sentence: `${broken} spans hang below a service that is not recorded.`, evidence: [] }] : []),
    ],
    ranking: [{ service: s.service, operation: s.name, kind: 'latency', score: 0.9, evidence: [] }],
    critical_path: pieces.map((p) => ({ span: t.spans[p.index].spanId, service: t.spans[p.index].service, operation: t.spans[p.index].name, start: Number(t.start) + p.start, offset: p.start - least, duration: p.end - p.start, kind: 'self' })),
    ...NOTHING, scope: { trace: t.traceId, traces: 1, spans: t.spans.length, against_traces: 200 },
  };
}

const quantiles = (p50) => ({ count: 412, p50_ns: p50, p90_ns: p50 * 1.6, p99_ns: p50 * 3 });

const share = (mean_ns, share, subject) => ({ ...subject, mean_ns, share, calls: 1.2, per_call_ns: mean_ns / 1.2, traces: 120 });
const changed = (before, now, subject) => ({ ...subject, standing: 'both', before: { mean_ns: before, calls: 1, per_call_ns: before }, now: { mean_ns: now, calls: 1, per_call_ns: now }, change_ns: now - before, interval: { low_ns: (now - before) * 0.8, high_ns: (now - before) * 1.2 }, calls_ns: 0, per_call_ns: now - before, significant: true });

/** What is said of a set: one thing of each kind. `count` is how many traces there are. */
export function explainSet(count, filter) {
  if (count < 5) {
    const verdict = { kind: 'not-enough', confidence: 'low', sentence: `Too little to say: ${count} traces match.`, evidence: [] };
    return { version: 1, scope: { traces: count, spans: 0, against_traces: 0 }, verdict, also: [], ranking: [], critical_path: [], ...NOTHING };
  }
  return {
    version: 1,
    scope: { traces: count, spans: count * 90, against_traces: 380 },
    verdict: {
      kind: 'network', confidence: 'high', edge: { caller: 'payment', callee: 'card-provider' }, direction: 'request', cost_ns: 41e7, share: 0.31,
      sentence: 'Requests take 130 ms longer than before, and 94 % of it goes on the way from payment to card-provider, with the request; neither of the two is slow.',
      evidence: [{ text: 'The way there took 1.3 ms in the median before, 412 ms now (395 to 430 ms more, 412 calls).', filter: filter || '{ resource.service.name = "payment" && kind = client }' }],
    },
    also: [{ kind: 'n-plus-one', confidence: 'medium', service: 'catalog', sentence: 'GET /products in catalog runs SELECT catalog 24 times where one statement would do.', evidence: [] }],
    ranking: [
      { service: 'payment', edge: { caller: 'payment', callee: 'card-provider' }, kind: 'network', score: 41.2, evidence: [{ text: 'The way from payment to card-provider: 1.3 ms before, 412 ms now, in 96 % of calls.' }] },
      { service: 'catalog', operation: 'GET /products', kind: 'latency', score: 3.4, evidence: [{ text: 'Own time of GET /products 3.1 ms before, 4.8 ms now.' }] },
    ],
    critical_path: [],
    hops: [
      { caller: 'payment', callee: 'card-provider', part: 'request', verdict: 'grew', shift_ns: 411e6, shift_low_ns: 395e6, shift_high_ns: 430e6, before: quantiles(1.3e6), now: quantiles(412e6), calls_before: 398, calls_now: 412 },
      { caller: 'gateway', callee: 'catalog', part: 'own', verdict: 'grew', shift_ns: 1.7e6, shift_low_ns: 1.2e6, shift_high_ns: 2.1e6, before: quantiles(3.1e6), now: quantiles(4.8e6), calls_before: 800, calls_now: 812 },
    ],
    blame: { places: { listed: [share(122e6, 0.61, { caller: 'payment', callee: 'card-provider', direction: 'request' }), share(21e6, 0.11, { service: 'catalog', operation: 'GET /products' }), share(9e6, 0.05, { service: 'orders-db', operation: 'SELECT orders', statement: 'SELECT * FROM orders WHERE id = ?' })] } },
    diff: { change_ns: 126e6, mix_ns: 0, places: { listed: [changed(4e5, 122e6, { caller: 'payment', callee: 'card-provider', direction: 'request' }), changed(2e6, 9e6, { service: 'catalog', operation: 'GET /products' }), { ...changed(3e6, 1e6, { service: 'session-cache', operation: 'GET' }), significant: false }] } },
    outliers: [{ filter: '{ resource.service.version = "3.2.0" }', kind: 'attribute', what: 'resource.service.version is 3.2.0 in 92 % of the slow requests and in 11 % of the others.', slow_share: 0.92, rest_share: 0.11, lift: 8.4, traces: 61 }],
    patterns: [{ kind: 'n-plus-one', severity: 'moderate', sentence: 'GET /products in catalog runs SELECT catalog 24 times, one after the other; one statement for all would save 38 ms.', traces: 80, of_traces: 120, win: { mean_ns: 38e6, share: 0.22 }, examples: [{ trace_id: '0'.repeat(29) + '200', span_ids: [] }] }],
    broken: [{ caller: 'gateway', callee: 'audit', cause: 'header_stripped', lost_share: 0.31, lost_calls: 37, sentence: 'gateway does not pass the context on to audit: 31 % of its calls begin traces of their own.', examples: [{ trace_id: '0'.repeat(29) + '404', span_id: '' }] }],
    clock_offsets: [{ clock: 'node-7', services: ['rates'], offset_ns: 180e6, uncertainty_ns: 4e5, drift_ppm: 0, steps: [], is_reference: false }],
  };
}

const part = (p50) => ({ count: 300, meanNs: p50 * 1.1, p50Ns: p50, p90Ns: p50 * 1.7, p99Ns: p50 * 3.2 });

/** A service over the last hour, with a gap in it and a rise at its end. */
export function redOf(service, spans, now) {
  const minute = Math.floor(now / 60_000);
  const step = (i) => ({ startUnixNano: String(BigInt(minute - 59 + i) * 60_000_000_000n), spans: 40 + ((i * 7) % 13), errors: i > 50 ? 4 : 0, meanDurationNs: 6e6, duration: part((i > 50 ? 18e6 : 6e6) + (i % 5) * 4e5) });
  const steps = Array.from({ length: 60 }, (_, i) => i).filter((i) => i < 20 || i > 24).map(step);
  const operation = (name, kind, p50) => ({ name, kind, total: { startUnixNano: steps[0].startUnixNano, spans: 1200, errors: kind === 'server' ? 3 : 0, meanDurationNs: p50, duration: part(p50) }, steps: [] });
  const none = { startUnixNano: '0', spans: 0, errors: 0, meanDurationNs: 0 };
  if (spans === 0) return { service, stepMinutes: 1, total: none, steps: [], operations: [], complete: true, warnings: [] };
  return { service, stepMinutes: 1, total: { ...steps[0], spans: 2600, errors: 36 }, steps, operations: [operation('POST /charges', 'server', 9e6), operation('POST /v1/charges', 'client', 6e6)], complete: true, warnings: [] };
}

export function hopsOf(service) {
  const hop = (caller, callee, more = {}) => ({ caller, callee, isAsync: false, calls: 1200, errors: 3, unpaired: 0, request: part(4e5), server: part(9e6), own: part(3e6), response: part(2e5), ...more });
  return { edges: [hop('gateway', service), hop('', service, { calls: 12, errors: 0, request: undefined }), hop(service, 'card-provider', { errors: 41 }), hop(service, 'notifications', { isAsync: true, queue: part(12e6), response: undefined })], total: 4, stepMinutes: 0, complete: true, warnings: [] };
}

export function hopChangesOf() {
  return { changes: explainSet(100, '').hops, locations: [], tested: 41, not_enough: 2, small: 1, complete: true, warnings: [] };
}
