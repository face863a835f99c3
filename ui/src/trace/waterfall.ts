/**
 * The waterfall: owns its scroll box, canvas and labels, turns gestures and actions into state, and paints at most once
 * per frame. It knows nothing of the page around it: everything goes in by methods and comes out by {@link Events}.
 */
import { assignColors } from './colors';
import type { TraceColumns } from './columns';
import { derive, type Derived } from './derive';
import { drawWaterfall } from './draw';
import { find, nextIn } from './find';
import { move, type Action } from './keyboard';
import { Labels, describe } from './labels';
import { AXIS_AIR_PX, ROW_PX, hitTest, scrollOf, type Hit, type Scroll } from './layout';
import { Rows } from './rows';
import type { CriticalPath } from './path';
import { readTheme, type Theme } from './theme';
import { around, clampView, full, nsOf, pan, zoomAt, type View } from './viewport';

export interface Events {
  /** The active span changed (focus, keyboard, click). */
  active(span: number): void;
  /** A span was opened in the panel. */
  select(span: number): void;
  view(view: View): void;
  collapse(): void;
  hover(span: number, hit: Hit | null, clientX: number, clientY: number): void;
  /** Rows on the screen changed; for the minimap's marker. */
  scrolled(firstRow: number, lastRow: number): void;
  announce(text: string): void;
}

/** How far the pointer must move before a press becomes a drag. */
const DRAG_PX = 4;

export class Waterfall {
  readonly derived: Derived;
  readonly rows: Rows;
  readonly colors: Uint8Array;
  view: View;
  active = -1;
  selected = -1;
  matches: Uint32Array = new Uint32Array(0);
  query = '';
  theme: Theme;
  path: CriticalPath | null = null;
  completion: CriticalPath | null = null;

  private labelPx = 320;
  private widthPx = 0;
  private heightPx = 0;
  private offsetPx = 0;
  private hovered = -1;
  private drag: View | null = null;
  private scroll: Scroll;
  private frame = 0;
  /** Where each finger is, pixels from the left of the window. */
  private readonly touches = new Map<number, number>();
  private readonly ctx: CanvasRenderingContext2D;
  private readonly labels: Labels;
  private readonly resize: ResizeObserver;
  private readonly stop = new AbortController();

  /**
   * @param box the element that scrolls; it must hold `layer` (sticky, the size of the visible part) and `spacer`
   */
  constructor(
    readonly trace: TraceColumns,
    private readonly box: HTMLElement,
    private readonly spacer: HTMLElement,
    private readonly canvas: HTMLCanvasElement,
    private readonly labelHost: HTMLElement,
    private readonly events: Events,
  ) {
    this.derived = derive(trace);
    this.rows = new Rows(trace);
    this.colors = assignColors(trace.services);
    this.view = full(trace.durationNs);
    this.theme = readTheme(box);
    this.ctx = canvas.getContext('2d', { alpha: false })!;
    this.labels = new Labels(labelHost);
    this.scroll = scrollOf(this.rows.count, 1);
    this.active = trace.spanCount > 0 ? 0 : -1;
    this.resize = new ResizeObserver(() => this.measure());
    const on = { signal: this.stop.signal };
    box.addEventListener('scroll', () => this.onScroll(), { ...on, passive: true });
    box.addEventListener('wheel', (e) => this.onWheel(e), { ...on, passive: false });
    box.addEventListener('pointerdown', (e) => this.onPointerDown(e), on);
    box.addEventListener('pointermove', (e) => this.onHover(e), on);
    box.addEventListener('pointerleave', () => this.setHover(-1, null, 0, 0), on);
    box.addEventListener('dblclick', (e) => this.onDoubleClick(e), on);
    labelHost.addEventListener('focusin', (e) => this.onFocus(e), on);
  }

  /** Measures, paints, and from now on tells {@link Events}. */
  start(): void {
    this.measure();
    this.resize.observe(this.box);
  }

