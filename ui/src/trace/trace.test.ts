import { describe as suite, expect, it } from 'vitest';
import { assignColors, colorIndex, oklchHex, LIGHT, DARK } from './colors';
import { ColumnsError, corrected, findSpan, parseColumns, spanIdHex, type TraceColumns } from './columns';
import { derive, outsideParent } from './derive';
import { find, indexIn, nextIn, parseDuration } from './find';
import { BINDINGS, actionOf, move } from './keyboard';
import { barOf, hitTest, indentOf, indentStep, ROW_PX, scrollOf } from './layout';
import { gripAt, paintMinimap } from './minimap';
import { criticalPath, onPathNs } from './path';
import { Rows } from './rows';
import { formatDuration, formatTick, tickStep, ticks } from './ruler';
import { around, clampView, decodeView, encodeView, full, nsOf, pan, xOf, zoomAt } from './viewport';
import { encodeColumns, type SpanInput } from './testing';

const MS = 1e6;

/**
 * ```text
 * 0 gateway GET /           0 … 100 ms
 * 1 ├ cart  get            10 …  40      error
 * 2 │ └ db  SELECT         15 …  35      error
 * 3 └ pay   charge         50 … 120      ends after its parent
 * 4   └ pay call           60 …  90
 * 5 audit write  (orphan)  70 …  80
 * ```
 */
const SPANS: SpanInput[] = [
  { parent: -1, service: 'gateway', name: 'GET /', start: 0, duration: 100 * MS, kind: 2 },
  { parent: 0, service: 'cart', name: 'get', start: 10 * MS, duration: 30 * MS, kind: 2, status: 2 },
  { parent: 1, service: 'db', name: 'SELECT', start: 15 * MS, duration: 20 * MS, kind: 3, status: 2, flags: 34 },
  { parent: 0, service: 'pay', name: 'charge', start: 50 * MS, duration: 70 * MS, kind: 2 },
  { parent: 3, service: 'pay', name: 'call', start: 60 * MS, duration: 30 * MS, kind: 3 },
  { parent: -1, service: 'audit', name: 'write', start: 70 * MS, duration: 10 * MS, kind: 1, flags: 1 },
];

function example(): TraceColumns {
  return parseColumns(encodeColumns(SPANS));
}

suite('columns', () => {
  it('reads what the server writes', () => {
    const t = example();
    expect(t.spanCount).toBe(6);
    expect(t.services).toEqual(['gateway', 'cart', 'db', 'pay', 'audit']);
    expect([...t.parent]).toEqual([-1, 0, 1, 0, 3, -1]);
    expect([...t.descendants]).toEqual([4, 1, 0, 1, 0, 0]);
    expect([...t.depth]).toEqual([0, 1, 2, 1, 2, 0]);
    expect(t.durationNs).toBe(120 * MS);
    expect(spanIdHex(t, 3)).toBe('0000000000000004');
    expect(findSpan(t, '0000000000000004')).toBe(3);
    expect(findSpan(t, 'ffffffffffffffff')).toBe(-1);
    expect(findSpan(t, 'no id')).toBe(-1);
  });

  it('reads an empty trace', () => {
    expect(parseColumns(encodeColumns([])).spanCount).toBe(0);
  });

  const broken: [string, (b: Uint8Array) => ArrayBuffer, RegExp][] = [
    ['too short', () => new ArrayBuffer(3), /at least 16 bytes/],
    ['wrong mark', (b) => ((b[0] = 65), b.buffer as ArrayBuffer), /TWCOLS1/],
    ['header past the end', (b) => (new DataView(b.buffer).setUint32(8, 1e9, true), b.buffer as ArrayBuffer), /ends past the body/],
    ['header not JSON', (b) => ((b[16] = 33), b.buffer as ArrayBuffer), /not JSON/],
    ['cut off', (b) => b.slice(0, b.length - 8).buffer as ArrayBuffer, /ends past the body/],
  ];
  for (const [name, harm, message] of broken) {
    it(`says what is wrong: ${name}`, () => {
      const run = () => parseColumns(harm(new Uint8Array(encodeColumns(SPANS))));
      expect(run).toThrow(ColumnsError);
      expect(run).toThrow(message);
    });
  }

  it('refuses a parent after its child', () => {
    const body = encodeColumns(SPANS);
    example();
    const t = parseColumns(body);
    t.parent[1] = 4;
    expect(() => parseColumns(body)).toThrow(/expected an earlier span/);
  });
});

