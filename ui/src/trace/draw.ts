/**
 * Paints the visible rows of the waterfall: tree lines, time grid, bars. Work is bounded by the rows on the screen;
 * nothing here looks at spans that are not shown (a bar's children are walked only where they are few).
 */
import { Flag, STATUS_ERROR, type TraceColumns } from './columns';
import { outsideParent, type Derived } from './derive';
import { indexIn } from './find';
import type { CriticalPath } from './path';
import { AXIS_AIR_PX, BAR_PX, ROW_PX, barOf, indentOf, indentStep } from './layout';
import type { Rows } from './rows';
import { formatDuration, ticks } from './ruler';
import type { Theme } from './theme';
import { xOf, type View } from './viewport';

/** A bar shows where its children ran only when it has at most this many, so that a frame stays bounded. */
const CHILDREN_DRAWN_MAX = 256;
/** Tree lines are drawn for this many ancestors. */
const GUIDES_MAX = 64;

export interface Frame {
  trace: TraceColumns;
  derived: Derived;
  rows: Rows;
  colors: Uint8Array;
  view: View;
  theme: Theme;
  widthPx: number;
  heightPx: number;
  labelPx: number;
  offsetPx: number;
  /** Preorder indices, −1 for none. */
  selected: number;
  hovered: number;
  matches: Uint32Array;
  searching: boolean;
  /** The critical path to draw, or null. */
  path: CriticalPath | null;
  /** The path to the end of what went on after the answer, or null. */
  completion: CriticalPath | null;
  /** Range being dragged, in ns, or null. */
  drag: View | null;
}

export function drawWaterfall(ctx: CanvasRenderingContext2D, f: Frame): void {
  const { theme, labelPx } = f;
  ctx.fillStyle = theme.background;
  ctx.fillRect(0, 0, f.widthPx, f.heightPx);
  const axisPx = f.widthPx - labelPx - AXIS_AIR_PX;
  const first = Math.max(Math.floor(f.offsetPx / ROW_PX), 0);
  const last = Math.min(Math.ceil((f.offsetPx + f.heightPx) / ROW_PX), f.rows.count);

  for (let row = first; row < last; row++) {
    const span = f.rows.span(row);
    const fill = span === f.selected ? theme.selected : span === f.hovered ? theme.hover : '';
    if (!fill) continue;
    ctx.fillStyle = fill;
    ctx.fillRect(0, row * ROW_PX - f.offsetPx, f.widthPx, ROW_PX);
  }

  ctx.save();
  ctx.beginPath();
  ctx.rect(labelPx, 0, f.widthPx - labelPx, f.heightPx);
  ctx.clip();
  ctx.translate(labelPx, 0);
  drawGrid(ctx, f, axisPx);
  drawParentBand(ctx, f, axisPx, first, last);
  ctx.font = `11px ${theme.font}`;
  ctx.textBaseline = 'middle';
  for (let row = first; row < last; row++) drawBar(ctx, f, row, axisPx);
  if (f.drag) drawDrag(ctx, f, axisPx);
  ctx.restore();

  drawGuides(ctx, f, first, last);
  ctx.fillStyle = theme.grid;
  ctx.fillRect(labelPx - 1, 0, 1, f.heightPx);
}

function drawGrid(ctx: CanvasRenderingContext2D, f: Frame, axisPx: number): void {
  ctx.fillStyle = f.theme.grid;
  for (const t of ticks(f.view, axisPx / 110)) ctx.fillRect(Math.round(xOf(f.view, t, axisPx)), 0, 1, f.heightPx);
}

/** The interval of the selected span over all rows: whether a row lies inside it is seen at a glance. */
function drawParentBand(ctx: CanvasRenderingContext2D, f: Frame, axisPx: number, first: number, last: number): void {
  if (f.selected < 0 || last <= first) return;
  const { x, width } = barOf(f.trace, f.selected, f.view, axisPx);
  ctx.globalAlpha = 0.5;
  ctx.fillStyle = f.theme.selected;
  ctx.fillRect(x, 0, width, f.heightPx);
  ctx.globalAlpha = 1;
}

function drawBar(ctx: CanvasRenderingContext2D, f: Frame, row: number, axisPx: number): void {
  const { trace: t, theme, view } = f;
  const span = f.rows.span(row);
  const y = row * ROW_PX - f.offsetPx;
  const mid = y + ROW_PX / 2;
  const color = theme.palette.bar[f.colors[t.service[span]!]!]!;
  const bar = barOf(t, span, view, axisPx);
  const error = t.status[span] === STATUS_ERROR;
  const faded = f.searching && indexIn(f.matches, span) < 0;
  ctx.globalAlpha = faded ? 0.4 : 1;

  if (bar.x + bar.width < 0 || bar.x > axisPx) {
    drawArrow(ctx, bar.x > axisPx ? axisPx - 6 : 6, mid, bar.x > axisPx ? 1 : -1, error ? theme.error : color);
    ctx.globalAlpha = 1;
    return;
  }
  const top = y + (ROW_PX - BAR_PX) / 2;
  // Clipped to a little past the axis, so that no path has coordinates of millions of pixels when zoomed in far.
  const x0 = Math.max(bar.x, -8);
  const x1 = Math.min(bar.x + bar.width, axisPx + 8 + AXIS_AIR_PX);

  drawDelay(ctx, f, span, axisPx, mid, x0);
  drawBody(ctx, f, span, color, top, x0, x1, axisPx);
  if (error) {
    ctx.strokeStyle = theme.error;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(x0 + 0.25, top - 0.75, Math.max(x1 - x0 - 0.5, 2), BAR_PX + 1.5);
  }
  drawOutside(ctx, f, span, axisPx, top);
  if (f.completion) drawPath(ctx, f, f.completion, span, axisPx, top, true);
  if (f.path) drawPath(ctx, f, f.path, span, axisPx, top, false);
  drawDurationText(ctx, f, span, x0, x1, axisPx, mid, error);
  ctx.globalAlpha = 1;
}

