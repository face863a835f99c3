/** The critical path as arrays by span, so that a row finds its own pieces without looking at the others. */
import type { TraceColumns } from './columns';
import { indexIn } from './find';

/** One piece of the path as the server tells it; times in nanoseconds, `offset` after the start of the trace. */
export interface Step {
  span: string;
  offset: number;
  duration: number;
}

export interface CriticalPath {
  /** Preorder indices of the spans on the path, ascending, each once. */
  spans: Uint32Array;
  /** The pieces of `spans[i]` are those from `first[i]` up to `first[i + 1]`. */
  first: Uint32Array;
  /** Nanoseconds after the start of the trace. */
  from: Float64Array;
  to: Float64Array;
}

/**
 * Finds the spans of the steps. Steps of spans that the trace does not have are left out.
 * Linear in spans and steps; ids are compared as two 32-bit halves, without a text per span.
 */
export function criticalPath(t: TraceColumns, steps: readonly Step[]): CriticalPath {
  const wanted = new Map<number, { high: number; steps: Step[]; spans: number[] }[]>();
  for (const step of steps) {
    const high = parseInt(step.span.slice(0, 8), 16) >>> 0;
    const low = parseInt(step.span.slice(8), 16) >>> 0;
    const bucket = wanted.get(low) ?? wanted.set(low, []).get(low)!;
    const entry = bucket.find((e) => e.high === high);
    if (entry) entry.steps.push(step);
    else bucket.push({ high, steps: [step], spans: [] });
  }
  const view = new DataView(t.spanId.buffer, t.spanId.byteOffset, t.spanId.byteLength);
  for (let i = 0; i < t.spanCount && wanted.size > 0; i++) {
    wanted.get(view.getUint32(i * 8 + 4))?.find((e) => e.high === view.getUint32(i * 8))?.spans.push(i);
  }
  const found: [number, Step[]][] = [];
  for (const entry of [...wanted.values()].flat()) {
    const own = entry.spans.map((span): [number, Step[]] => [span, entry.spans.length === 1 ? entry.steps : []]);
    // The two halves of a shared span have one id: a step belongs to the half that ran at the time, the inner one if both did.
    if (own.length > 1) for (const step of entry.steps) (own.findLast(([span]) => ranAt(t, span, step.offset + step.duration / 2)) ?? own[0]!)[1].push(step);
    found.push(...own.filter(([, steps]) => steps.length > 0));
  }
  found.sort(([a], [b]) => a - b);
  const pieces = found.flatMap(([, steps]) => steps);
  const first = new Uint32Array(found.length + 1);
  found.forEach(([, steps], i) => (first[i + 1] = first[i]! + steps.length));
  return { spans: Uint32Array.from(found, ([span]) => span), first, from: Float64Array.from(pieces, (s) => s.offset), to: Float64Array.from(pieces, (s) => s.offset + s.duration) };
}

/** Whether a span ran at a time, a nanosecond more or less. */
function ranAt(t: TraceColumns, span: number, ns: number): boolean {
  return ns >= t.start[span]! - 1 && ns <= t.start[span]! + t.duration[span]! + 1;
}

/** Nanoseconds that a span contributes to the path. */
export function onPathNs(path: CriticalPath, span: number): number {
  const place = indexIn(path.spans, span);
  if (place < 0) return 0;
  let sum = 0;
  for (let i = path.first[place]!; i < path.first[place + 1]!; i++) sum += path.to[i]! - path.from[i]!;
  return sum;
}