suite('derived figures', () => {
  const t = example();
  const d = derive(t);

  it('self time is the span without the union of its children, clipped to it', () => {
    expect([...d.selfTime].map((ns) => ns / MS)).toEqual([20, 10, 20, 40, 30, 10]);
  });

  it('errors are known at every ancestor', () => {
    expect([...d.errors]).toEqual([1, 2]);
    expect([...d.errorBelow]).toEqual([1, 1, 1, 0, 0, 0]);
    expect([...d.serviceErrors]).toEqual([0, 1, 1, 0, 0]);
  });

  it('knows orphans, roots and the deepest level', () => {
    expect([...d.orphans]).toEqual([5]);
    expect([...d.roots]).toEqual([0, 5]);
    expect(d.depthMax).toBe(2);
  });

  it('knows the place among siblings', () => {
    expect([...d.position]).toEqual([1, 1, 1, 2, 1, 2]);
    expect([...d.children]).toEqual([2, 1, 0, 1, 0, 0]);
  });

  it('marks a child outside its parent', () => {
    expect([0, 1, 2, 3, 4].map((i) => outsideParent(t, i))).toEqual(['none', 'none', 'none', 'late', 'none']);
  });

  it('self time holds for children out of order and overlapping', () => {
    const u = parseColumns(
      encodeColumns([
        { parent: -1, service: 'a', name: 'a', start: 0, duration: 100 },
        { parent: 0, service: 'a', name: 'b', start: 60, duration: 20 },
        { parent: 0, service: 'a', name: 'c', start: 10, duration: 30 },
        { parent: 0, service: 'a', name: 'd', start: 30, duration: 40 },
      ]),
    );
    expect(derive(u).selfTime[0]).toBe(30);
  });
});