/** Solid where the span itself ran, pale where it waited for its children. */
function drawBody(
  ctx: CanvasRenderingContext2D,
  f: Frame,
  span: number,
  color: string,
  top: number,
  x0: number,
  x1: number,
  axisPx: number,
): void {
  const { trace: t, derived: d, view } = f;
  const radius = Math.min(2.5, (x1 - x0) / 2);
  ctx.fillStyle = color;
  const count = d.children[span]!;
  const split = count > 0 && count <= CHILDREN_DRAWN_MAX && x1 - x0 > 6;
  const alpha = ctx.globalAlpha;
  if (split) ctx.globalAlpha = alpha * 0.4;
  ctx.beginPath();
  ctx.roundRect(x0, top, x1 - x0, BAR_PX, radius);
  ctx.fill();
  if (!split) return;
  ctx.globalAlpha = alpha;
  let cursor = x0;
  const last = span + t.descendants[span]!;
  const solid = (to: number) => {
    if (to - cursor > 0.3) ctx.fillRect(cursor, top, to - cursor, BAR_PX);
  };
  for (let c = span + 1; c <= last; c += t.descendants[c]! + 1) {
    const from = Math.min(Math.max(xOf(view, t.start[c]!, axisPx), x0), x1);
    const to = Math.min(Math.max(xOf(view, t.start[c]! + t.duration[c]!, axisPx), x0), x1);
    solid(from);
    if (to > cursor) cursor = to;
  }
  solid(x1);
}

/** From the parent's start to the span's own: the time before the call. */
function drawDelay(ctx: CanvasRenderingContext2D, f: Frame, span: number, axisPx: number, mid: number, x0: number): void {
  const { trace: t, view, theme } = f;
  const p = t.parent[span]!;
  if (p < 0) return;
  const px = Math.max(xOf(view, t.start[p]!, axisPx), 0);
  if (x0 - px < 3) return;
  ctx.fillStyle = theme.guide;
  ctx.fillRect(px, Math.round(mid), x0 - px - 1, 1);
  if (xOf(view, t.start[p]!, axisPx) >= 0) ctx.fillRect(px, Math.round(mid) - 3, 1, 7);
}

/** A hatched cap over the part of a child that leaves its parent's interval. */
function drawOutside(ctx: CanvasRenderingContext2D, f: Frame, span: number, axisPx: number, top: number): void {
  const { trace: t, view, theme } = f;
  const outside = outsideParent(t, span, 1000);
  if (outside === 'none') return;
  const p = t.parent[span]!;
  const start = t.start[span]!;
  const end = start + t.duration[span]!;
  const mark = (fromNs: number, toNs: number) => {
    const a = Math.max(xOf(view, fromNs, axisPx), -8);
    const b = Math.min(xOf(view, toNs, axisPx), axisPx + AXIS_AIR_PX);
    if (b - a < 1) return;
    ctx.save();
    ctx.beginPath();
    ctx.rect(a, top, b - a, BAR_PX);
    ctx.clip();
    ctx.strokeStyle = theme.background;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    for (let x = a - BAR_PX; x < Math.min(b, a + 2000); x += 5) {
      ctx.moveTo(x, top + BAR_PX);
      ctx.lineTo(x + BAR_PX, top);
    }
    ctx.stroke();
    ctx.restore();
    ctx.fillStyle = theme.warning;
    ctx.fillRect(a, top + BAR_PX + 1, b - a, 2);
  };
  if (outside !== 'late') mark(start, Math.min(t.start[p]!, end));
  if (outside !== 'early') mark(Math.max(t.start[p]! + t.duration[p]!, start), end);
}

