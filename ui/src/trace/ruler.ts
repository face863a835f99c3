/** Round ticks for a time axis, and the text of durations. */
import type { View } from './viewport';

/** Steps of 1, 2 and 5 times a power of ten, except minutes and hours, which people count in sixties. */
export function tickStep(widthNs: number, count: number): number {
  const raw = widthNs / Math.max(count, 1);
  const minute = 60e9;
  if (raw > 30e9) {
    for (const m of [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440]) if (m * minute >= raw) return m * minute;
    return Math.ceil(raw / (1440 * minute)) * 1440 * minute;
  }
  if (raw > 5e9) {
    for (const s of [10, 15, 20, 30]) if (s * 1e9 >= raw) return s * 1e9;
  }
  const power = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
  for (const m of [1, 2, 5, 10]) if (m * power >= raw * 0.999) return m * power;
  return 10 * power;
}

/** Tick times inside the view, ascending. */
export function ticks(view: View, count: number): number[] {
  const step = tickStep(view.to - view.from, count);
  const list: number[] = [];
  for (let t = Math.ceil(view.from / step) * step; t <= view.to + step * 1e-9 && list.length < 200; t += step) list.push(t);
  return list;
}

const UNITS: [number, string][] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
];

/** Three significant digits with the unit that reads best: `820 ns`, `1.25 ms`, `5.01 s`, `2 m 05 s`, `3 h 12 m`. */
export function formatDuration(ns: number): string {
  if (!Number.isFinite(ns)) return '–';
  if (ns < 0) return `−${formatDuration(-ns)}`;
  if (ns === 0) return '0';
  const seconds = ns / 1e9;
  if (seconds >= 3600) return `${Math.floor(seconds / 3600)} h ${pad(Math.floor((seconds % 3600) / 60))} m`;
  if (seconds >= 100) return `${Math.floor(seconds / 60)} m ${pad(Math.floor(seconds % 60))} s`;
  for (let u = 0; u < UNITS.length; u++) {
    const [size, unit] = UNITS[u]!;
    // 999.6 µs rounds to 1000 of its unit: the next unit reads better.
    if (ns >= size * 0.9995) return `${significant(ns / size)} ${unit}`;
  }
  return `${significant(ns)} ns`;
}

function significant(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  if (value >= 9.995) return trim(value.toFixed(1));
  return trim(value.toFixed(2));
}

function trim(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

function pad(n: number): string {
  return String(n).padStart(2, '0');
}

/** A tick's text: with as many decimals as the step needs and one unit for the whole axis. */
export function formatTick(ns: number, step: number): string {
  if (ns === 0) return '0';
  if (ns >= 60e9 && step >= 1e9) {
    const seconds = Math.round(ns / 1e9);
    const parts: [number, string][] = [[Math.floor(seconds / 3600), 'h'], [Math.floor((seconds % 3600) / 60), 'm'], [seconds % 60, 's']];
    return parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(' ');
  }
  const scale = Math.max(Math.abs(ns), step);
  const [size, unit] = UNITS.find(([s]) => scale >= s) ?? UNITS[3]!;
  const decimals = Math.max(0, Math.min(6, -Math.floor(Math.log10(step / size) + 1e-9)));
  return `${(ns / size).toFixed(decimals)} ${unit}`;
}