suite('rows', () => {
  const visible = (r: Rows) => Array.from({ length: r.count }, (_, i) => r.span(i));

  it('hides what is below a closed span', () => {
    const r = new Rows(example());
    expect(visible(r)).toEqual([0, 1, 2, 3, 4, 5]);
    r.toggle(1);
    expect(visible(r)).toEqual([0, 1, 3, 4, 5]);
    expect(r.isVisible(2)).toBe(false);
    expect(r.rowOf(2)).toBe(1);
    r.toggle(0);
    expect(visible(r)).toEqual([0, 5]);
    expect(r.reveal(2)).toBe(true);
    expect(visible(r)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('opens to a depth, siblings, subtrees', () => {
    const r = new Rows(example());
    r.toDepth(0);
    expect(visible(r)).toEqual([0, 5]);
    r.toDepth(1);
    expect(visible(r)).toEqual([0, 1, 3, 5]);
    r.siblings(1, false);
    expect(visible(r)).toEqual([0, 1, 2, 3, 4, 5]);
    r.subtree(0, true);
    expect(visible(r)).toEqual([0, 5]);
  });

  it('every fold state survives the address', () => {
    const t = example();
    for (let mask = 0; mask < 8; mask++) {
      const r = new Rows(t);
      [0, 1, 3].forEach((span, bit) => mask & (1 << bit) && r.toggle(span, true));
      const back = new Rows(t);
      back.decode(r.encode());
      expect([...back.collapsed], `mask ${mask} as ${r.encode()}`).toEqual([...r.collapsed]);
    }
    expect(new Rows(t).encode()).toBe('');
  });

  it('ignores fold states of other traces', () => {
    const r = new Rows(example());
    r.decode('zzz.!.4');
    expect(r.count).toBe(6);
  });

  it('folding a large trace stays short in the address', () => {
    const spans: SpanInput[] = [];
    for (let i = 0; i < 20_000; i++) spans.push({ parent: i === 0 ? -1 : i % 2 ? 0 : i - 1, service: 'a', name: 'b', start: i, duration: 1 });
    const r = new Rows(parseColumns(encodeColumns(spans)));
    r.toDepth(1);
    expect(r.encode()).toBe('d1');
    for (let i = 1; i < 20_000; i += 4) r.collapsed[i] = 0;
    expect(r.encode().length).toBeLessThan(2100);
  });
});

suite('view', () => {
  it('zooming keeps the time under the pointer', () => {
    const v = zoomAt({ from: 0, to: 1000 }, 250, 0.5, 1000);
    expect(xOf(v, 250, 100)).toBeCloseTo(25);
    expect(v.to - v.from).toBeCloseTo(500);
  });

  it('stays inside the trace', () => {
    expect(pan({ from: 0, to: 500 }, -100, 1000)).toEqual({ from: 0, to: 500 });
    expect(pan({ from: 400, to: 900 }, 500, 1000)).toEqual({ from: 500, to: 1000 });
    expect(clampView({ from: -50, to: 5000 }, 1000)).toEqual({ from: 0, to: 1000 });
    expect(zoomAt({ from: 400, to: 500 }, 450, 100, 1000)).toEqual(full(1000));
    expect(around(990, 10, 1000).to).toBe(1000);
  });

  it('never becomes empty', () => {
    const v = zoomAt({ from: 100, to: 130 }, 110, 1e-9, 1e9);
    expect(v.to - v.from).toBeGreaterThanOrEqual(19.99);
    expect(full(0)).toEqual({ from: 0, to: 1 });
  });

  it('pixel and time are inverse', () => {
    const v = { from: 123, to: 4567 };
    for (const x of [0, 17, 400]) expect(xOf(v, nsOf(v, x, 400), 400)).toBeCloseTo(x);
  });

  it('survives the address; nonsense gives the whole', () => {
    expect(decodeView(encodeView({ from: 10, to: 500 }, 1000), 1000)).toEqual({ from: 10, to: 500 });
    expect(encodeView(full(1000), 1000)).toBe('');
    for (const bad of ['', 'a-b', '500-10', '5']) expect(decodeView(bad, 1000)).toEqual(full(1000));
  });
});

suite('text of times', () => {
  const table: [number, string][] = [
    [0, '0'], [1, '1 ns'], [820, '820 ns'], [1250, '1.25 µs'], [999_600, '1 ms'], [1_250_000, '1.25 ms'], [12_340_000, '12.3 ms'],
    [5_012_345_678, '5.01 s'], [59_000_000_000, '59 s'], [125_000_000_000, '2 m 05 s'], [11_520_000_000_000, '3 h 12 m'],
    [-1500, '−1.5 µs'], [NaN, '–'],
  ];
  for (const [ns, text] of table) it(`${ns} ns is ${text}`, () => expect(formatDuration(ns)).toBe(text));

  it('ticks are round and few', () => {
    expect(ticks({ from: 0, to: 100 * MS }, 5).map((t) => formatTick(t, 20 * MS))).toEqual(['0', '20 ms', '40 ms', '60 ms', '80 ms', '100 ms']);
    expect(tickStep(3600e9, 6)).toBe(600e9);
    expect(tickStep(100e9, 6)).toBe(20e9);
    expect(formatTick(1.5 * MS, 0.5 * MS)).toBe('1.5 ms');
    expect([150e9, 120e9, 5400e9, 7200e9].map((t) => formatTick(t, 30e9))).toEqual(['2 m 30 s', '2 m', '1 h 30 m', '2 h']);
    expect(ticks({ from: 5, to: 5.0001 }, 1e9).length).toBeLessThanOrEqual(200);
  });
});

suite('layout and hits', () => {
  const t = example();
  const rows = new Rows(t);
  const g = { widthPx: 608, labelPx: 200, offsetPx: 0, rowCount: rows.count };
  const at = (x: number, y: number, view = full(t.durationNs)) => hitTest(t, g, view, x, y, (r) => rows.span(r));

  it('finds label, bar and track', () => {
    expect(at(10, 10)).toEqual({ row: 0, zone: 'label' });
    expect(at(300, ROW_PX + 5)).toEqual({ row: 1, zone: 'bar' });
    expect(at(590, ROW_PX + 5)).toEqual({ row: 1, zone: 'track' });
    expect(at(300, 6 * ROW_PX + 1)).toBeNull();
  });

  it('offers the way to bars beside the view', () => {
    const view = { from: 100 * MS, to: 120 * MS };
    expect(at(203, ROW_PX + 5, view)?.zone).toBe('before');
    expect(at(595, 3 * ROW_PX + 5, { from: 0, to: 20 * MS })?.zone).toBe('after');
  });

  it('no bar is too thin to see', () => {
    expect(barOf(t, 2, { from: 0, to: 1e15 }, 400).width).toBe(2);
  });

  it('a million rows scroll to their end', () => {
    const s = scrollOf(2_000_000, 600);
    expect(s.contentPx).toBe(8_000_000);
    expect(s.toOffset(s.contentPx - 600)).toBeCloseTo(2_000_000 * ROW_PX - 600);
    expect(s.toOffset(s.toScrollTop(12345))).toBeCloseTo(12345);
    expect(scrollOf(10, 600).toOffset(0)).toBe(0);
  });

  it('deep traces keep room for names', () => {
    const step = indentStep(1000, 300);
    expect(indentOf(1000, step, 300)).toBeLessThanOrEqual(165);
    expect(indentStep(3, 300)).toBe(14);
  });
});

suite('find', () => {
  const t = example();
  const d = derive(t);
  const table: [string, number[]][] = [
    ['', []], ['cart', [1]], ['GET', [0, 1]], ['"GET /"', [0]], ['error', [1, 2]], ['error db', [2]], ['kind:client', [2, 4]],
    ['>=70ms', [0, 3]], ['<15ms', [5]], ['self>35ms', [3]], ['orphan', [5]], ['exception', [2]], ['service:pay', [3, 4]],
    ['name:pay', []], ['id:0000000000000003', [2]], ['0000000000000003', [2]], ['nothing', []],
  ];
  for (const [query, spans] of table) it(`"${query}" gives ${JSON.stringify(spans)}`, () => expect([...find(t, d, query)]).toEqual(spans));

  it('goes around', () => {
    const list = Uint32Array.of(3, 7, 9);
    expect([nextIn(list, 3, 1), nextIn(list, 4, 1), nextIn(list, 9, 1), nextIn(list, 0, 1)]).toEqual([7, 7, 3, 3]);
    expect([nextIn(list, 3, -1), nextIn(list, 8, -1), nextIn(list, 0, -1)]).toEqual([9, 7, 9]);
    expect(nextIn(new Uint32Array(0), 1, 1)).toBe(-1);
    expect([indexIn(list, 7), indexIn(list, 8)]).toEqual([1, -1]);
  });

  it('reads durations', () => {
    expect(['10ms', '1.5s', '2us', 'ms', '10'].map(parseDuration)).toEqual([10e6, 1.5e9, 2e3, null, null]);
  });
});

suite('keyboard', () => {
  const t = example();

  it('every key has one meaning', () => {
    const keys = BINDINGS.flatMap((b) => b.keys);
    expect(new Set(keys).size).toBe(keys.length);
    expect(actionOf('j')).toBe('down');
    expect(actionOf('ü')).toBeUndefined();
  });

  it('moves through the tree', () => {
    const r = new Rows(t);
    const table: [number, Parameters<typeof move>[3], number][] = [
      [0, 'down', 1], [0, 'up', 0], [5, 'down', 5], [2, 'parent', 1], [0, 'parent', 0], [3, 'child', 4], [4, 'child', 4],
      [1, 'nextSibling', 3], [3, 'nextSibling', 3], [3, 'previousSibling', 1], [1, 'previousSibling', 1], [0, 'nextSibling', 5],
      [5, 'previousSibling', 0], [0, 'last', 5], [5, 'first', 0], [0, 'pageDown', 5],
    ];
    for (const [from, action, to] of table) expect(move(t, r, from, action), `${from} ${action}`).toBe(to);
  });

  it('moves over closed rows', () => {
    const r = new Rows(t);
    r.toggle(1);
    expect(move(t, r, 1, 'down')).toBe(3);
  });
});

suite('colours', () => {
  it('belong to the name and differ within a trace', () => {
    const names = Array.from({ length: 20 }, (_, i) => `service-${i}`);
    expect(new Set(assignColors(names)).size).toBe(20);
    expect(assignColors(['cart'])[0]).toBe(colorIndex('cart'));
  });

  it('converts', () => {
    expect(oklchHex(1, 0, 0)).toBe('#ffffff');
    expect(oklchHex(0, 0, 0)).toBe('#000000');
  });

  const luminance = (hex: string) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const contrast = (a: string, b: string) => {
    const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m);
    return (x! + 0.05) / (y! + 0.05);
  };

  it('are legible on both backgrounds (WCAG AA)', () => {
    for (const c of LIGHT.text) expect(contrast(c, '#ffffff'), c).toBeGreaterThanOrEqual(4.5);
    for (const c of DARK.text) expect(contrast(c, '#12161c'), c).toBeGreaterThanOrEqual(4.5);
    for (const c of LIGHT.bar) expect(contrast(c, '#ffffff'), c).toBeGreaterThanOrEqual(2.8);
    for (const c of DARK.bar) expect(contrast(c, '#12161c'), c).toBeGreaterThanOrEqual(3);
  });
});

suite('minimap', () => {
  it('paints errors last and skips what cannot be seen', () => {
    const calls: string[] = [];
    const ctx = {
      fillStyle: '' as string | CanvasGradient | CanvasPattern,
      globalAlpha: 1,
      fillRect() {
        calls.push(String(this.fillStyle));
      },
    };
    const n = 1000;
    paintMinimap(ctx, {
      widthPx: 100, heightPx: 10, durationNs: 1000, start: new Float64Array(n), duration: new Float64Array(n).fill(1000),
      service: new Uint32Array(n), status: Uint8Array.from({ length: n }, (_, i) => (i === 5 ? 2 : 0)), colors: ['blue'], error: 'red',
      background: 'white',
    });
    expect(calls[0]).toBe('white');
    expect(calls.at(-1)).toBe('red');
    expect(calls.filter((c) => c === 'blue').length).toBe(10);
  });

  it('takes hold of the window by its edges', () => {
    expect([gripAt(100, 98, 200), gripAt(199, 98, 200), gripAt(150, 98, 200), gripAt(10, 98, 200)]).toEqual(['left', 'right', 'window', 'outside']);
  });
});

suite('critical path', () => {
  const trace = parseColumns(encodeColumns(SPANS));
  const step = (span: number, from: number, to: number) => ({ span: spanIdHex(trace, span), offset: from, duration: to - from });

  it('steps find their spans, whatever their order, and those of other traces are left out', () => {
    const path = criticalPath(trace, [step(1, trace.start[1]!, trace.start[1]! + 5), step(0, 0, 10), step(0, 40, 50), { ...step(0, 0, 1), span: 'ffffffffffffffff' }]);
    expect([...path.spans]).toEqual([0, 1]);
    expect([...path.first]).toEqual([0, 2, 3]);
    expect(onPathNs(path, 0)).toBe(20);
    expect(onPathNs(path, 1)).toBe(5);
    expect(onPathNs(path, 2)).toBe(0);
  });

  it('of two halves with one id the step belongs to the one that ran then', () => {
    const body = encodeColumns([
      { parent: -1, service: 'a', name: 'call', start: 0, duration: 100, kind: 3 },
      { parent: 0, service: 'b', name: 'serve', start: 40, duration: 20, kind: 2 },
    ]);
    const t = parseColumns(body);
    t.spanId.copyWithin(8, 0, 8);
    const id = spanIdHex(t, 0);
    const path = criticalPath(t, [{ span: id, offset: 0, duration: 30 }, { span: id, offset: 45, duration: 10 }]);
    expect([...path.spans]).toEqual([0, 1]);
    expect([onPathNs(path, 0), onPathNs(path, 1)]).toEqual([30, 10]);
  });
});

suite('corrected times', () => {
  it('a clock that is ahead is set back, and the trace begins with its then earliest span', () => {
    const t = parseColumns(encodeColumns([
      { parent: -1, service: 'a', name: 'call', start: 0, duration: 100, kind: 3 },
      { parent: 0, service: 'b', name: 'serve', start: 150, duration: 20, kind: 2 },
    ]));
    expect(corrected(t)).toBe(t);
    const known = { ...t, correction: Float64Array.from([0, 120]) };
    expect([...corrected(known).start]).toEqual([0, 30]);
    expect(corrected(known).durationNs).toBe(100);
    const behind = corrected({ ...t, correction: Float64Array.from([0, 190]) });
    expect([...behind.start]).toEqual([40, 0]);
    expect(behind.startUnixNano).toBe(t.startUnixNano - 40n);
  });
});