  destroy(): void {
    cancelAnimationFrame(this.frame);
    this.resize.disconnect();
    this.stop.abort();
    this.labels.clear();
  }

  /** Re-reads colours after a change of theme. */
  refreshTheme(): void {
    this.theme = readTheme(this.box);
    this.repaint();
  }

  setLabelWidth(px: number): void {
    this.labelPx = Math.round(px);
    this.labelHost.style.width = `${this.labelPx}px`;
    this.repaint();
  }

  get axisPx(): number {
    return Math.max(this.widthPx - this.labelPx - AXIS_AIR_PX, 1);
  }

  get pageRows(): number {
    return Math.max(Math.floor(this.heightPx / ROW_PX) - 2, 1);
  }

  setView(view: View): void {
    const next = clampView(view, this.trace.durationNs);
    if (next.from === this.view.from && next.to === this.view.to) return;
    this.view = next;
    this.events.view(next);
    this.repaint();
  }

  setQuery(query: string): void {
    this.query = query;
    this.matches = find(this.trace, this.derived, query);
    this.repaint();
  }

  /** Draws the critical path and the path to completion, or no longer. */
  setPath(path: CriticalPath | null, completion: CriticalPath | null): void {
    this.path = path;
    this.completion = completion;
    this.repaint();
  }

  setSelected(span: number): void {
    this.selected = span;
    this.repaint();
  }

  /** Makes a span a row, active, and brings it on the screen. */
  goTo(span: number, focus: boolean, zoom = false): void {
    if (span < 0) return;
    if (this.rows.reveal(span)) this.collapsed();
    this.active = span;
    this.scrollTo(span);
    if (zoom) this.bringIntoView(span);
    this.events.active(span);
    this.paint();
    if (focus) this.labels.focus(span);
  }

  focus(): void {
    if (this.active >= 0) this.goTo(this.active, true);
  }

  collapsed(): void {
    if (this.active >= 0 && !this.rows.isVisible(this.active)) {
      const focus = this.labels.hasFocus();
      this.active = this.rows.span(Math.max(this.rows.rowOf(this.active), 0));
      this.events.active(this.active);
      this.measure();
      if (focus) {
        this.paint();
        this.labels.focus(this.active);
      }
    } else this.measure();
    this.events.collapse();
  }

  /** Runs a keyboard action. Returns false when it is not the waterfall's. */
  act(action: Action, key: string): boolean {
    const { trace: t, rows, active } = this;
    const duration = t.durationNs;
    const mid = this.pointerNs ?? (this.view.from + this.view.to) / 2;
    switch (action) {
      case 'openOrChild':
        if (active >= 0 && rows.collapsed[active]) this.fold(active, false);
        else this.goTo(move(t, rows, active, action), true);
        return true;
      case 'closeOrParent':
        if (active >= 0 && t.descendants[active]! > 0 && !rows.collapsed[active]) this.fold(active, true);
        else this.goTo(move(t, rows, active, action), true);
        return true;
      case 'down': case 'up': case 'pageDown': case 'pageUp': case 'first': case 'last': case 'parent': case 'child':
      case 'nextSibling': case 'previousSibling':
        this.goTo(move(t, rows, active, action, this.pageRows), true);
        return true;
      case 'toggle':
        if (active >= 0) this.fold(active, rows.collapsed[active] === 0);
        return true;
      case 'expandAll': case 'collapseAll': case 'depth':
        this.rowsToDepth(action === 'expandAll' ? Infinity : action === 'collapseAll' ? 0 : Number(key));
        return true;
      case 'expandSiblings': case 'collapseSiblings':
        if (active >= 0) rows.siblings(active, action === 'collapseSiblings');
        this.collapsed();
        return true;
      case 'nextError': case 'previousError':
        this.jump(this.derived.errors, action === 'nextError' ? 1 : -1, 'error');
        return true;
      case 'nextMatch': case 'previousMatch':
        this.jump(this.matches, action === 'nextMatch' ? 1 : -1, 'match');
        return true;
      case 'zoomIn':
        this.setView(zoomAt(this.view, mid, 0.6, duration));
        return true;
      case 'zoomOut':
        this.setView(zoomAt(this.view, mid, 1 / 0.6, duration));
        return true;
      case 'zoomReset':
        this.setView(full(duration));
        return true;
      case 'zoomSpan':
        if (active >= 0) this.setView(around(t.start[active]!, t.duration[active]!, duration));
        return true;
      case 'panLeft': case 'panRight':
        this.setView(pan(this.view, (this.view.to - this.view.from) * (action === 'panLeft' ? -0.15 : 0.15), duration));
        return true;
      default:
        return false;
    }
  }

