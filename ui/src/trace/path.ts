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
  const wanted = new Map<number, { high: number; steps: Step[] }[]>();
  for (const step of steps) {
    const high = parseInt(step.span.slice(0, 8), 16) >>> 0;
    const low = parseInt(step.span.slice(8), 16) >>> 0;
    const bucket = wanted.get(low) ?? wanted.set(low, []).get(low)!;
    const entry = bucket.find((e) => e.high === high);
    if (entry) entry.steps.push(step);
    else bucket.push({ high, steps: [step] });
  }
  const view = new DataView(t.spanId.buffer, t.spanId.byteOffset, t.spanId.byteLength);
  const spans: number[] = [];
  const first: number[] = [0];
  const from: number[] = [];
  const to: number[] = [];
  for (let i = 0; i < t.spanCount && wanted.size > 0; i++) {
    const entry = wanted.get(view.getUint32(i * 8 + 4))?.find((e) => e.high === view.getUint32(i * 8));
    if (!entry) continue;
    // The two halves of a shared span have one id: a step belongs to the half that ran at the time.
    const end = t.start[i]! + t.duration[i]!;
    const own = entry.steps.filter((s) => s.offset + s.duration / 2 >= t.start[i]! - 1 && s.offset + s.duration / 2 <= end + 1);
    if (own.length === 0) continue;
    spans.push(i);
    for (const step of own) {
      from.push(step.offset);
      to.push(step.offset + step.duration);
    }
    first.push(from.length);
  }
  return { spans: Uint32Array.from(spans), first: Uint32Array.from(first), from: Float64Array.from(from), to: Float64Array.from(to) };
}

/** Nanoseconds that a span contributes to the path. */
export function onPathNs(path: CriticalPath, span: number): number {
  const place = indexIn(path.spans, span);
  if (place < 0) return 0;
  let sum = 0;
  for (let i = path.first[place]!; i < path.first[place + 1]!; i++) sum += path.to[i]! - path.from[i]!;
  return sum;
}
