/** Explanations (docs/explain.md): what happened, who is to blame, and what that rests on. */
import { apiUrl, send, type Range } from './api';

export type Confidence = 'low' | 'medium' | 'high';

export interface Edge {
  caller: string;
  callee: string;
}

export interface Evidence {
  text: string;
  /** TraceQL that finds the traces in question. */
  filter?: string;
  trace?: string;
  spans?: string[];
}

export interface Verdict {
  kind: string;
  sentence: string;
  confidence: Confidence;
  service?: string;
  edge?: Edge;
  direction?: 'request' | 'response' | 'both';
  operation?: string;
  statement?: string;
  attribute?: { key: string; value: string };
  /** Services on the way from the root to the blamed one, both counted. */
  depth?: number;
  cost_ns?: number;
  share?: number;
  evidence: Evidence[];
}

export interface PathStep {
  span: string;
  service: string;
  operation: string;
  /** Nanoseconds since the Unix epoch: exceeds what a number holds exactly, so `offset` is there for drawing. */
  start: number;
  /** Nanoseconds after the start of the trace. */
  offset: number;
  duration: number;
  kind: 'self' | 'network' | 'wait';
}

export interface Suspect {
  service: string;
  operation?: string;
  edge?: Edge;
  kind: string;
  score: number;
  evidence: { text: string }[];
}

export interface Quantiles {
  count: number;
  p50_ns: number;
  p90_ns: number;
  p99_ns: number;
}

/** A part of an edge that changed between two windows. */
export interface HopChange {
  /** Absent for requests from outside. */
  caller?: string;
  callee: string;
  part: 'request' | 'response' | 'network' | 'server' | 'own' | 'queue' | 'call';
  verdict: 'grew' | 'fell' | 'clock' | 'small' | 'steady' | 'not_enough';
  shift_ns: number;
  shift_low_ns: number;
  shift_high_ns: number;
  before: Quantiles;
  now: Quantiles;
  calls_before: number;
  calls_now: number;
}

/** Time of the average request on its critical path. */
export interface Side {
  mean_ns: number;
  calls: number;
  per_call_ns: number;
}

/** What time belongs to: an operation of a service, or one way of a hop. */
export interface Subject {
  service?: string;
  operation?: string;
  caller?: string;
  callee?: string;
  direction?: 'request' | 'response';
  statement?: string;
}

export interface BlameShare extends Subject {
  mean_ns: number;
  share: number;
  calls: number;
  per_call_ns: number;
  traces: number;
}

export interface BlameChange extends Subject {
  standing: 'both' | 'new' | 'gone';
  before: Side;
  now: Side;
  change_ns: number;
  interval?: { low_ns: number; high_ns: number };
  /** Parts of the change: more or fewer calls, longer or shorter ones. */
  calls_ns: number;
  per_call_ns: number;
  significant: boolean;
}

export interface Outlier {
  filter: string;
  kind: string;
  what: string;
  slow_share: number;
  rest_share: number;
  lift: number;
  traces: number;
}

export interface Pattern {
  kind: string;
  severity: 'minor' | 'moderate' | 'major';
  sentence: string;
  traces: number;
  of_traces: number;
  win: { mean_ns: number; share: number };
  examples: { trace_id: string; span_ids: string[] }[];
}

export interface BrokenHop {
  caller?: string;
  callee?: string;
  cause: string;
  lost_share: number;
  lost_calls: number;
  sentence: string;
  examples: { trace_id: string; span_id: string }[];
}

export interface ClockOffset {
  clock: string;
  services: string[];
  offset_ns: number;
  uncertainty_ns?: number;
  drift_ppm: number;
  steps: { at: number; by_ns: number }[];
  is_reference: boolean;
}

export interface Explanation {
  version: number;
  scope: { trace?: string; traces: number; spans: number; against_traces: number };
  verdict: Verdict;
  /** What else was found, by weight. */
  also: Verdict[];
  ranking: Suspect[];
  critical_path: PathStep[];
  /** To the end of the last asynchronous work, where that ended after the answer. */
  completion_path?: PathStep[];
  hops: HopChange[];
  blame: { places: { listed: BlameShare[] } };
  diff?: { change_ns: number; mix_ns: number; places: { listed: BlameChange[] } };
  outliers: Outlier[];
  patterns: Pattern[];
  broken: BrokenHop[];
  clock_offsets: ClockOffset[];
}

export const explain = {
  trace: (id: string, signal?: AbortSignal) => send<Explanation>('GET', apiUrl(`traces/${id}/explain`), undefined, signal),
  set: (p: { where: string; against?: string; againstStart?: string; againstEnd?: string } & Range, signal?: AbortSignal) =>
    send<Explanation>('GET', apiUrl('explain', { ...p }), undefined, signal),
};

const KINDS: Record<string, string> = {
  'slow-operation': 'Slow operation',
  'lock-wait': 'Waits for a lock',
  network: 'Network',
  queue: 'Queue',
  error: 'Failure',
  'retry-storm': 'Retry storm',
  'n-plus-one': 'N+1 calls',
  'serial-calls': 'Serial calls',
  'chatty-edge': 'Chatty edge',
  'timeout-inversion': 'Timeouts in the wrong order',
  recursion: 'Recursion',
  'swallowed-error': 'Swallowed error',
  regression: 'Regression',
  'behavior-change': 'Change of behaviour',
  'lost-context': 'Lost context',
  'mid-sampling': 'Sampled in the middle',
  'dropped-spans': 'Dropped spans',
  'not-instrumented': 'Not instrumented',
  'clock-skew': 'Wrong clock',
  nothing: 'Nothing stands out',
  'not-enough': 'Too little to say',
};

/** The kind of a verdict in words. */
export function kindTitle(kind: string): string {
  return KINDS[kind] ?? kind.replaceAll('-', ' ');
}

/** True for verdicts that accuse nobody. */
export function isCalm(verdict: Verdict): boolean {
  return verdict.kind === 'nothing' || verdict.kind === 'not-enough';
}
