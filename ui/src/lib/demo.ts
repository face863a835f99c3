/** The demo's part of the native API (docs/api.md, "The demo"). */
import { apiUrl, send } from './api';

export interface DemoVerdict {
  sentence: string;
  kind: string;
  service: string | null;
  edge: { caller: string; callee: string } | null;
  direction: 'request' | 'response' | null;
  operation: string | null;
  statement: string | null;
  attribute: { key: string; value: string } | null;
}

export interface DemoFault {
  name: string;
  title: string;
  description: string;
  /** What to look at while it is on. */
  look: string;
  /** TraceQL that finds the traces that it changes. */
  query: string;
  on: boolean;
  setting: string | null;
  settings: string[];
  services: string[];
  verdict: DemoVerdict;
}

export interface DemoState {
  services: number;
  instances: number;
  requestsPerSecond: number;
  /** The services of the longest path: `chain[9]` is the tenth. */
  chain: string[];
  faults: DemoFault[];
}

export const demo = {
  state: (signal?: AbortSignal) => send<DemoState>('GET', apiUrl('demo'), undefined, signal),
  switch: (name: string, on: boolean, setting: string | null) =>
    send<DemoFault>('POST', apiUrl(`demo/faults/${encodeURIComponent(name)}`), setting === null ? { on } : { on, setting }),
};

/** Marks on the chain: which of its services, and which hops between two of them, the faults that are on touch. */
export interface ChainMarks {
  services: Set<number>;
  /** Index of the caller; the hop leads to the next. */
  hops: Set<number>;
}

export function chainMarks(state: DemoState): ChainMarks {
  const marks: ChainMarks = { services: new Set(), hops: new Set() };
  for (const fault of state.faults) {
    if (!fault.on) continue;
    const { edge } = fault.verdict;
    const hop = edge ? state.chain.findIndex((name, i) => name === edge.caller && state.chain[i + 1] === edge.callee) : -1;
    if (hop >= 0) marks.hops.add(hop);
    else for (const name of fault.services) {
      const at = state.chain.indexOf(name);
      if (at >= 0) marks.services.add(at);
    }
  }
  return marks;
}
