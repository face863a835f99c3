/**
 * Reads `GET /api/v1/status` for people: receivers with what they took and refused, and every other figure by its name.
 * New fields of the server appear on the page without a change here.
 */
import { ago, bytes, count, dateTime } from './format';
import { formatDuration } from '../trace/ruler';

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type Fields = { [key: string]: Json };

export interface Signal {
  name: string;
  requests: number;
  accepted: number;
  bytes: number;
  /** Reason and count, most first. */
  rejected: [string, number][];
}

export interface Receiver {
  name: string;
  address: string;
  signals: Signal[];
  /** What else it says, label and text. */
  more: [string, string][];
  lastError: { message: string; when: string } | null;
}

export const isFields = (v: Json | undefined): v is Fields => typeof v === 'object' && v !== null && !Array.isArray(v);

function num(v: Json | undefined): number {
  return typeof v === 'number' ? v : typeof v === 'string' && /^\d+$/.test(v) ? Number(v) : 0;
}

function first(f: Fields, ...keys: string[]): Json | undefined {
  for (const k of keys) if (f[k] !== undefined) return f[k];
  return undefined;
}

/** Reasons with counts, whichever way they are written: `{reason: n}` or `[{reason, count}]`. */
function reasons(...values: (Json | undefined)[]): [string, number][] {
  const sum = new Map<string, number>();
  const add = (k: string, n: number) => n > 0 && sum.set(k, (sum.get(k) ?? 0) + n);
  for (const v of values) {
    if (isFields(v)) for (const [k, n] of Object.entries(v)) add(k, num(n));
    else if (Array.isArray(v)) for (const o of v.filter(isFields)) add(String(first(o, 'reason', 'name') ?? 'rejected'), num(first(o, 'count', 'n')));
    else add('rejected', num(v));
  }
  return [...sum].sort((a, b) => b[1] - a[1]);
}

function signal(name: string, f: Fields): Signal {
  return {
    name,
    requests: num(f['requests']),
    accepted: num(first(f, 'itemsAccepted', 'accepted')),
    bytes: num(first(f, 'bytesReceived', 'bytes')),
    rejected: reasons(first(f, 'itemsRejected', 'rejected', 'rejects'), f['refused']),
  };
}

/** `otlpGrpc`, `otlp-grpc` and `otlp_grpc` are one name. */
const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9]/g, '');

const SHOWN = new Set(['name', 'address', 'signals', 'requests', 'accepted', 'rejected', 'rejects', 'itemsAccepted', 'itemsRejected', 'bytesReceived', 'refused', 'lastError', 'last_error']);

export function receivers(status: Fields, now: number): Receiver[] {
  const list = Array.isArray(status['receivers']) ? status['receivers'].filter(isFields) : [];
  const listeners = isFields(status['listeners']) ? status['listeners'] : {};
  return list.map((r) => {
    const name = String(r['name'] ?? 'receiver');
    const listener = Object.entries(listeners).find(([k]) => plain(k) === plain(name))?.[1];
    const signals = Array.isArray(r['signals']) ? r['signals'].filter(isFields).map((s) => signal(String(s['signal'] ?? s['name'] ?? ''), s)) : [signal('', r)];
    return {
      name: title(name),
      address: String(r['address'] ?? listener ?? ''),
      // A kind of request that nobody sent needs no line.
      signals: signals.filter((s, i) => i === 0 || s.requests > 0 || s.rejected.length > 0),
      more: Object.entries(r).filter(([k, v]) => !SHOWN.has(k) && !isFields(v) && !Array.isArray(v)).map(([k, v]) => [label(k), text(k, v, now)]),
      lastError: lastError(first(r, 'lastError', 'last_error'), now),
    };
  });
}

function lastError(e: Json | undefined, now: number): Receiver['lastError'] {
  if (typeof e === 'string' && e) return { message: e, when: '' };
  if (!isFields(e)) return null;
  const time = Object.entries(e).find(([k, v]) => /nano$/i.test(k) && num(v) > 0);
  return { message: String(first(e, 'message', 'reason') ?? JSON.stringify(e)), when: time ? ago(num(time[1]) / 1e6, now) : '' };
}

