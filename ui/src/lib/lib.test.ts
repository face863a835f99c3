import { describe, expect, it } from 'vitest';
import { filled } from './services';
import { ago, bytes, plural, pretty, shortCount, valueText, valueType } from './format';
import { endpoints } from './endpoints';
import { findTraceId } from './paste';
import { label, part, receivers, text, type Json } from './system';
import { describeRange, resolve, wider } from './time';

const ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

describe('what is pasted', () => {
  const table: [string, string, string | null, string][] = [
    ['an id', ID, ID, ''],
    ['an id in capitals with blanks', `  ${ID.toUpperCase()}\n`, ID, ''],
    ['traceparent', `00-${ID}-${SPAN}-01`, ID, SPAN],
    ['traceparent as a header', `traceparent: 00-${ID}-${SPAN}-01`, ID, SPAN],
    ['b3', `b3: ${ID}-${SPAN}-1`, ID, SPAN],
    ['uber-trace-id', `uber-trace-id: ${ID}:${SPAN}:0:1`, ID, SPAN],
    ['X-Ray', 'Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1', ID, SPAN],
    ['a JSON log line', `{"level":"error","trace_id":"${ID}","span_id":"${SPAN}","msg":"x"}`, ID, SPAN],
    ['a log line with another hash first', `etag=d41d8cd98f00b204e9800998ecf8427e traceId=${ID} GET /`, ID, ''],
    ['a UUID that says so', 'trace_id=4bf92f35-77b3-4da6-a3ce-929d0e0e4736', ID, ''],
    ['a link', `http://127.0.0.1:3200/trace/${ID}?tab=logs`, ID, ''],
    ['a longer hash', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', null, ''],
    ['zeros', '0'.repeat(32), null, ''],
    ['a query', '{ status = error }', null, ''],
    ['nothing', '', null, ''],
  ];
  for (const [what, text, trace, span] of table) {
    it(what, () => expect(findTraceId(text)).toEqual(trace === null ? null : { traceId: trace, spanId: span }));
  }
});

describe('time ranges', () => {
  const now = Date.UTC(2026, 10, 22, 17, 0, 0);
  it('reads relative and absolute times', () => {
    expect(resolve('now', now)).toBe(now);
    expect(resolve('now-15m', now)).toBe(now - 900_000);
    expect(resolve('now-7d', now)).toBe(now - 7 * 86_400_000);
    expect(resolve('2026-11-22T16:00:00Z', now)).toBe(now - 3_600_000);
    expect(resolve('1795343881', now)).toBe(1795343881000);
    expect(resolve('1795343881398540597', now)).toBeCloseTo(1795343881398.54, 1);
    for (const bad of ['', 'yesterday', 'now-', '2026-13-45']) expect(resolve(bad, now)).toBeNull();
  });
  it('says what was chosen and what is wider', () => {
    expect(describeRange('now-1h', 'now', now)).toBe('Last hour');
    expect(describeRange('now-3h', '', now)).toBe('Last 3 h');
    expect(wider('now-1h')?.from).toBe('now-24h');
    expect(wider('now-30d')).toBeNull();
  });
});

describe('text', () => {
  it('counts in a narrow place', () => {
    expect([999, 9_999, 10_000, 67_949, 2_956_519].map(shortCount)).toEqual(['999', '9,999', '10K', '67.9K', '3M']);
  });

  it('counts and sizes', () => {
    expect([plural(1, 'span'), plural(1234, 'span'), plural(0, 'child', 'children')]).toEqual(['1 span', '1,234 spans', '0 children']);
    expect([bytes(12), bytes(2048), bytes(5.5 * 2 ** 30)]).toEqual(['12 B', '2.00 KiB', '5.50 GiB']);
    expect([ago(0, 12_000), ago(0, 300_000), ago(5000, 0), ago(0, 200)]).toEqual(['12 s ago', '5 min ago', 'in 5 s', 'now']);
  });
  it('values keep their type', () => {
    const v = { arrayValue: { values: [{ stringValue: 'a' }, { intValue: '2' }, { kvlistValue: { values: [{ key: 'k', value: { boolValue: true } }] } }] } };
    expect(valueText(v)).toBe('["a", 2, {k: true}]');
    expect([valueType({ intValue: '1' }), valueType({}), valueType({ stringValue: '' }), valueType(undefined)]).toEqual(['int', 'empty', 'string', 'empty']);
    expect(pretty('{"a":1}')).toBe('{\n  "a": 1\n}');
    expect(pretty('{a}')).toBe('{a}');
  });
});

describe('where to send', () => {
  it('reads the receivers', () => {
    const status = { receivers: [{ name: 'otlp-grpc', address: '127.0.0.1:5317' }, { name: 'OTLP/HTTP', address: '0.0.0.0:5318' }] };
    expect(endpoints(status, 'traces.example')).toEqual({ grpc: 'http://127.0.0.1:5317', http: 'http://traces.example:5318' });
  });
  it('reads the listeners', () => {
    expect(endpoints({ listeners: { http: '127.0.0.1:3200', otlpGrpc: '127.0.0.1:6317', otlpHttp: null } }, 'localhost')).toEqual({ grpc: 'http://127.0.0.1:6317', http: 'http://localhost:4318' });
  });
  it('falls back to the usual ports', () => {
    for (const status of [null, {}, { receivers: 'x' }, { receivers: [{}] }]) {
      expect(endpoints(status, 'localhost')).toEqual({ http: 'http://localhost:4318', grpc: 'http://localhost:4317' });
    }
  });
});

describe('the status of the server', () => {
  const now = 1_795_371_200_000;
  it('reads receivers by signal, with addresses from the listeners', () => {
    const [r] = receivers(
      {
        listeners: { http: '127.0.0.1:3200', otlpHttp: '127.0.0.1:4318' },
        receivers: [
          {
            name: 'otlp_http', connections: 3,
            signals: [
              { signal: 'traces', requests: 7, itemsAccepted: 1059, itemsRejected: { invalid_trace_id: 2 }, refused: { too_large: 1 }, bytesReceived: 2048 },
              { signal: 'logs', requests: 0, itemsAccepted: 0, itemsRejected: {}, refused: {} },
            ],
          },
        ],
      },
      now,
    );
    expect(r).toMatchObject({ name: 'OTLP HTTP', address: '127.0.0.1:4318', more: [['Connections', '3']] });
    expect(r!.signals).toEqual([{ name: 'traces', requests: 7, accepted: 1059, bytes: 2048, rejected: [['invalid_trace_id', 2], ['too_large', 1]] }]);
  });
  it('reads the plain form too', () => {
    const [r] = receivers({ receivers: [{ name: 'zipkin', address: ':9411', requests: 2, accepted: 5, rejected: { bad: 1 }, lastError: { message: 'x', timeUnixNano: `${now - 60_000}000000` } }] }, now);
    expect(r).toMatchObject({ address: ':9411', lastError: { message: 'x', when: '1 min ago' } });
    expect(r!.signals[0]).toMatchObject({ accepted: 5, rejected: [['bad', 1]] });
    expect(receivers({}, now)).toEqual([]);
  });
  it('takes names and units from the keys', () => {
    const table: [string, Json, string, string][] = [
      ['headBytes', 2048, 'Head', '2.00 KiB'], ['bytes', 10, 'Size', '10 B'], ['bytesMax', 1024, 'Max', '1.00 KiB'], ['uptimeSeconds', 31.5, 'Uptime', '31.5 s'],
      ['syncNsMax', 19_000_000, 'Sync max', '19 ms'], ['ageMs', 1_209_600_000, 'Age', '14 d'], ['rowsAppended', 6619, 'Rows appended', '6,619'],
      ['wal_files', 1, 'WAL files', '1'], ['ready', true, 'Ready', 'yes'], ['lastError', null, 'Last error', '–'], ['damaged', [], 'Damaged', 'none'],
    ];
    for (const [key, value, name, shown] of table) expect([label(key), text(key, value, now)], key).toEqual([name, shown]);
  });
  it('nests parts and marks trouble', () => {
    const p = part('storage', { spans: 3, wal: { poisoned: true }, tables: [{ signal: 'traces', headRows: 2 }] }, now);
    expect(p.figures).toEqual([['Spans', '3', false]]);
    expect(p.parts[0]!.figures).toEqual([['Poisoned', 'yes', true]]);
    expect(p.tables[0]).toEqual({ name: 'Tables', head: ['Signal', 'Head rows'], rows: [['traces', '2']] });
  });
});

describe('a service over time', () => {
  it('gaps are steps without spans, and what lies outside is left out', () => {
    const minute = 60_000;
    const step = (at: number) => ({ startUnixNano: `${at * minute}000000`, spans: at, errors: 0, meanDurationNs: 1 });
    const all = filled([step(10), step(12), step(40)], 1, 9.5 * minute, 14 * minute);
    expect(all.map((s) => s?.spans ?? null)).toEqual([null, 10, null, 12, null]);
    expect(filled([], 1, 0, 0)).toEqual([null]);
  });
});
