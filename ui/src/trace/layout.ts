/** Where things lie in the waterfall, in CSS pixels: shared by drawing, labels and hit testing. */
import type { TraceColumns } from './columns';
import { xOf, type View } from './viewport';

export const ROW_PX = 24;
export const BAR_PX = 12;
/** Narrowest bar that can still be seen and pointed at. */
export const BAR_PX_MIN = 2;
/** Space kept right of the time axis so that the last duration is not cut. */
export const AXIS_AIR_PX = 8;

/** Browsers cut elements at some 17 to 33 million pixels; past this the scroll bar stands for more than a pixel. */
const SCROLL_PX_MAX = 8_000_000;

/** Maps the scroll bar to rows, also for traces whose rows no element could hold. */
export interface Scroll {
  /** Height to give to the scrolled element. */
  contentPx: number;
  /** Pixels of rows above the top edge for a scroll position. */
  toOffset(scrollTop: number): number;
  /** Scroll position that puts `offset` pixels of rows above the top edge. */
  toScrollTop(offset: number): number;
}

export function scrollOf(rowCount: number, heightPx: number, maxPx = SCROLL_PX_MAX): Scroll {
  const total = rowCount * ROW_PX;
  const contentPx = Math.min(total, maxPx);
  const range = Math.max(contentPx - heightPx, 0);
  const scale = range > 0 ? Math.max(total - heightPx, 0) / range : 1;
  return { contentPx, toOffset: (top) => top * scale, toScrollTop: (offset) => offset / scale };
}

/** Pixels by which a depth is indented: 14 per level, less where the deepest span would leave no room for its name. */
export function indentStep(depthMax: number, labelPx: number): number {
  return depthMax === 0 ? 14 : Math.min(14, Math.max((labelPx * 0.42) / depthMax, 1));
}

export function indentOf(depth: number, step: number, labelPx: number): number {
  return Math.min(depth * step, labelPx * 0.55);
}

export interface Bar {
  x: number;
  width: number;
}

/** The bar of a span on an axis of `axisPx`; may lie outside `[0, axisPx]`. */
export function barOf(t: TraceColumns, span: number, view: View, axisPx: number): Bar {
  const x = xOf(view, t.start[span]!, axisPx);
  const end = xOf(view, t.start[span]! + t.duration[span]!, axisPx);
  return { x, width: Math.max(end - x, BAR_PX_MIN) };
}

export type Zone = 'label' | 'bar' | 'track' | 'before' | 'after';

export interface Hit {
  row: number;
  zone: Zone;
}

export interface Geometry {
  widthPx: number;
  labelPx: number;
  offsetPx: number;
  rowCount: number;
}

/** What lies under a point of the waterfall; `null` below the last row. `spanOf` gives the span of a row. */
export function hitTest(
  t: TraceColumns,
  g: Geometry,
  view: View,
  x: number,
  y: number,
  spanOf: (row: number) => number,
): Hit | null {
  const row = Math.floor((y + g.offsetPx) / ROW_PX);
  if (row < 0 || row >= g.rowCount) return null;
  if (x < g.labelPx) return { row, zone: 'label' };
  const axisPx = g.widthPx - g.labelPx - AXIS_AIR_PX;
  const bar = barOf(t, spanOf(row), view, axisPx);
  const ax = x - g.labelPx;
  if (bar.x + bar.width < 0 && ax < 16) return { row, zone: 'before' };
  if (bar.x > axisPx && ax > axisPx - 16) return { row, zone: 'after' };
  // Three pixels of tolerance: a bar of two pixels is still a target.
  return { row, zone: ax >= bar.x - 3 && ax <= bar.x + bar.width + 3 ? 'bar' : 'track' };
}