  rowsToDepth(depth: number): void {
    this.rows.toDepth(depth);
    this.collapsed();
    this.events.announce(`${this.rows.count.toLocaleString('en')} of ${this.trace.spanCount.toLocaleString('en')} rows shown`);
  }

  fold(span: number, collapse: boolean): void {
    this.rows.toggle(span, collapse);
    this.collapsed();
  }

  /** The next span of an ascending list after the active one. */
  jump(list: Uint32Array, step: 1 | -1, what: string): void {
    const next = nextIn(list, this.active, step);
    if (next < 0) return this.events.announce(`no ${what} in this trace`);
    this.goTo(next, true, true);
    this.events.announce(describe(this.trace, this.derived, next));
  }

  private pointerNs: number | null = null;

  /** Scrolls as little as needed to show the row with two rows of context. */
  private scrollTo(span: number): void {
    const top = this.rows.rowOf(span) * ROW_PX;
    const air = Math.min(2 * ROW_PX, this.heightPx / 4);
    let offset = this.offsetPx;
    if (top - air < offset) offset = top - air;
    else if (top + ROW_PX + air > offset + this.heightPx) offset = top + ROW_PX + air - this.heightPx;
    if (Math.abs(offset - this.offsetPx) > this.heightPx) offset = top - this.heightPx / 3;
    const limit = Math.max(this.rows.count * ROW_PX - this.heightPx, 0);
    offset = Math.min(Math.max(offset, 0), limit);
    if (offset === this.offsetPx) return;
    this.box.scrollTop = this.scroll.toScrollTop(offset);
    this.offsetPx = this.scroll.toOffset(this.box.scrollTop);
  }

  /** Puts row `row` in the middle of the screen (from the minimap). */
  centerRow(row: number): void {
    this.box.scrollTop = this.scroll.toScrollTop(Math.max(row * ROW_PX - this.heightPx / 2, 0));
  }

  /** Pans only when the span lies outside the shown time. */
  private bringIntoView(span: number): void {
    const start = this.trace.start[span]!;
    const end = start + this.trace.duration[span]!;
    if (end < this.view.from || start > this.view.to) {
      const width = this.view.to - this.view.from;
      this.setView({ from: (start + end - width) / 2, to: (start + end + width) / 2 });
    }
  }

