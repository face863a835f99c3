/**
 * Search within a trace. Terms are separated by blanks and all must hold: text found in the service or the name,
 * `error`, `kind:client`, `id:00f067`, `>10ms`, `<1s`, `service:cart`, `name:GET`, `orphan`, `exception`, `log`, `self>5ms`.
 * Quotes keep blanks: `"GET /cart"`.
 */
import { Flag, KINDS, STATUS_ERROR, spanIdHex, type TraceColumns } from './columns';
import type { Derived } from './derive';

type Test = (i: number) => boolean;

const UNIT_NS: Record<string, number> = { ns: 1, us: 1e3, 'µs': 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Nanoseconds of `10ms`, `1.5s`, …, or null. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)$/.exec(text);
  return match ? Number(match[1]) * UNIT_NS[match[2]!]! : null;
}

/** Preorder indices of the matches, ascending; empty for an empty query. */
export function find(t: TraceColumns, d: Derived, query: string): Uint32Array {
  const terms = query.match(/(?:[^\s"]*"[^"]*"?)|\S+/g) ?? [];
  if (terms.length === 0) return new Uint32Array(0);
  const tests = terms.map((term) => toTest(t, d, term));
  const result: number[] = [];
  for (let i = 0; i < t.spanCount; i++) {
    let all = true;
    for (const test of tests) {
      if (!test(i)) {
        all = false;
        break;
      }
    }
    if (all) result.push(i);
  }
  return Uint32Array.from(result);
}

function toTest(t: TraceColumns, d: Derived, term: string): Test {
  const plain = term.replaceAll('"', '').toLowerCase();
  if (!term.includes('"')) {
    if (plain === 'error') return (i) => t.status[i] === STATUS_ERROR;
    if (plain === 'orphan') return (i) => (t.flags[i]! & Flag.orphan) !== 0;
    if (plain === 'inferred') return (i) => (t.flags[i]! & Flag.inferred) !== 0;
    if (plain === 'exception') return (i) => (t.flags[i]! & Flag.exception) !== 0;
    if (plain === 'log') return (i) => (t.flags[i]! & Flag.logs) !== 0;
    const compare = /^(self)?([<>])=?(.+)$/.exec(plain);
    const limit = compare ? parseDuration(compare[3]!) : null;
    if (compare && limit !== null) {
      const column = compare[1] ? d.selfTime : t.duration;
      return compare[2] === '>' ? (i) => column[i]! >= limit : (i) => column[i]! <= limit;
    }
  }
  const field = /^(kind|id|service|name):(.+)$/.exec(plain);
  if (field?.[1] === 'kind') {
    const kind = KINDS.findIndex((k) => k.startsWith(field[2]!));
    return (i) => t.kind[i] === kind;
  }
  if (field?.[1] === 'id') return (i) => spanIdHex(t, i).startsWith(field[2]!);
  const text = field ? field[2]! : plain;
  // The dictionaries are short: each text is compared once, not once per span.
  const services = Uint8Array.from(t.services, (s) => (field?.[1] !== 'name' && s.toLowerCase().includes(text) ? 1 : 0));
  const names = Uint8Array.from(t.names, (s) => (field?.[1] !== 'service' && s.toLowerCase().includes(text) ? 1 : 0));
  const byId = !field && /^[0-9a-f]{16}$/.test(plain);
  return (i) => services[t.service[i]!] === 1 || names[t.name[i]!] === 1 || (byId && spanIdHex(t, i) === plain);
}

/** The next entry of an ascending list after (`step` 1) or before (−1) `from`, around the end; −1 when empty. */
export function nextIn(list: Uint32Array, from: number, step: 1 | -1): number {
  if (list.length === 0) return -1;
  let lo = 0;
  let hi = list.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (list[mid]! < from || (step === 1 && list[mid] === from)) lo = mid + 1;
    else hi = mid;
  }
  return step === 1 ? list[lo % list.length]! : list[(lo - 1 + list.length) % list.length]!;
}

/** Whether an ascending list holds the value, and where. */
export function indexIn(list: Uint32Array, value: number): number {
  let lo = 0;
  let hi = list.length - 1;
  while (lo <= hi) {
    const mid = (lo + hi) >> 1;
    if (list[mid]! < value) lo = mid + 1;
    else if (list[mid]! > value) hi = mid - 1;
    else return mid;
  }
  return -1;
}