/** A line along the pieces of the span that are on a path, over the lower edge of its bar; dotted for work after the answer. */
function drawPath(ctx: CanvasRenderingContext2D, f: Frame, path: CriticalPath, span: number, axisPx: number, top: number, dotted: boolean): void {
  const { view, theme } = f;
  const place = indexIn(path.spans, span);
  if (place < 0) return;
  const y = top + BAR_PX - 3;
  for (let i = path.first[place]!; i < path.first[place + 1]!; i++) {
    const a = Math.max(xOf(view, path.from[i]!, axisPx), -8);
    const b = Math.min(xOf(view, path.to[i]!, axisPx), axisPx + AXIS_AIR_PX);
    if (b < a) continue;
    ctx.fillStyle = theme.text;
    if (dotted) for (let x = a; x < b || x === a; x += 6) ctx.fillRect(x, y, Math.max(Math.min(3, b - x), 1), 3);
    else {
      ctx.fillStyle = theme.background;
      ctx.fillRect(a, y - 1, Math.max(b - a, 1), 1);
      ctx.fillStyle = theme.text;
      ctx.fillRect(a, y, Math.max(b - a, 1), 3);
    }
  }
}

function drawDurationText(
  ctx: CanvasRenderingContext2D,
  f: Frame,
  span: number,
  x0: number,
  x1: number,
  axisPx: number,
  mid: number,
  error: boolean,
): void {
  const { trace: t, theme } = f;
  const text = formatDuration(t.duration[span]!);
  const width = ctx.measureText(text).width;
  ctx.globalAlpha = Math.max(ctx.globalAlpha, 0.65);
  ctx.fillStyle = error ? theme.error : theme.muted;
  if (x1 + 6 + width <= axisPx + AXIS_AIR_PX) ctx.fillText(text, x1 + 5, mid + 0.5);
  else if (x0 - 6 - width >= 0) ctx.fillText(text, x0 - 5 - width, mid + 0.5);
  else {
    const at = Math.min(x1, axisPx) - width - 6;
    ctx.fillStyle = theme.background;
    ctx.globalAlpha *= 0.8;
    ctx.beginPath();
    ctx.roundRect(at - 4, mid - 6, width + 8, 12, 3);
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.fillStyle = error ? theme.error : theme.text;
    ctx.fillText(text, at, mid + 0.5);
  }
}

function drawArrow(ctx: CanvasRenderingContext2D, x: number, y: number, way: 1 | -1, color: string): void {
  ctx.strokeStyle = color;
  ctx.lineWidth = 2;
  ctx.beginPath();
  ctx.moveTo(x - way * 2, y - 4);
  ctx.lineTo(x + way * 2, y);
  ctx.lineTo(x - way * 2, y + 4);
  ctx.stroke();
}

function drawDrag(ctx: CanvasRenderingContext2D, f: Frame, axisPx: number): void {
  const a = xOf(f.view, f.drag!.from, axisPx);
  const b = xOf(f.view, f.drag!.to, axisPx);
  ctx.fillStyle = f.theme.accent;
  ctx.globalAlpha = 0.15;
  ctx.fillRect(a, 0, b - a, f.heightPx);
  ctx.globalAlpha = 1;
  ctx.fillRect(a, 0, 1, f.heightPx);
  ctx.fillRect(b, 0, 1, f.heightPx);
  const text = formatDuration(f.drag!.to - f.drag!.from);
  ctx.font = `600 11px ${f.theme.font}`;
  const width = ctx.measureText(text).width + 10;
  const x = Math.min(Math.max((a + b) / 2 - width / 2, 0), axisPx - width);
  ctx.beginPath();
  ctx.roundRect(x, 4, width, 17, 3);
  ctx.fill();
  ctx.fillStyle = f.theme.onBar;
  ctx.fillText(text, x + 5, 13);
}

/** Lines from parent to child beside the labels. */
function drawGuides(ctx: CanvasRenderingContext2D, f: Frame, first: number, last: number): void {
  const { trace: t, labelPx } = f;
  const step = indentStep(f.derived.depthMax, labelPx);
  if (step < 3) return;
  ctx.fillStyle = f.theme.guide;
  const xAt = (depth: number) => Math.round(GUIDE_LEFT_PX + indentOf(depth, step, labelPx));
  for (let row = first; row < last; row++) {
    const span = f.rows.span(row);
    const y = Math.round(row * ROW_PX - f.offsetPx);
    let child = span;
    for (let p = t.parent[span]!, n = 0; p >= 0 && n < GUIDES_MAX; child = p, p = t.parent[p]!, n++) {
      const next = child + t.descendants[child]! + 1;
      const more = next < t.spanCount && t.parent[next] === p;
      const x = xAt(t.depth[p]!);
      if (child === span) {
        ctx.fillRect(x, y, 1, more ? ROW_PX : ROW_PX / 2);
        ctx.fillRect(x, y + ROW_PX / 2, Math.max(step - 5, 2), 1);
      } else if (more) ctx.fillRect(x, y, 1, ROW_PX);
    }
    if (t.flags[span]! & Flag.orphan) {
      // A broken line upwards: the parent exists somewhere, but not here.
      const x = xAt(Math.max(t.depth[span]! - 1, 0));
      ctx.fillStyle = f.theme.warning;
      for (let dy = 1; dy < ROW_PX / 2; dy += 4) ctx.fillRect(x, y + dy, 2, 2);
      ctx.fillStyle = f.theme.guide;
    }
  }
}

/** Centre of the fold button of a root, from the left edge. */
export const GUIDE_LEFT_PX = 13;
