import { describe, expect, it } from 'vitest';
import { fixedSuggestions, splitName, wantedAt } from './complete';
import { addCondition, conditions, fromByteOffset, hasCondition, removeConditions, toggleCondition } from './edit';
import { attributeName, lex, literal } from './lex';

describe('lexer', () => {
  const kinds = (q: string) => lex(q).filter((t) => t.kind !== 'space').map((t) => `${t.kind}:${t.text}`);

  it('reads a query', () => {
    expect(kinds('{ span.http.status_code >= 500 && name =~ "GET.*" } | avg(duration) > 1.5s')).toEqual([
      'brace:{', 'attribute:span.http.status_code', 'operator:>=', 'number:500', 'operator:&&', 'intrinsic:name', 'operator:=~', 'string:"GET.*"', 'brace:}',
      'operator:|', 'function:avg', 'paren:(', 'intrinsic:duration', 'paren:)', 'operator:>', 'duration:1.5s',
    ]);
  });

  it('reads scopes, quotes and leading dots', () => {
    expect(kinds('.foo resource.service.name span."a b" parent.span.x status = error')).toEqual([
      'attribute:.foo', 'attribute:resource.service.name', 'attribute:span."a b"', 'attribute:parent.span.x', 'intrinsic:status', 'operator:=', 'keyword:error',
    ]);
  });

  it('loses nothing, whatever comes', () => {
    for (const q of ['', '{', '"open', 'ü§$ {{}} \\', '/* no end', 'span.', '{ .x = `raw` }']) expect(lex(q).map((t) => t.text).join('')).toBe(q);
  });

  it('writes literals and names', () => {
    expect([literal('a"b', 'string'), literal('500', 'int'), literal(true, 'bool')]).toEqual(['"a\\"b"', '500', 'true']);
    expect([attributeName('span', 'http.route'), attributeName('span', 'a b'), attributeName('resource', '1x')]).toEqual(['span.http.route', 'span."a b"', 'resource."1x"']);
  });
});

describe('editing conditions', () => {
  const c = 'status = error';
  const table: [string, string][] = [
    ['', '{ status = error }'],
    ['{}', '{ status = error }'],
    ['{ }', '{ status = error }'],
    ['{ name = "a" }', '{ name = "a" && status = error }'],
    ['{ name = "a" || name = "b" }', '{ (name = "a" || name = "b") && status = error }'],
    ['{ name = "}" } >> { .x = 1 }', '{ name = "}" && status = error } >> { .x = 1 }'],
    ['{ status=error }', '{ status=error }'],
    ['{ name = "a"', '{ name = "a" && status = error }'],
  ];
  for (const [before, after] of table) it(`adds to ${before || 'nothing'}`, () => expect(addCondition(before, c)).toBe(after));

  it('takes away what it added', () => {
    for (const q of ['{}', '{ name = "a" }', '{ name = "a" } | count() > 1']) {
      const added = toggleCondition(q, c);
      expect(hasCondition(added, c)).toBe(true);
      expect(toggleCondition(added, c)).toBe(q);
    }
  });

  it('finds and removes by kind', () => {
    expect(conditions('{ a = 1 && (b = 2 && c = 3) && traceDuration > 1s }').map((x) => x.text)).toEqual(['a = 1', '(b = 2 && c = 3)', 'traceDuration > 1s']);
    expect(removeConditions('{ .a = 1 && traceDuration > 1s && traceDuration < 2s }', (x) => x.startsWith('traceDuration'))).toBe('{ .a = 1 }');
  });

  it('byte offsets become character offsets', () => {
    expect(fromByteOffset('aü€😀b', 1)).toBe(1);
    expect(fromByteOffset('aü€😀b', 3)).toBe(2);
    expect(fromByteOffset('aü€😀b', 10)).toBe(5);
    expect(fromByteOffset('ab', 99)).toBe(2);
  });
});

describe('completion', () => {
  /** `|` marks the cursor. */
  const at = (text: string) => {
    const cursor = text.indexOf('¦');
    return wantedAt(text.replace('¦', ''), cursor);
  };
  const table: [string, object][] = [
    ['{ ¦', { what: 'name', prefix: '' }],
    ['{ span.ht¦', { what: 'name', prefix: 'span.ht' }],
    ['{ span.db.¦', { what: 'name', prefix: 'span.db.' }],
    ['{ span.¦ = 1 }', { what: 'name', prefix: 'span.' }],
    ['{ na¦me = "x" }', { what: 'name', prefix: 'na', to: 6 }],
    ['{ span.http.route ¦', { what: 'operator', name: 'span.http.route' }],
    ['{ name !¦', { what: 'operator', prefix: '!' }],
    ['{ status = ¦', { what: 'value', name: 'status', quoted: false }],
    ['{ status = er¦', { what: 'value', prefix: 'er' }],
    ['{ span.x = "ab¦', { what: 'value', name: 'span.x', prefix: 'ab', quoted: true }],
    ['{ span.x = "ab¦cd" }', { what: 'value', prefix: 'ab', to: 17 }],
    ['{ span.x = "ab" ¦', { what: 'join' }],
    ['{ span.x = "ab" && ¦', { what: 'name' }],
    ['{ } ¦', { what: 'pipeline' }],
    ['{ } | cou¦', { what: 'pipeline', prefix: 'cou' }],
    ['¦', { what: 'pipeline' }],
  ];
  for (const [text, wanted] of table) it(text, () => expect(at(text)).toMatchObject(wanted));

  it('suggests what fits', () => {
    expect(fixedSuggestions(at('{ sta¦')).map((s) => s.label)).toEqual(['status', 'statusMessage', 'event:timeSinceStart']);
    expect(fixedSuggestions(at('{ status = e¦')).map((s) => s.label)[0]).toBe('error');
    expect(fixedSuggestions(at('{ duration ¦'))[0]?.label).toBe('>');
  });

  it('splits names', () => {
    expect(splitName('resource.service.name')).toEqual({ scope: 'resource', key: 'service.name' });
    expect(splitName('.foo')).toEqual({ scope: '', key: 'foo' });
    expect(splitName('span."a b"')).toEqual({ scope: 'span', key: 'a b' });
    expect(splitName('status')).toBeNull();
  });
});
