// The fixture server must write what the page reads: its columns, also of real traces, go through the page's parser.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseColumns, spanIdHex } from '../src/trace/columns';
import { derive } from '../src/trace/derive';
import { encodeColumns } from './columns.mjs';
import { brokenTrace, deepTrace, fromOtlp, largeTrace, shopTrace } from './generate.mjs';

interface Plain {
  parent: number;
  spanId: string;
  duration: number;
}

const ID = '0'.repeat(31) + '1';
const parse = (spans: Plain[]) => {
  const body = encodeColumns(ID, 1_795_343_881_398_540_597n, spans);
  return parseColumns(body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength) as ArrayBuffer);
};

describe('fixtures', () => {
  const table: [string, Plain[]][] = [
    ['a request through the shop', shopTrace(1, 200) as Plain[]],
    ['a deep chain', deepTrace() as Plain[]],
    ['a broken trace', brokenTrace() as Plain[]],
    ['a large trace', largeTrace(5000) as Plain[]],
  ];
  for (const [name, spans] of table) {
    it(`${name} is read back`, () => {
      const t = parse(spans);
      expect(t.spanCount).toBe(spans.length);
      spans.forEach((s, i) => {
        expect(t.parent[i]).toBe(s.parent);
        expect(spanIdHex(t, i)).toBe(s.spanId);
      });
      const d = derive(t);
      for (let i = 0; i < t.spanCount; i++) {
        expect(d.selfTime[i]).toBeGreaterThanOrEqual(-1e-6);
        expect(d.selfTime[i]).toBeLessThanOrEqual(t.duration[i]! + 1e-6);
      }
    });
  }

  it('the same seed gives the same trace', () => {
    expect(JSON.stringify(shopTrace(7, 100))).toBe(JSON.stringify(shopTrace(7, 100)));
  });
});

describe('real traces', () => {
  const folder = join(import.meta.dirname, '..', '..', '..', 'shared', 'data', 'traces', 'otlp');
  const files = existsSync(folder) ? readdirSync(folder).filter((f) => f.endsWith('.json')) : [];
  if (files.length === 0) it.skip(`${folder} is missing`, () => {});
  for (const file of files) {
    it(file, () => {
      const trace = fromOtlp(JSON.parse(readFileSync(join(folder, file), 'utf8')));
      expect(trace).not.toBeNull();
      const t = parse(trace!.spans as Plain[]);
      const d = derive(t);
      expect(t.spanCount).toBe(trace!.spans.length);
      expect([...d.roots].length).toBeGreaterThan(0);
      if (file.startsWith('smartthings-mobile')) expect(d.depthMax).toBeGreaterThanOrEqual(31);
    });
  }
});
