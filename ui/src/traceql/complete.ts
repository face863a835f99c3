/** What can be written at the cursor of a query: pure, given what the server knows. */
import { FUNCTIONS, INTRINSICS, SCOPES, lex, type Token } from './lex';

export type Wanted =
  /** Names of attributes and intrinsics; `scope` narrows to one. */
  | { what: 'name'; prefix: string; from: number; to: number }
  /** Values of `name`. */
  | { what: 'value'; name: string; prefix: string; from: number; to: number; quoted: boolean }
  | { what: 'operator'; name: string; prefix: string; from: number; to: number }
  /** After a complete condition. */
  | { what: 'join'; prefix: string; from: number; to: number }
  /** Outside braces. */
  | { what: 'pipeline'; prefix: string; from: number; to: number }
  | { what: 'nothing' };

const COMPARISONS = ['=', '!=', '=~', '!~', '>', '>=', '<', '<='];

/** What stands at the cursor. */
export function wantedAt(query: string, cursor: number): Wanted {
  const tokens = lex(query.slice(0, cursor));
  const inside = braceDepth(tokens) > 0;
  const last = tokens.at(-1);
  if (last?.kind === 'comment') return { what: 'nothing' };
  const solid = tokens.filter((t) => t.kind !== 'space' && t.kind !== 'comment');
  const touching = last && last.kind !== 'space' && last.end === cursor ? last : undefined;
  // The rest of the word right of the cursor is replaced together with its part on the left.
  const tail = touching && /[\w.]$/.test(touching.text) ? (/^[\w.\-:]*/.exec(query.slice(cursor))?.[0].length ?? 0) : 0;
  const to = cursor + tail;

  if (!inside) {
    if (touching && /^\w/.test(touching.text)) return { what: 'pipeline', prefix: touching.text, from: touching.start, to };
    return { what: 'pipeline', prefix: '', from: cursor, to: cursor };
  }
  const editing = touching && isWordy(touching) ? touching : undefined;
  const before = solid.at(editing ? -2 : -1);
  const prefix = editing?.text ?? '';
  const from = editing?.start ?? cursor;

  if (before && COMPARISONS.includes(before.text)) {
    const name = solid.at(editing ? -3 : -2);
    if (!name || !isName(name)) return { what: 'nothing' };
    if (editing?.kind === 'string') {
      const closed = editing.text.length > 1 && editing.text.endsWith('"');
      if (closed) return { what: 'nothing' };
      const rest = query.slice(cursor);
      const closing = /^[^"{}]*"/.exec(rest)?.[0].length ?? 0;
      return { what: 'value', name: name.text, prefix: editing.text.slice(1), from, to: cursor + closing, quoted: true };
    }
    return { what: 'value', name: name.text, prefix, from, to, quoted: false };
  }
  if (!editing && before && isName(before)) return { what: 'operator', name: before.text, prefix: '', from: cursor, to: cursor };
  if (touching && !editing && touching.kind === 'operator' && solid.at(-2) && isName(solid.at(-2)!)) {
    return { what: 'operator', name: solid.at(-2)!.text, prefix: touching.text, from: touching.start, to: cursor };
  }
  const starts = !before || before.text === '{' || before.text === '(' || before.text === '&&' || before.text === '||' || before.text === '!' || before.text === ',';
  if (starts) {
    if (editing?.kind === 'string' || editing?.kind === 'number') return { what: 'nothing' };
    return { what: 'name', prefix, from, to };
  }
  if (!editing && isOperand(before)) return { what: 'join', prefix: '', from: cursor, to: cursor };
  return { what: 'nothing' };
}

function braceDepth(tokens: Token[]): number {
  let depth = 0;
  for (const t of tokens) if (t.kind === 'brace') depth += t.text === '{' ? 1 : -1;
  return depth;
}

function isWordy(t: Token): boolean {
  return t.kind === 'attribute' || t.kind === 'intrinsic' || t.kind === 'keyword' || t.kind === 'unknown' || t.kind === 'string' || t.kind === 'number' || t.kind === 'duration' || t.kind === 'function';
}

function isName(t: Token): boolean {
  return t.kind === 'attribute' || t.kind === 'intrinsic';
}

function isOperand(t: Token): boolean {
  return t.kind === 'string' || t.kind === 'number' || t.kind === 'duration' || t.kind === 'keyword' || t.text === ')';
}

export interface Suggestion {
  /** What is written into the query. */
  insert: string;
  label: string;
  detail: string;
  /** The menu opens again after this one (a scope, an operator). */
  more: boolean;
}

const suggest = (insert: string, label: string, detail: string, more = false): Suggestion => ({ insert, label, detail, more });

/** Suggestions that need no server. */
export function fixedSuggestions(w: Wanted): Suggestion[] {
  switch (w.what) {
    case 'name': {
      const list = [
        ...SCOPES.slice(0, 2).map((s) => suggest(`${s}.`, `${s}.`, s === 'span' ? 'attributes of the span' : 'attributes of what sent it', true)),
        ...INTRINSICS.map((i) => suggest(`${i.name} `, i.name, i.help, true)),
        ...SCOPES.slice(2).map((s) => suggest(`${s}.`, `${s}.`, `attributes of the ${s === 'instrumentation' ? 'scope' : s}`, true)),
      ];
      return rank(list, w.prefix);
    }
    case 'operator': {
      const type = INTRINSICS.find((i) => i.name === w.name)?.type;
      const order =
        type === 'duration' || type === 'number' ? ['>', '<', '>=', '<=', '=', '!='] : type === 'status' || type === 'kind' ? ['=', '!='] : ['=', '!=', '=~', '!~', '>', '>=', '<', '<='];
      const help: Record<string, string> = { '=': 'equals', '!=': 'differs', '=~': 'matches the expression', '!~': 'does not match', '>': 'more than', '>=': 'at least', '<': 'less than', '<=': 'at most' };
      return order.filter((o) => o.startsWith(w.prefix) && o !== w.prefix).map((o) => suggest(`${/\s$/.test(w.prefix) ? '' : ''}${o} `, o, help[o]!, true));
    }
    case 'value': {
      const type = INTRINSICS.find((i) => i.name === w.name)?.type;
      if (w.quoted) return [];
      const words =
        type === 'status' ? ['error', 'ok', 'unset'] : type === 'kind' ? ['server', 'client', 'internal', 'producer', 'consumer'] : type === 'duration' ? ['10ms', '100ms', '500ms', '1s', '5s'] : [];
      return rank(words.map((v) => suggest(`${v} `, v, '')), w.prefix);
    }
    case 'join':
      return [suggest('&& ', '&&', 'and', true), suggest('|| ', '||', 'or', true), suggest('}', '}', 'end')];
    case 'pipeline': {
      const list = w.prefix
        ? FUNCTIONS.map((f) => suggest(`${f}(`, f, 'pipeline'))
        : [suggest('{ ', '{', 'select spans', true), suggest('&& { ', '&& {', 'and other spans in the trace', true), suggest('>> { ', '>> {', 'with descendants', true), suggest('> { ', '> {', 'with children', true), suggest('| count() > ', '| count()', 'number of spans'), suggest('| avg(duration) > ', '| avg()', 'mean'), suggest('| select(', '| select()', 'return attributes')];
      return rank(list, w.prefix);
    }
    default:
      return [];
  }
}

/** Beginnings before insides; the order of the list decides between equals. */
export function rank(list: Suggestion[], prefix: string): Suggestion[] {
  const p = prefix.toLowerCase();
  if (p === '') return list;
  const starts: Suggestion[] = [];
  const holds: Suggestion[] = [];
  for (const s of list) {
    const label = s.label.toLowerCase();
    if (label === p && !s.more) continue;
    if (label.startsWith(p)) starts.push(s);
    else if (label.includes(p)) holds.push(s);
  }
  return [...starts, ...holds];
}

/** Scope and key of an attribute as written, `''` for any scope; null for intrinsics. */
export function splitName(name: string): { scope: string; key: string } | null {
  const match = /^(?:parent\.)?(span|resource|event|link|instrumentation)?\.(.*)$/.exec(name);
  return match ? { scope: match[1] ?? '', key: match[2]!.replace(/^"(.*)"$/, '$1') } : null;
}
