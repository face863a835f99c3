/** Adding, removing and finding conditions in a query without taking apart what the person wrote. */
import { lex, type Token } from './lex';

interface Spanset {
  /** Offsets just inside the braces of the first spanset. */
  from: number;
  to: number;
}

function firstSpanset(tokens: Token[], text: string): Spanset | null {
  const open = tokens.findIndex((t) => t.text === '{' && t.kind === 'brace');
  if (open < 0) return null;
  const close = tokens.find((t, i) => i > open && t.text === '}' && t.kind === 'brace');
  return { from: tokens[open]!.end, to: close ? close.start : text.length };
}

/** The conditions of the first spanset that are joined by `&&` at its outermost level, with their offsets. */
export function conditions(query: string): { text: string; start: number; end: number }[] {
  const tokens = lex(query);
  const set = firstSpanset(tokens, query);
  if (!set) return [];
  const list: { text: string; start: number; end: number }[] = [];
  let depth = 0;
  let start = set.from;
  const push = (end: number) => {
    const text = query.slice(start, end).trim();
    if (text !== '') list.push({ text, start, end });
  };
  for (const t of tokens) {
    if (t.start < set.from || t.start >= set.to) continue;
    if (t.text === '(') depth++;
    else if (t.text === ')') depth--;
    else if (t.text === '&&' && depth === 0) {
      push(t.start);
      start = t.end;
    } else if (t.text === '||' && depth === 0) {
      // Alternatives: the whole inside is one condition.
      return [{ text: query.slice(set.from, set.to).trim(), start: set.from, end: set.to }];
    }
  }
  push(set.to);
  return list;
}

function normal(text: string): string {
  return lex(text)
    .filter((t) => t.kind !== 'space' && t.kind !== 'comment')
    .map((t) => t.text)
    .join(' ');
}

export function hasCondition(query: string, condition: string): boolean {
  const want = normal(condition);
  return conditions(query).some((c) => normal(c.text) === want);
}

/** Adds a condition to the first spanset; alternatives there are put in parentheses first. */
export function addCondition(query: string, condition: string): string {
  const text = query.trim();
  if (text === '') return `{ ${condition} }`;
  if (hasCondition(text, condition)) return text;
  const tokens = lex(text);
  const set = firstSpanset(tokens, text);
  if (!set) return `{ ${condition} } && ${text}`;
  const inside = text.slice(set.from, set.to).trim();
  const rest = set.to < text.length ? text.slice(set.to) : '}';
  if (inside === '') return `${text.slice(0, set.from)} ${condition} ${rest}`;
  const joined = hasAlternatives(inside) ? `(${inside})` : inside;
  return `${text.slice(0, set.from)} ${joined} && ${condition} ${rest}`;
}

function hasAlternatives(inside: string): boolean {
  let depth = 0;
  for (const t of lex(inside)) {
    if (t.text === '(') depth++;
    else if (t.text === ')') depth--;
    else if (t.text === '||' && depth === 0) return true;
  }
  return false;
}

/** Removes every condition for which `test` holds. */
export function removeConditions(query: string, test: (condition: string) => boolean): string {
  const all = conditions(query);
  const kept = all.filter((c) => !test(normal(c.text)));
  if (kept.length === all.length) return query;
  const set = firstSpanset(lex(query), query)!;
  const inside = kept.map((c) => c.text).join(' && ');
  return `${query.slice(0, set.from)}${inside ? ` ${inside} ` : ''}${query.slice(set.to)}`;
}

export function toggleCondition(query: string, condition: string): string {
  const want = normal(condition);
  return hasCondition(query, condition) ? removeConditions(query, (c) => c === want) : addCondition(query, condition);
}

/** UTF-16 offset of a byte offset in the UTF-8 form, as errors of the API give it. */
export function fromByteOffset(text: string, byte: number): number {
  let bytes = 0;
  for (let i = 0; i < text.length; ) {
    if (bytes >= byte) return i;
    const point = text.codePointAt(i)!;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    i += point > 0xffff ? 2 : 1;
  }
  return text.length;
}
