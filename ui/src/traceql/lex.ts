/** A lexer for TraceQL, enough to colour a query, complete it and edit its conditions. Never fails: what it does not know is `unknown`. */

export type TokenKind =
  | 'space' | 'brace' | 'paren' | 'string' | 'number' | 'duration' | 'attribute' | 'intrinsic' | 'keyword' | 'function' | 'operator' | 'comma'
  | 'comment' | 'unknown';

export interface Token {
  kind: TokenKind;
  /** Offsets in UTF-16 units, `end` exclusive. */
  start: number;
  end: number;
  text: string;
}

export interface Intrinsic {
  name: string;
  type: 'string' | 'duration' | 'status' | 'kind' | 'number' | 'bool';
  help: string;
}

export const INTRINSICS: Intrinsic[] = [
  { name: 'name', type: 'string', help: 'span name' },
  { name: 'status', type: 'status', help: 'ok, error or unset' },
  { name: 'duration', type: 'duration', help: 'span duration' },
  { name: 'kind', type: 'kind', help: 'server, client, …' },
  { name: 'statusMessage', type: 'string', help: 'message of the status' },
  { name: 'rootServiceName', type: 'string', help: 'service of the root span' },
  { name: 'rootName', type: 'string', help: 'name of the root span' },
  { name: 'traceDuration', type: 'duration', help: 'duration of the trace' },
  { name: 'childCount', type: 'number', help: 'direct children' },
  { name: 'span:id', type: 'string', help: 'span id' },
  { name: 'span:parentID', type: 'string', help: 'parent span id' },
  { name: 'trace:id', type: 'string', help: 'trace id' },
  { name: 'event:name', type: 'string', help: 'name of an event' },
  { name: 'event:timeSinceStart', type: 'duration', help: 'event time in the span' },
  { name: 'link:traceID', type: 'string', help: 'linked trace' },
  { name: 'link:spanID', type: 'string', help: 'linked span' },
  { name: 'instrumentation:name', type: 'string', help: 'instrumentation scope' },
  { name: 'instrumentation:version', type: 'string', help: 'its version' },
];

export const SCOPES = ['span', 'resource', 'event', 'link', 'instrumentation', 'parent'] as const;
export const KEYWORDS = new Set(['true', 'false', 'nil', 'ok', 'error', 'unset', 'unspecified', 'internal', 'server', 'client', 'producer', 'consumer', 'with', 'by', 'not']);
export const FUNCTIONS = ['count', 'sum', 'avg', 'min', 'max', 'by', 'select', 'coalesce', 'rate', 'count_over_time', 'quantile_over_time', 'histogram_over_time', 'compare', 'topk', 'bottomk'];
const FUNCTION_SET = new Set(FUNCTIONS);
const INTRINSIC_SET = new Set(INTRINSICS.map((i) => i.name.toLowerCase()).concat(['trace:duration', 'trace:rootname', 'trace:rootservice', 'span:name', 'span:status', 'span:statusmessage', 'span:duration', 'span:kind', 'span:childcount', 'nestedsetleft', 'nestedsetright', 'nestedsetparent', 'parent']));

// Longest first. The attribute pattern takes a scope or a leading dot; quoted parts may hold anything.
const PATTERNS: [TokenKind | 'word', RegExp][] = [
  ['space', /\s+/y],
  ['comment', /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y],
  ['string', /"(?:\\[\s\S]|[^"\\])*"?|`[^`]*`?/y],
  ['attribute', /(?:(?:parent\.)?(?:span|resource|event|link|instrumentation|parent))?\.(?:[\w\-/@:.]|"(?:\\.|[^"\\])*")*/y],
  ['duration', /\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h)(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))*/y],
  ['number', /\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y],
  ['operator', /&&|\|\||!>>|!<<|&>>|&<<|!~|=~|!=|<=|>=|>>|<<|!>|!<|&>|&<|&~|[=<>|~!+\-*/%^]/y],
  ['brace', /[{}]/y],
  ['paren', /[()]/y],
  ['comma', /,/y],
  ['word', /[A-Za-z_][\w]*(?::[A-Za-z]+)?/y],
];

export function lex(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  outer: while (at < text.length) {
    for (const [kind, pattern] of PATTERNS) {
      pattern.lastIndex = at;
      const match = pattern.exec(text);
      if (!match || match[0] === '') continue;
      const end = at + match[0].length;
      tokens.push({ kind: kind === 'word' ? wordKind(match[0], text, end) : kind, start: at, end, text: match[0] });
      at = end;
      continue outer;
    }
    tokens.push({ kind: 'unknown', start: at, end: at + 1, text: text[at]! });
    at++;
  }
  return tokens;
}

function wordKind(word: string, text: string, end: number): TokenKind {
  if (FUNCTION_SET.has(word) && /^\s*\(/.test(text.slice(end))) return 'function';
  if (INTRINSIC_SET.has(word.toLowerCase())) return 'intrinsic';
  if (KEYWORDS.has(word)) return 'keyword';
  return 'unknown';
}

/** A value as TraceQL writes it. */
export function literal(value: string | number | boolean, type: string): string {
  if (type === 'int' || type === 'double' || type === 'float' || type === 'number' || type === 'bool' || type === 'boolean' || type === 'keyword' || type === 'duration') return String(value);
  return JSON.stringify(String(value));
}

/** An attribute as TraceQL writes it: quoted where the key has characters that end a bare one. */
export function attributeName(scope: string, key: string): string {
  const bare = /^[A-Za-z_][\w\-/@.]*$/.test(key) && !key.endsWith('.') && !key.includes('..');
  return `${scope}.${bare ? key : JSON.stringify(key)}`;
}
