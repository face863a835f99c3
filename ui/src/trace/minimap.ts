/**
 * The whole trace as a picture: one thin line per span, top to bottom in tree order. Painted once per trace, size and
 * theme — in a worker where the browser can — and then only stretched windows are drawn over it.
 */

export interface MinimapInput {
  widthPx: number;
  heightPx: number;
  durationNs: number;
  start: Float64Array;
  duration: Float64Array;
  service: Uint32Array;
  status: Uint8Array;
  /** Colour per service. */
  colors: string[];
  error: string;
  background: string;
}

type Surface = Pick<CanvasRenderingContext2D, 'fillRect' | 'fillStyle' | 'globalAlpha'>;

/** Paints all spans; errors come last so that none is hidden under others. Size is in device pixels. */
export function paintMinimap(ctx: Surface, m: MinimapInput): void {
  const n = m.start.length;
  ctx.globalAlpha = 1;
  ctx.fillStyle = m.background;
  ctx.fillRect(0, 0, m.widthPx, m.heightPx);
  if (n === 0) return;
  const scale = m.widthPx / Math.max(m.durationNs, 1);
  const pitch = Math.min(m.heightPx / n, 6);
  const thick = Math.max(pitch * 0.7, 1);
  // Spans that fall on the same line of pixels and lie within one another add nothing: skip what the last one covers.
  const line = new Int32Array(m.colors.length).fill(-1);
  const from = new Float64Array(m.colors.length);
  const reach = new Float64Array(m.colors.length);
  for (let i = 0; i < n; i++) {
    const y = Math.floor(i * pitch);
    const s = m.service[i]!;
    const x0 = m.start[i]! * scale;
    const x1 = Math.max(x0 + m.duration[i]! * scale, x0 + 1);
    if (line[s] === y && x0 >= from[s]! && x1 <= reach[s]!) continue;
    line[s] = y;
    from[s] = x0;
    reach[s] = x1;
    ctx.fillStyle = m.colors[s]!;
    ctx.fillRect(x0, y, x1 - x0, thick);
  }
  ctx.fillStyle = m.error;
  for (let i = 0; i < n; i++) {
    if (m.status[i] !== 2) continue;
    const x0 = m.start[i]! * scale;
    ctx.fillRect(x0, Math.floor(i * pitch), Math.max(m.duration[i]! * scale, 2), Math.max(thick, 1.5));
  }
}

/** What a pointer at `x` takes hold of. */
export type Grip = 'left' | 'right' | 'window' | 'outside';

export function gripAt(x: number, from: number, to: number, slop = 6): Grip {
  const nearLeft = Math.abs(x - from);
  const nearRight = Math.abs(x - to);
  if (Math.min(nearLeft, nearRight) <= slop) return nearLeft <= nearRight ? 'left' : 'right';
  return x > from && x < to ? 'window' : 'outside';
}
