import { describe, expect, it } from 'vitest';
import { durationBounds, msAt, nearest, nsAt, queryDuration, timeStep, xOfDot, yOfDot, type Dot, type Plot } from './scatter';

const dot = (startMs: number, durationNs: number): Dot => ({ startMs, durationNs, spans: 10, error: false });
const plot: Plot = { widthPx: 564, heightPx: 228, fromMs: 0, toMs: 1000, low: 1e6, high: 1e9 };

describe('scatter plot', () => {
  it('position and value are inverse', () => {
    for (const ms of [0, 250, 1000]) expect(msAt(plot, xOfDot(plot, ms))).toBeCloseTo(ms);
    for (const ns of [1e6, 3e7, 1e9]) expect(nsAt(plot, yOfDot(plot, ns)) / ns).toBeCloseTo(1);
  });

  it('a decade has the same height everywhere', () => {
    expect(yOfDot(plot, 1e6) - yOfDot(plot, 1e7)).toBeCloseTo(yOfDot(plot, 1e8) - yOfDot(plot, 1e9));
  });

  it('bounds hold all dots', () => {
    for (const values of [[5e6], [1, 1e12], [2e6, 9e8], [0]]) {
      const [low, high] = durationBounds(values.map((v) => dot(0, v)));
      for (const v of values) expect(Math.max(v, 1) >= low && v <= high, `${v} in ${low}…${high}`).toBe(true);
    }
    expect(durationBounds([])).toEqual([1e6, 1e9]);
  });

  it('points at the nearest dot in reach', () => {
    const dots = [dot(100, 1e7), dot(110, 1e7)];
    expect(nearest(plot, dots, xOfDot(plot, 109), yOfDot(plot, 1e7))).toBe(1);
    expect(nearest(plot, dots, xOfDot(plot, 900), yOfDot(plot, 1e7))).toBe(-1);
  });

  it('a brushed duration is rounded outwards', () => {
    expect([queryDuration(123_456_789, false), queryDuration(123_456_789, true)]).toEqual(['120ms', '130ms']);
    expect([queryDuration(1_250_000_000, false), queryDuration(1_250_000_000, true)]).toEqual(['1.2s', '1.3s']);
    expect(queryDuration(500e6, true)).toBe('500ms');
  });

  it('time steps are round', () => {
    expect([timeStep(700), timeStep(61_000), timeStep(4 * 3600e3)]).toEqual([1000, 120_000, 6 * 3600e3]);
  });
});
