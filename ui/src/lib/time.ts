/** Time ranges as people write them: `now-15m`, RFC 3339, local date and time; and the presets of the picker. */

export interface Preset {
  from: string;
  label: string;
}

export const PRESETS: Preset[] = [
  { from: 'now-5m', label: 'Last 5 minutes' },
  { from: 'now-15m', label: 'Last 15 minutes' },
  { from: 'now-1h', label: 'Last hour' },
  { from: 'now-6h', label: 'Last 6 hours' },
  { from: 'now-24h', label: 'Last 24 hours' },
  { from: 'now-7d', label: 'Last 7 days' },
  { from: 'now-30d', label: 'Last 30 days' },
];

export const FROM_DEFAULT = 'now-1h';

const UNIT_MS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3, w: 7 * 86400e3 };

/** Milliseconds since the epoch of a range's end, or null when it cannot be read. */
export function resolve(text: string, now: number): number | null {
  const t = text.trim();
  if (t === 'now') return now;
  const relative = /^now\s*-\s*(\d+(?:\.\d+)?)\s*([smhdw])$/.exec(t);
  if (relative) return now - Number(relative[1]) * UNIT_MS[relative[2]!]!;
  if (/^\d{9,11}$/.test(t)) return Number(t) * 1000;
  if (/^\d{13}$/.test(t)) return Number(t);
  if (/^\d{16}$/.test(t)) return Number(t) / 1e3;
  if (/^\d{19}$/.test(t)) return Number(t) / 1e6;
  if (/^\d{4}-\d{2}-\d{2}/.test(t)) {
    const ms = Date.parse(t.replace(' ', 'T'));
    return Number.isNaN(ms) ? null : ms;
  }
  return null;
}

/** What the API gets: nanoseconds for absolute times. */
export function toNano(ms: number): string {
  return `${Math.round(ms)}000000`;
}

/** What the button of the picker says. */
export function describeRange(from: string, to: string, now: number): string {
  if (to === 'now' || to === '') {
    const preset = PRESETS.find((p) => p.from === from);
    if (preset) return preset.label;
    const relative = /^now-(\d+)([smhdw])$/.exec(from);
    if (relative) return `Last ${relative[1]} ${relative[2]}`;
  }
  const a = resolve(from, now);
  const b = resolve(to || 'now', now);
  if (a === null || b === null) return `${from} – ${to}`;
  const da = new Date(a);
  const db = new Date(b);
  const day = (d: Date) => `${d.toLocaleString('en', { month: 'short' })} ${d.getDate()}`;
  const time = (d: Date) => d.toTimeString().slice(0, b - a < 600e3 ? 8 : 5);
  return da.toDateString() === db.toDateString()
    ? `${day(da)}, ${time(da)} – ${time(db)}`
    : `${day(da)} ${time(da)} – ${day(db)} ${time(db)}`;
}

/** A longer range to try when nothing was found, or null when the longest was tried. */
export function wider(from: string): Preset | null {
  const at = PRESETS.findIndex((p) => p.from === from);
  if (at >= 0) return PRESETS[Math.min(at + 2, PRESETS.length - 1)] === PRESETS[at] ? null : PRESETS[Math.min(at + 2, PRESETS.length - 1)]!;
  return PRESETS[4]!;
}