const WORDS: Record<string, string> = { wal: 'WAL', http: 'HTTP', grpc: 'gRPC', otlp: 'OTLP', id: 'id', url: 'URL', cpu: 'CPU' };

function title(key: string): string {
  const words = key.replace(/([a-z0-9])([A-Z])/g, '$1 $2').split(/[\s_-]+/).map((w) => WORDS[w.toLowerCase()] ?? w.toLowerCase());
  const joined = words.join(' ');
  return joined.charAt(0).toUpperCase() + joined.slice(1);
}

/** `headBytes` → `Head`: the unit is in the value. `bytesMax` → `Max`; `bytes` alone → `Size`. */
export function label(key: string): string {
  if (/^bytes$/i.test(key)) return 'Size';
  const bare = key.replace(/(UnixNano|Seconds|Ns|Ms|Bytes)(?=$|Max$|Min$)/, '').replace(/_(unix_nano|seconds|ns|ms|bytes)$/, '').replace(/^bytes(?=[A-Z])/, '');
  return title(bare === '' ? key : bare);
}

/** The unit comes from the name, as everywhere in Tracewell. */
export function text(key: string, v: Json | undefined, now: number): string {
  if (v === null || v === undefined) return '–';
  if (typeof v === 'boolean') return v ? 'yes' : 'no';
  if (Array.isArray(v)) return v.length === 0 ? 'none' : v.map((x) => (typeof x === 'object' ? JSON.stringify(x) : String(x))).join(', ');
  if (typeof v === 'object') return JSON.stringify(v);
  const n = typeof v === 'number' ? v : /^\d+$/.test(v) ? Number(v) : NaN;
  if (Number.isNaN(n)) return String(v);
  if (/unix_?nano$/i.test(key)) return n > 0 ? `${dateTime(n / 1e6, 0)} (${ago(n / 1e6, now)})` : '–';
  if (/bytes/i.test(key)) return bytes(n);
  if (/seconds$/i.test(key)) return formatDuration(n * 1e9);
  if (/(_ns|[a-z]Ns)(Max|Min)?$/.test(key)) return formatDuration(n);
  if (/(_ms|[a-z]Ms)(Max|Min)?$/.test(key)) return n >= 86400e3 ? `${Number((n / 86400e3).toFixed(1))} d` : formatDuration(n * 1e6);
  return Number.isInteger(n) ? count(n) : n.toFixed(2);
}

/** A part of the status: its plain figures, then tables, then parts of its own. */
export interface Part {
  name: string;
  figures: [string, string, boolean][];
  tables: { name: string; head: string[]; rows: string[][] }[];
  parts: Part[];
}

const isTrouble = (key: string, v: Json) => (/error|damaged|quarantin|poisoned|refus|unavailable|torn|missing|unreadable/i.test(key) && v !== null && v !== false && v !== 0 && v !== '' && !(Array.isArray(v) && v.length === 0));

export function part(name: string, fields: Fields, now: number): Part {
  const p: Part = { name: label(name), figures: [], tables: [], parts: [] };
  for (const [k, v] of Object.entries(fields)) {
    if (isFields(v)) p.parts.push(part(k, v, now));
    else if (Array.isArray(v) && v.some(isFields)) {
      const rows = v.filter(isFields);
      const isText = (key: string) => rows.some((r) => typeof r[key] === 'string' && !/^\d+$/.test(r[key]));
      // What a row is about comes first, its figures after it.
      const keys = [...new Set(rows.flatMap((r) => Object.keys(r)))].sort((a, b) => Number(isText(b)) - Number(isText(a)));
      p.tables.push({ name: label(k), head: keys.map(label), rows: rows.map((r) => keys.map((key) => text(key, r[key], now))) });
    } else p.figures.push([label(k), text(k, v, now), isTrouble(k, v)]);
  }
  return p;
}
