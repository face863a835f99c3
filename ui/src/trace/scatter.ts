/** The scatter plot of traces: start against duration on a logarithmic scale. Geometry and drawing, no framework. */
import { formatDuration } from './ruler';
import type { Theme } from './theme';

export interface Dot {
  /** Milliseconds since the epoch. */
  startMs: number;
  durationNs: number;
  spans: number;
  error: boolean;
}

export interface Plot {
  widthPx: number;
  heightPx: number;
  fromMs: number;
  toMs: number;
  /** Bounds of the duration axis, ns, whole powers of ten or halves of them. */
  low: number;
  high: number;
}

export const MARGIN = { left: 54, right: 10, top: 8, bottom: 20 } as const;

/** Axis bounds that hold all dots: from the power of ten below the shortest to the one above the longest. */
export function durationBounds(dots: readonly Dot[]): [number, number] {
  let low = Infinity;
  let high = 0;
  for (const d of dots) {
    const v = Math.max(d.durationNs, 1);
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (high === 0) return [1e6, 1e9];
  const a = 10 ** Math.floor(Math.log10(low));
  // A third of a decade is enough above; a full one wastes the plot.
  let b = 10 ** Math.ceil(Math.log10(high));
  if (b / 3 >= high * 1.1) b /= 3;
  return [a, Math.max(b, a * 10)];
}

export function xOfDot(p: Plot, ms: number): number {
  return MARGIN.left + ((ms - p.fromMs) / Math.max(p.toMs - p.fromMs, 1)) * (p.widthPx - MARGIN.left - MARGIN.right);
}

export function yOfDot(p: Plot, ns: number): number {
  const share = (Math.log10(Math.max(ns, 1)) - Math.log10(p.low)) / (Math.log10(p.high) - Math.log10(p.low));
  return p.heightPx - MARGIN.bottom - share * (p.heightPx - MARGIN.top - MARGIN.bottom);
}

export function msAt(p: Plot, x: number): number {
  return p.fromMs + ((x - MARGIN.left) / (p.widthPx - MARGIN.left - MARGIN.right)) * (p.toMs - p.fromMs);
}

export function nsAt(p: Plot, y: number): number {
  const share = (p.heightPx - MARGIN.bottom - y) / (p.heightPx - MARGIN.top - MARGIN.bottom);
  return 10 ** (Math.log10(p.low) + share * (Math.log10(p.high) - Math.log10(p.low)));
}

/** The dot nearest to a point within `reach` pixels, or −1. */
export function nearest(p: Plot, dots: readonly Dot[], x: number, y: number, reach = 12): number {
  let best = -1;
  let least = reach * reach;
  dots.forEach((d, i) => {
    const distance = (xOfDot(p, d.startMs) - x) ** 2 + (yOfDot(p, d.durationNs) - y) ** 2;
    if (distance <= least) {
      least = distance;
      best = i;
    }
  });
  return best;
}

/** Duration rounded outwards to two digits, as a query writes it. */
export function queryDuration(ns: number, up: boolean): string {
  const units: [number, string][] = [[1e9, 's'], [1e6, 'ms'], [1e3, 'us'], [1, 'ns']];
  const [size, unit] = units.find(([s]) => ns >= s) ?? units[3]!;
  const value = ns / size;
  const step = value >= 100 ? 10 : value >= 10 ? 1 : 0.1;
  const rounded = (up ? Math.ceil(value / step - 1e-9) : Math.floor(value / step + 1e-9)) * step;
  return `${Number(rounded.toFixed(1))}${unit}`;
}

const radius = (spans: number) => Math.min(3 + Math.log10(Math.max(spans, 1)) * 1.3, 8);

/** Errors are diamonds with a border, others circles: told apart by shape as well as colour. */
export function drawScatter(ctx: CanvasRenderingContext2D, p: Plot, dots: readonly Dot[], theme: Theme, active: number, timeLabel: (ms: number) => string): void {
  ctx.fillStyle = theme.background;
  ctx.fillRect(0, 0, p.widthPx, p.heightPx);
  ctx.font = `11px ${theme.font}`;
  ctx.textBaseline = 'middle';
  const bottom = p.heightPx - MARGIN.bottom;
  for (let v = p.low; v <= p.high * 1.001; v *= 10) {
    const y = Math.round(yOfDot(p, v));
    ctx.fillStyle = theme.grid;
    ctx.fillRect(MARGIN.left, y, p.widthPx - MARGIN.left - MARGIN.right, 1);
    ctx.fillStyle = theme.muted;
    const text = v >= 1e9 ? `${(v / 1e9).toLocaleString('en')} s` : formatDuration(v);
    ctx.fillText(text, MARGIN.left - 8 - ctx.measureText(text).width, y);
  }
  const step = timeStep((p.toMs - p.fromMs) / Math.max((p.widthPx - MARGIN.left) / 130, 1));
  const zone = new Date(p.fromMs).getTimezoneOffset() * 60_000;
  for (let t = Math.ceil((p.fromMs - zone) / step) * step + zone; t <= p.toMs; t += step) {
    const x = Math.round(xOfDot(p, t));
    ctx.fillStyle = theme.grid;
    ctx.fillRect(x, MARGIN.top, 1, bottom - MARGIN.top);
    ctx.fillStyle = theme.muted;
    const text = timeLabel(t);
    const width = ctx.measureText(text).width;
    if (x + width / 2 <= p.widthPx) ctx.fillText(text, Math.max(x - width / 2, MARGIN.left), bottom + 11);
  }
  ctx.fillStyle = theme.guide;
  ctx.fillRect(MARGIN.left, bottom, p.widthPx - MARGIN.left - MARGIN.right, 1);
  ctx.save();
  ctx.beginPath();
  ctx.rect(MARGIN.left - 8, 0, p.widthPx - MARGIN.left + 8, bottom + 8);
  ctx.clip();
  for (const errors of [false, true]) {
    dots.forEach((d, i) => {
      if (d.error === errors && i !== active) drawDot(ctx, p, d, theme, false);
    });
  }
  if (dots[active]) drawDot(ctx, p, dots[active], theme, true);
  ctx.restore();
}

function drawDot(ctx: CanvasRenderingContext2D, p: Plot, d: Dot, theme: Theme, active: boolean): void {
  const x = xOfDot(p, d.startMs);
  const y = yOfDot(p, d.durationNs);
  const r = radius(d.spans);
  ctx.beginPath();
  if (d.error) {
    const q = r * 1.15;
    ctx.moveTo(x, y - q);
    ctx.lineTo(x + q, y);
    ctx.lineTo(x, y + q);
    ctx.lineTo(x - q, y);
    ctx.closePath();
  } else ctx.arc(x, y, r, 0, Math.PI * 2);
  ctx.globalAlpha = active ? 1 : d.error ? 0.85 : 0.5;
  ctx.fillStyle = d.error ? theme.error : theme.accent;
  ctx.fill();
  ctx.globalAlpha = 1;
  ctx.lineWidth = active ? 2.5 : 1;
  ctx.strokeStyle = active ? theme.text : d.error ? theme.background : theme.accent;
  ctx.stroke();
}

/** A step of the time axis in ms: seconds, minutes, hours, days. */
export function timeStep(raw: number): number {
  const s = 1000;
  const m = 60 * s;
  const h = 60 * m;
  const d = 24 * h;
  for (const step of [s, 2 * s, 5 * s, 10 * s, 15 * s, 30 * s, m, 2 * m, 5 * m, 10 * m, 15 * m, 30 * m, h, 2 * h, 3 * h, 6 * h, 12 * h, d, 2 * d, 7 * d, 14 * d, 30 * d, 90 * d]) if (step >= raw) return step;
  return Math.ceil(raw / (365 * d)) * 365 * d;
}
