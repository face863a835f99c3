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
    ranking: [{ service: s.service, operation: s.name, score: 0.9, evidence: [] }],
    critical_path: pieces.map((p) => ({ span: t.spans[p.index].spanId, service: t.spans[p.index].service, operation: t.spans[p.index].name, start: Number(t.start) + p.start, offset: p.start - least, duration: p.end - p.start, kind: 'self' })),
    hops: [], clock_offsets: [], outliers: [], broken: [], patterns: [],
  };
}
