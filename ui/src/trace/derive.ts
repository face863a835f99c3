/** What is computed once per trace so that no frame needs a pass over all spans. */
import { Flag, STATUS_ERROR, type TraceColumns } from './columns';

export interface Derived {
  /** Nanoseconds of the span in which no direct child ran. */
  selfTime: Float64Array;
  /** Number of direct children. */
  children: Uint32Array;
  /** Place among the siblings, from 1. */
  position: Uint32Array;
  /** 1 where the span or any below it failed. */
  errorBelow: Uint8Array;
  /** Preorder indices of failed spans, ascending. */
  errors: Uint32Array;
  /** Preorder indices of orphans (their parent is not stored), ascending. */
  orphans: Uint32Array;
  /** Preorder indices of roots, orphans included, ascending. */
  roots: Uint32Array;
  depthMax: number;
  /** Spans per service. */
  serviceSpans: Uint32Array;
  /** Failed spans per service. */
  serviceErrors: Uint32Array;
}

export function derive(t: TraceColumns): Derived {
  const n = t.spanCount;
  const selfTime = new Float64Array(n);
  const children = new Uint32Array(n);
  const position = new Uint32Array(n);
  const errorBelow = new Uint8Array(n);
  const serviceSpans = new Uint32Array(t.services.length);
  const serviceErrors = new Uint32Array(t.services.length);
  const errors: number[] = [];
  const orphans: number[] = [];
  const roots: number[] = [];
  let depthMax = 0;
  for (let i = 0; i < n; i++) {
    if (t.depth[i]! > depthMax) depthMax = t.depth[i]!;
    const service = t.service[i]!;
    serviceSpans[service] = serviceSpans[service]! + 1;
    if (t.status[i] === STATUS_ERROR) {
      errors.push(i);
      errorBelow[i] = 1;
      serviceErrors[service] = serviceErrors[service]! + 1;
    }
    if (t.parent[i]! < 0) position[i] = roots.push(i);
    else position[i] = children[t.parent[i]!] = children[t.parent[i]!]! + 1;
    if (t.flags[i]! & Flag.orphan) orphans.push(i);
  }
  for (let i = n - 1; i > 0; i--) if (errorBelow[i] && t.parent[i]! >= 0) errorBelow[t.parent[i]!] = 1;
  for (let i = 0; i < n; i++) selfTime[i] = t.duration[i]! - coveredByChildren(t, i);
  return {
    selfTime,
    children,
    position,
    errorBelow,
    errors: Uint32Array.from(errors),
    orphans: Uint32Array.from(orphans),
    roots: Uint32Array.from(roots),
    depthMax,
    serviceSpans,
    serviceErrors,
  };
}

/** Length of the union of the direct children's intervals inside span `i`. */
function coveredByChildren(t: TraceColumns, i: number): number {
  const from = t.start[i]!;
  const to = from + t.duration[i]!;
  const last = i + t.descendants[i]!;
  let covered = 0;
  let cursor = from;
  let previous = -Infinity;
  for (let c = i + 1; c <= last; c += t.descendants[c]! + 1) {
    const start = t.start[c]!;
    if (start < previous) return coveredUnsorted(t, i);
    previous = start;
    const end = Math.min(start + t.duration[c]!, to);
    if (end > cursor) {
      covered += end - Math.max(start, cursor);
      cursor = end;
    }
  }
  return covered;
}

function coveredUnsorted(t: TraceColumns, i: number): number {
  const list: number[] = [];
  const last = i + t.descendants[i]!;
  for (let c = i + 1; c <= last; c += t.descendants[c]! + 1) list.push(c);
  list.sort((a, b) => t.start[a]! - t.start[b]!);
  const to = t.start[i]! + t.duration[i]!;
  let covered = 0;
  let cursor = t.start[i]!;
  for (const c of list) {
    const end = Math.min(t.start[c]! + t.duration[c]!, to);
    if (end > cursor) {
      covered += end - Math.max(t.start[c]!, cursor);
      cursor = end;
    }
  }
  return covered;
}

/** How a child lies to its parent in time; only `early` and `late` are outside it. */
export type Outside = 'none' | 'early' | 'late' | 'both';

/** A child that leaves its parent's interval by more than `toleranceNs`. Answers one cannot and need not store. */
export function outsideParent(t: TraceColumns, i: number, toleranceNs = 0): Outside {
  const p = t.parent[i]!;
  if (p < 0) return 'none';
  const early = t.start[i]! < t.start[p]! - toleranceNs;
  const late = t.start[i]! + t.duration[i]! > t.start[p]! + t.duration[p]! + toleranceNs;
  return early ? (late ? 'both' : 'early') : late ? 'late' : 'none';
}
