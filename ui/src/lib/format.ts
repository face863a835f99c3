/** Text of counts, bytes, clock times and attribute values. Durations are in `trace/ruler`. */
import type { AnyValue, KeyValue } from './api';

export { formatDuration } from '../trace/ruler';

const NUMBER = new Intl.NumberFormat('en');

export function count(n: number): string {
  return NUMBER.format(n);
}

const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** As `count`, but `67.9K` and `2.9M` where there is room for a few characters only. */
export function shortCount(n: number): string {
  return n < 10_000 ? count(n) : SHORT.format(n);
}

/** `1 span`, `2 spans`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  while (n >= 1024 && u < units.length - 1) {
    n /= 1024;
    u++;
  }
  return `${u === 0 ? n : n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0)} ${units[u]}`;
}

export function toMs(unixNano: string): number {
  return Number(BigInt(unixNano) / 1000n) / 1000;
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}

/** Local date and time with the given digits of a second: `2026-11-22 17:05:09.123`. */
export function dateTime(ms: number, digits = 3): string {
  const d = new Date(ms);
  const base = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)}`;
  return digits > 0 ? `${base}.${String(d.getMilliseconds()).padStart(3, '0')}` : base;
}

export function clock(ms: number): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** The clock of today, the date of other days. */
export function shortTime(ms: number, now: number): string {
  const d = new Date(ms);
  const n = new Date(now);
  if (d.toDateString() === n.toDateString()) return clock(ms);
  const day = `${d.toLocaleString('en', { month: 'short' })} ${d.getDate()}`;
  return d.getFullYear() === n.getFullYear() ? `${day} ${clock(ms).slice(0, 5)}` : `${day} ${d.getFullYear()}`;
}

/** `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`; `in …` for clocks that run ahead. */
export function ago(ms: number, now: number): string {
  const s = Math.round((now - ms) / 1000);
  const a = Math.abs(s);
  if (a < 1) return 'now';
  const text = a < 60 ? `${a} s` : a < 3600 ? `${Math.floor(a / 60)} min` : a < 86400 ? `${Math.floor(a / 3600)} h` : `${Math.floor(a / 86400)} d`;
  return s >= 0 ? `${text} ago` : `in ${text}`;
}

export type ValueType = 'string' | 'int' | 'double' | 'bool' | 'bytes' | 'array' | 'map' | 'empty';

export function valueType(v: AnyValue | undefined): ValueType {
  if (!v) return 'empty';
  if (v.stringValue !== undefined) return 'string';
  if (v.intValue !== undefined) return 'int';
  if (v.doubleValue !== undefined) return 'double';
  if (v.boolValue !== undefined) return 'bool';
  if (v.bytesValue !== undefined) return 'bytes';
  if (v.arrayValue !== undefined) return 'array';
  if (v.kvlistValue !== undefined) return 'map';
  return 'empty';
}

export function valueText(v: AnyValue | undefined): string {
  switch (valueType(v)) {
    case 'string':
      return v!.stringValue!;
    case 'int':
      return String(v!.intValue);
    case 'double':
      return String(v!.doubleValue);
    case 'bool':
      return String(v!.boolValue);
    case 'bytes':
      return v!.bytesValue!;
    case 'array':
      return `[${(v!.arrayValue!.values ?? []).map(nested).join(', ')}]`;
    case 'map':
      return `{${(v!.kvlistValue!.values ?? []).map((kv) => `${kv.key}: ${nested(kv.value)}`).join(', ')}}`;
    case 'empty':
      return '';
  }
}

function nested(v: AnyValue): string {
  return valueType(v) === 'string' ? JSON.stringify(v.stringValue) : valueText(v);
}

export function attribute(list: KeyValue[] | undefined, key: string): string | undefined {
  const found = list?.find((kv) => kv.key === key);
  return found ? valueText(found.value) : undefined;
}

/** Whether text is worth showing in its own block: statements, JSON, stack traces. */
export function isLong(text: string): boolean {
  return text.length > 120 || text.includes('\n');
}

/** Pretty JSON where the text is a JSON object or list, the text itself otherwise. */
export function pretty(text: string): string {
  const trimmed = text.trim();
  if (!/^[[{]/.test(trimmed) || trimmed.length > 200_000) return text;
  try {
    return JSON.stringify(JSON.parse(trimmed), null, 2);
  } catch {
    return text;
  }
}