  private measure(): void {
    this.widthPx = this.box.clientWidth;
    this.heightPx = this.box.clientHeight;
    this.scroll = scrollOf(this.rows.count, this.heightPx);
    this.spacer.style.height = `${this.scroll.contentPx}px`;
    // Sticky layer and spacer share the box: the layer takes no height of its own.
    this.widthPx = this.box.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    const w = Math.round(this.widthPx * ratio);
    const h = Math.round(this.heightPx * ratio);
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
      this.canvas.style.width = `${this.widthPx}px`;
      this.canvas.style.height = `${this.heightPx}px`;
    }
    this.labelHost.style.height = `${this.heightPx}px`;
    this.onScroll();
    this.events.view(this.view);
  }

  private onScroll(): void {
    this.offsetPx = this.scroll.toOffset(this.box.scrollTop);
    this.events.scrolled(this.offsetPx / ROW_PX, (this.offsetPx + this.heightPx) / ROW_PX);
    this.repaint();
  }

  repaint(): void {
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.paint();
      });
    }
  }

  private paint(): void {
    if (this.widthPx === 0 || this.heightPx === 0) return;
    const ratio = window.devicePixelRatio || 1;
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    const shared = {
      trace: this.trace, derived: this.derived, rows: this.rows, colors: this.colors, theme: this.theme, labelPx: this.labelPx,
      offsetPx: this.offsetPx, heightPx: this.heightPx, selected: this.selected, hovered: this.hovered, matches: this.matches,
      searching: this.query.trim() !== '', path: this.path, completion: this.completion,
    };
    drawWaterfall(this.ctx, { ...shared, view: this.view, widthPx: this.widthPx, drag: this.drag });
    this.labels.update({ ...shared, active: this.active });
  }

  private hit(e: MouseEvent): Hit | null {
    const box = this.box.getBoundingClientRect();
    const geometry = { widthPx: this.widthPx, labelPx: this.labelPx, offsetPx: this.offsetPx, rowCount: this.rows.count };
    return hitTest(this.trace, geometry, this.view, e.clientX - box.left, e.clientY - box.top, (r) => this.rows.span(r));
  }

  private nsAt(e: MouseEvent): number {
    return nsOf(this.view, e.clientX - this.box.getBoundingClientRect().left - this.labelPx, this.axisPx);
  }

  private onWheel(e: WheelEvent): void {
    const overAxis = e.clientX - this.box.getBoundingClientRect().left > this.labelPx;
    if (e.ctrlKey || e.metaKey) {
      e.preventDefault();
      this.setView(zoomAt(this.view, this.nsAt(e), Math.exp(Math.max(-1, Math.min(1, e.deltaY * 0.004))), this.trace.durationNs));
      return;
    }
    const dx = e.shiftKey && e.deltaX === 0 ? e.deltaY : e.deltaX;
    if (overAxis && Math.abs(dx) > Math.abs(e.shiftKey ? 0 : e.deltaY)) {
      e.preventDefault();
      this.setView(pan(this.view, (dx / this.axisPx) * (this.view.to - this.view.from), this.trace.durationNs));
    }
  }

  private onPointerDown(e: PointerEvent): void {
    if (e.button > 1 || e.clientX > this.box.getBoundingClientRect().left + this.widthPx) return;
    const hit = this.hit(e);
    if (e.pointerType === 'touch') this.onTouch(e);
    if (hit?.zone === 'label' || e.pointerType === 'touch') return this.onPress(e, hit);
    e.preventDefault();
    const x0 = e.clientX;
    const ns0 = this.nsAt(e);
    const view0 = this.view;
    const panning = e.shiftKey || e.button === 1;
    let dragging = false;
    const up = new AbortController();
    const onMove = (m: PointerEvent) => {
      if (!dragging && Math.abs(m.clientX - x0) < DRAG_PX) return;
      dragging = true;
      if (panning) {
        const by = (-(m.clientX - x0) / this.axisPx) * (view0.to - view0.from);
        this.setView(pan(view0, by, this.trace.durationNs));
        return;
      }
      const ns = Math.min(Math.max(this.nsAt(m), this.view.from), this.view.to);
      this.drag = { from: Math.min(ns0, ns), to: Math.max(ns0, ns) };
      this.repaint();
    };
    const end = (cancelled: boolean) => {
      up.abort();
      const drag = this.drag;
      this.drag = null;
      this.repaint();
      if (cancelled) return;
      if (!dragging) this.onPress(e, hit);
      else if (drag && drag.to > drag.from) this.setView(drag);
    };
    window.addEventListener('pointermove', onMove, { signal: up.signal });
    window.addEventListener('pointerup', () => end(false), { signal: up.signal });
    window.addEventListener('pointercancel', () => end(true), { signal: up.signal });
    window.addEventListener('keydown', (k) => k.key === 'Escape' && end(true), { signal: up.signal });
  }

  /** One finger pans the time (the browser scrolls the rows), two zoom it. */
  private onTouch(e: PointerEvent): void {
    this.touches.set(e.pointerId, e.clientX);
    if (this.touches.size > 1) return;
    const stop = new AbortController();
    const moved = (m: PointerEvent) => {
      if (!this.touches.has(m.pointerId)) return;
      const [a0, b0] = [...this.touches.values()];
      this.touches.set(m.pointerId, m.clientX);
      const [a1, b1] = [...this.touches.values()];
      const { durationNs } = this.trace;
      if (b0 === undefined || b1 === undefined) {
        this.setView(pan(this.view, ((a0! - a1!) / this.axisPx) * (this.view.to - this.view.from), durationNs));
        return;
      }
      const middle = (a1! + b1) / 2 - this.box.getBoundingClientRect().left - this.labelPx;
      const factor = Math.max(Math.abs(a0! - b0), 12) / Math.max(Math.abs(a1! - b1), 12);
      this.setView(zoomAt(this.view, nsOf(this.view, middle, this.axisPx), factor, durationNs));
    };
    const ended = (u: PointerEvent) => {
      this.touches.delete(u.pointerId);
      if (this.touches.size === 0) stop.abort();
    };
    window.addEventListener('pointermove', moved, { signal: stop.signal });
    window.addEventListener('pointerup', ended, { signal: stop.signal });
    window.addEventListener('pointercancel', ended, { signal: stop.signal });
  }

  private onPress(e: PointerEvent, hit: Hit | null): void {
    if (!hit || e.button !== 0) return;
    const span = this.rows.span(hit.row);
    const press = () => {
      this.active = span;
      if (hit.zone === 'before' || hit.zone === 'after') this.bringIntoView(span);
      if (e.target instanceof Element && e.target.classList.contains('wf-twist') && this.trace.descendants[span]! > 0) {
        if (e.altKey) this.rows.subtree(span, this.rows.collapsed[span] === 0);
        else this.rows.toggle(span);
        this.collapsed();
      } else this.events.select(span);
      this.goTo(span, true);
    };
    // A touch may become a scroll: wait for its end.
    if (e.pointerType !== 'touch') return press();
    const up = new AbortController();
    window.addEventListener('pointerup', (u) => {
      if (u.pointerId !== e.pointerId) return;
      up.abort();
      if (Math.hypot(u.clientX - e.clientX, u.clientY - e.clientY) < 10) press();
    }, { signal: up.signal });
    window.addEventListener('pointercancel', () => up.abort(), { signal: up.signal });
  }

  private onDoubleClick(e: MouseEvent): void {
    const hit = this.hit(e);
    if (!hit) return;
    const span = this.rows.span(hit.row);
    if (hit.zone === 'label') {
      if (!(e.target instanceof Element && e.target.classList.contains('wf-twist'))) this.fold(span, this.rows.collapsed[span] === 0);
    } else this.setView(around(this.trace.start[span]!, this.trace.duration[span]!, this.trace.durationNs));
  }

  private onHover(e: PointerEvent): void {
    if (this.drag) return;
    const hit = this.hit(e);
    this.pointerNs = hit && hit.zone !== 'label' ? this.nsAt(e) : null;
    this.box.style.cursor = hit && (hit.zone === 'bar' || hit.zone === 'label' || hit.zone === 'before' || hit.zone === 'after') ? 'pointer' : 'crosshair';
    this.setHover(hit ? this.rows.span(hit.row) : -1, hit, e.clientX, e.clientY);
  }

  private setHover(span: number, hit: Hit | null, x: number, y: number): void {
    if (span < 0) this.pointerNs = null;
    this.events.hover(span, hit, x, y);
    if (span === this.hovered) return;
    this.hovered = span;
    this.repaint();
  }

  private onFocus(e: FocusEvent): void {
    const row = (e.target as HTMLElement).closest<HTMLElement>('[data-span]');
    if (!row) return;
    const span = Number(row.dataset['span']);
    if (span !== this.active) {
      this.active = span;
      this.events.active(span);
      this.repaint();
    }
  }
}
