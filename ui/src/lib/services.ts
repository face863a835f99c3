/** Services over time, and the calls between them (docs/api.md, "Hops"). */
import { apiUrl, send, type Range } from './api';
import type { HopChange } from './explain';

export interface Part {
  count: number;
  meanNs: number;
  p50Ns: number;
  p90Ns: number;
  p99Ns: number;
}

export interface RedStep {
  startUnixNano: string;
  spans: number;
  errors: number;
  meanDurationNs: number;
  duration?: Part;
}

export interface OperationRed {
  name: string;
  kind: string;
  total: RedStep;
}

export interface Red {
  service: string;
  stepMinutes: number;
  total: RedStep;
  steps: RedStep[];
  operations: OperationRed[];
  complete: boolean;
  warnings: string[];
}

export interface HopEdge {
  /** Empty for requests from outside. */
  caller: string;
  callee: string;
  isAsync: boolean;
  calls: number;
  errors: number;
  request?: Part;
  server?: Part;
  own?: Part;
  response?: Part;
  queue?: Part;
}

export interface HopChanges {
  changes: HopChange[];
  tested: number;
  not_enough: number;
}

export const services = {
  red: (name: string, r: Range, signal?: AbortSignal) => send<Red>('GET', apiUrl(`services/${encodeURIComponent(name)}/red`, { ...r }), undefined, signal),
  hops: (service: string, r: Range, signal?: AbortSignal) => send<{ edges: HopEdge[]; warnings: string[] }>('GET', apiUrl('hops', { service, points: 0, ...r }), undefined, signal),
  changes: (service: string, r: Range, signal?: AbortSignal) => send<HopChanges>('GET', apiUrl('hops/changes', { service, ...r }), undefined, signal),
};

/** A line of figures over time, with gaps where there is none. */
export interface Series {
  name: string;
  values: (number | null)[];
}

/** Steps that lie one after the other, those without any span put in, so that a gap is seen as one. */
export function filled(steps: readonly RedStep[], stepMinutes: number, startMs: number, endMs: number): (RedStep | null)[] {
  const step = stepMinutes * 60_000;
  const first = Math.floor(startMs / step) * step;
  const count = Math.min(Math.max(Math.ceil((endMs - first) / step), 1), 1440);
  const all: (RedStep | null)[] = Array.from({ length: count }, () => null);
  for (const s of steps) {
    const at = Math.round((Number(BigInt(s.startUnixNano) / 1_000_000n) - first) / step);
    if (at >= 0 && at < count) all[at] = s;
  }
  return all;
}
