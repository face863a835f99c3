/** The server's native API (docs/api.md) as typed calls. Times are decimal strings of nanoseconds. */
import { ColumnsError, parseColumns, type TraceColumns } from '../trace/columns';

export interface ApiErrorBody {
  code: string;
  message: string;
  /** Byte offset in the query. */
  position?: number;
  length?: number;
  hint?: string;
}

/** An answer that is not a success, or none at all (`status` 0). */
export class ApiError extends Error {
  override name = 'ApiError';
  constructor(
    readonly status: number,
    readonly body: ApiErrorBody,
  ) {
    super(body.message);
  }
}

export interface ServiceCount {
  name: string;
  spans: number;
  errors: number;
  operations?: number;
}

export interface MatchedSpan {
  spanId: string;
  name: string;
  service: string;
  startUnixNano: string;
  durationNs: number;
  status: string;
  kind: string;
  attributes: Record<string, unknown>;
}

export interface TraceSummary {
  traceId: string;
  rootService: string;
  rootName: string;
  rootMissing: boolean;
  startUnixNano: string;
  durationNs: number;
  spanCount: number;
  errorCount: number;
  services: ServiceCount[];
  matchedSpans: number;
  spans: MatchedSpan[];
}

export interface SearchAnswer {
  traces: TraceSummary[];
  nextCursor?: string;
  total?: number;
  totalRelation?: 'eq' | 'gte';
  warnings?: (string | { message: string })[];
  stats?: { inspectedSpans: number; inspectedBytes: number; elapsedMs: number; sources: number };
}

export interface Operation {
  service: string;
  name: string;
  kind: string;
  spans: number;
  errors: number;
  meanDurationNs: number;
}

export interface AttributeKey {
  scope: string;
  key: string;
  types: string[];
  spans: number;
}

export interface AttributeValue {
  value: string | number | boolean;
  type: string;
  traces?: number;
}

/** An OTLP JSON value. */
export interface AnyValue {
  stringValue?: string;
  intValue?: string | number;
  doubleValue?: number | string;
  boolValue?: boolean;
  bytesValue?: string;
  arrayValue?: { values?: AnyValue[] };
  kvlistValue?: { values?: KeyValue[] };
}

export interface KeyValue {
  key: string;
  value: AnyValue;
}

export interface SpanDetail {
  traceId: string;
  spanId: string;
  parentSpanId: string;
  name: string;
  kind: string;
  status: { code: string; message?: string };
  startUnixNano: string;
  endUnixNano: string;
  durationNs: number;
  traceState: string;
  flags: number;
  service: string;
  attributes: KeyValue[];
  droppedAttributesCount: number;
  events: { timeUnixNano: string; name: string; attributes: KeyValue[]; droppedAttributesCount?: number }[];
  droppedEventsCount: number;
  links: { traceId: string; spanId: string; traceState: string; attributes: KeyValue[]; flags: number }[];
  droppedLinksCount: number;
  resource: { attributes: KeyValue[]; schemaUrl: string; droppedAttributesCount?: number };
  scope: { name: string; version: string; attributes: KeyValue[]; schemaUrl: string };
}

export interface LogRecord {
  timeUnixNano: string;
  observedTimeUnixNano: string;
  severityNumber: number;
  severityText: string;
  body: AnyValue;
  attributes: KeyValue[];
  traceId: string;
  spanId: string;
  service: string;
  scope: string;
  eventName: string;
}

export interface Range {
  start: string;
  end: string;
}

/** Resolved against `<base>`, so that the page also works below a prefix. */
export function apiUrl(path: string, params: Record<string, string | number | undefined> = {}): string {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [key, value] of Object.entries(params)) if (value !== undefined && value !== '') url.searchParams.set(key, String(value));
  return url.toString();
}

async function request(url: string, signal?: AbortSignal, accept = 'application/json', method = 'GET', body?: unknown): Promise<Response> {
  let response: Response;
  try {
    const headers: Record<string, string> = body === undefined ? { accept } : { accept, 'content-type': 'application/json' };
    response = await fetch(url, { method, signal: signal ?? null, headers, body: body === undefined ? null : JSON.stringify(body) });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(0, { code: 'unreachable', message: 'the server does not answer', hint: 'check that tracewell is running and try again' });
  }
  if (response.ok) return response;
  const text = await response.text().catch(() => '');
  try {
    const { error } = JSON.parse(text) as { error: ApiErrorBody };
    if (error?.message) throw new ApiError(response.status, error);
  } catch (e) {
    if (e instanceof ApiError) throw e;
  }
  throw new ApiError(response.status, { code: 'http', message: text.slice(0, 300) || `the server answered ${response.status} ${response.statusText}` });
}

const json = <T>(url: string, signal?: AbortSignal) => send<T>('GET', url, undefined, signal);

/** Sends `body` as JSON where there is one, and reads the answer as JSON. */
export async function send<T>(method: 'GET' | 'POST', url: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await request(url, signal, 'application/json', method, body);
  try {
    return (await response.json()) as T;
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(response.status, { code: 'not_json', message: `${new URL(url).pathname} did not answer with JSON` });
  }
}

export const api = {
  search: (p: { q: string; limit: number; cursor?: string } & Range, signal?: AbortSignal) =>
    json<SearchAnswer>(apiUrl('search', { ...p }), signal),
  services: (r: Range, signal?: AbortSignal) => json<{ services: ServiceCount[] }>(apiUrl('services', { ...r }), signal),
  operations: (r: Range & { service?: string }, signal?: AbortSignal) =>
    json<{ operations: Operation[] }>(apiUrl('operations', { ...r }), signal),
  attributes: (r: Range & { scope?: string }, signal?: AbortSignal) =>
    json<{ attributes: AttributeKey[] }>(apiUrl('attributes', { ...r }), signal),
  values: (scope: string, key: string, r: Range & { prefix?: string; limit?: number }, signal?: AbortSignal) =>
    json<{ values: AttributeValue[]; complete: boolean }>(
      apiUrl(`attributes/${encodeURIComponent(scope)}/${encodeURIComponent(key)}/values`, { ...r }),
      signal,
    ),
  span: (trace: string, span: string, signal?: AbortSignal) => json<{ spans: SpanDetail[] }>(apiUrl(`traces/${trace}/spans/${span}`), signal),
  traceLogs: (trace: string, signal?: AbortSignal) => json<{ logs: LogRecord[] }>(apiUrl(`traces/${trace}/logs`), signal),
  status: (signal?: AbortSignal) => json<Record<string, unknown>>(apiUrl('status'), signal),

  async columns(trace: string, signal?: AbortSignal): Promise<TraceColumns> {
    const response = await request(apiUrl(`traces/${trace}/columns`), signal, 'application/vnd.tracewell.trace-columns');
    const body = await response.arrayBuffer();
    try {
      return parseColumns(body);
    } catch (e) {
      if (e instanceof ColumnsError) throw new ApiError(response.status, { code: 'columns', message: `the trace's columns cannot be read: ${e.message}` });
      throw e;
    }
  },
};
