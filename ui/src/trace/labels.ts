/**
 * The labels beside the bars: a tree for eyes and screen readers, of which only the visible rows exist in the DOM.
 *
 * Rows are kept by span, so that focus stays on a row while it scrolls; the row that has the focus is kept even when it
 * is scrolled out.
 */
import { Flag, KINDS, STATUS_ERROR, type TraceColumns } from './columns';
import { outsideParent, type Derived } from './derive';
import { indexIn } from './find';
import { ROW_PX, indentOf, indentStep } from './layout';
import type { Rows } from './rows';
import { formatDuration } from './ruler';
import type { Theme } from './theme';

interface Row {
  element: HTMLElement;
  twist: HTMLElement;
  service: HTMLElement;
  name: HTMLElement;
  kind: HTMLElement;
  marks: HTMLElement;
  span: number;
  state: string;
  top: number;
}

export interface LabelState {
  trace: TraceColumns;
  derived: Derived;
  rows: Rows;
  colors: Uint8Array;
  theme: Theme;
  labelPx: number;
  offsetPx: number;
  heightPx: number;
  active: number;
  selected: number;
  hovered: number;
  matches: Uint32Array;
  searching: boolean;
}

const KIND_MARK = ['', '', '◂', '▸', '↗', '↘'];

export class Labels {
  private readonly shown = new Map<number, Row>();
  private readonly free: Row[] = [];

  constructor(private readonly host: HTMLElement) {}

  update(s: LabelState): void {
    const first = Math.max(Math.floor(s.offsetPx / ROW_PX), 0);
    const last = Math.min(Math.ceil((s.offsetPx + s.heightPx) / ROW_PX), s.rows.count);
    const activeRow = s.active >= 0 && s.rows.isVisible(s.active) ? s.rows.rowOf(s.active) : -1;
    for (const [span, row] of this.shown) {
      const at = s.rows.isVisible(span) ? s.rows.rowOf(span) : -1;
      if ((at < first || at >= last) && at !== activeRow) this.recycle(span, row);
    }
    const step = indentStep(s.derived.depthMax, s.labelPx);
    for (let row = first; row < last; row++) this.place(s, row, step);
    if (activeRow >= 0 && (activeRow < first || activeRow >= last)) this.place(s, activeRow, step);
  }

  /** The element of a span, where it is shown. */
  element(span: number): HTMLElement | undefined {
    return this.shown.get(span)?.element;
  }

  focus(span: number): void {
    this.element(span)?.focus({ preventScroll: true });
  }

  hasFocus(): boolean {
    return this.host.contains(document.activeElement);
  }

  clear(): void {
    for (const [span, row] of this.shown) this.recycle(span, row);
  }

  private recycle(span: number, row: Row): void {
    this.shown.delete(span);
    row.element.remove();
    row.state = '';
    if (this.free.length < 200) this.free.push(row);
  }

  private place(s: LabelState, index: number, step: number): void {
    const span = s.rows.span(index);
    let row = this.shown.get(span);
    if (!row) {
      row = this.free.pop() ?? create();
      row.span = span;
      this.shown.set(span, row);
      this.host.append(row.element);
    }
    const top = index * ROW_PX - s.offsetPx;
    if (row.top !== top) {
      row.top = top;
      row.element.style.transform = `translateY(${top}px)`;
    }
    const match = s.searching ? (indexIn(s.matches, span) >= 0 ? 1 : 2) : 0;
    const state = [
      span, s.rows.collapsed[span], span === s.active ? 1 : 0, span === s.selected ? 1 : 0, match, step, s.labelPx,
      s.theme.dark, s.theme.contrast,
    ].join();
    if (row.state === state) return;
    row.state = state;
    fill(row, s, match, step);
  }
}

function create(): Row {
  const element = document.createElement('div');
  element.className = 'wf-row';
  element.setAttribute('role', 'treeitem');
  const part = (name: string): HTMLElement => {
    const e = document.createElement('span');
    e.className = name;
    e.setAttribute('aria-hidden', 'true');
    element.append(e);
    return e;
  };
  return {
    element,
    twist: part('wf-twist'),
    service: part('wf-service'),
    kind: part('wf-kind'),
    name: part('wf-name'),
    marks: part('wf-marks'),
    span: -1,
    state: '',
    top: NaN,
  };
}

function fill(row: Row, s: LabelState, match: number, step: number): void {
  const { trace: t } = s;
  const span = row.span;
  const e = row.element;
  const below = t.descendants[span]!;
  const closed = s.rows.collapsed[span] === 1;
  const error = t.status[span] === STATUS_ERROR;
  const hiddenError = closed && !error && s.derived.errorBelow[span] === 1;
  const color = s.colors[t.service[span]!]!;

  e.className =
    'wf-row' +
    (span === s.selected ? ' selected' : '') +
    (match === 1 ? ' match' : match === 2 ? ' faded' : '') +
    (error ? ' error' : '');
  e.style.width = `${s.labelPx - 1}px`;
  e.style.paddingLeft = `${4 + indentOf(t.depth[span]!, step, s.labelPx)}px`;
  e.dataset['span'] = String(span);
  e.tabIndex = span === s.active ? 0 : -1;
  e.setAttribute('aria-level', String(t.depth[span]! + 1));
  e.setAttribute('aria-selected', String(span === s.selected));
  e.setAttribute('aria-label', describe(t, s.derived, span));
  const parent = t.parent[span]!;
  e.setAttribute('aria-posinset', String(s.derived.position[span]));
  e.setAttribute('aria-setsize', String(parent < 0 ? s.derived.roots.length : s.derived.children[parent]));
  if (below > 0) e.setAttribute('aria-expanded', String(!closed));
  else e.removeAttribute('aria-expanded');

  row.twist.textContent = below === 0 ? '' : closed ? `${below > 9999 ? `${Math.round(below / 1000)}k` : below}` : '';
  row.twist.className = `wf-twist${below > 0 ? (closed ? ' closed' : ' open') : ''}`;
  row.service.textContent = t.services[t.service[span]!]!;
  row.service.style.color = s.theme.contrast ? '' : s.theme.palette.text[color]!;
  row.service.style.setProperty('--bar', s.theme.palette.bar[color]!);
  row.kind.textContent = KIND_MARK[t.kind[span]!] ?? '';
  row.kind.title = KINDS[t.kind[span]!] ?? '';
  row.name.textContent = t.names[t.name[span]!]!;
  e.title = `${row.service.textContent} · ${row.name.textContent}`;
  marks(row.marks, t, span, error, hiddenError);
}

function marks(host: HTMLElement, t: TraceColumns, span: number, error: boolean, hiddenError: boolean): void {
  host.replaceChildren();
  const add = (text: string, kind: string, title: string) => {
    const m = document.createElement('span');
    m.className = `wf-mark ${kind}`;
    m.textContent = text;
    m.title = title;
    host.append(m);
  };
  const flags = t.flags[span]!;
  if (error) add('!', 'error', flags & Flag.exception ? 'failed, with an exception' : 'failed');
  else if (flags & Flag.exception) add('!', 'soft', 'has an exception event, status not error');
  if (hiddenError) add('!', 'below', 'a hidden span below failed');
  if (flags & Flag.orphan) add('?', 'warn', 'its parent span is not stored');
  if (flags & Flag.inferred) add('≈', 'soft', 'its place in the trace is inferred, not carried with the request');
  const outside = outsideParent(t, span, 1000);
  if (outside !== 'none') add('⇥', 'warn', `${OUTSIDE[outside]} its parent`);
  if (flags & Flag.logs) add('≡', 'soft', 'has log records');
  if (flags & Flag.links) add('↪', 'soft', 'has links');
}

const OUTSIDE = { none: '', early: 'starts before', late: 'ends after', both: 'starts before and ends after' } as const;

/** The sentence a screen reader says for a span. */
export function describe(t: TraceColumns, d: Derived, span: number): string {
  const parts = [`${t.services[t.service[span]!]!} ${t.names[t.name[span]!]!}`];
  if (t.status[span] === STATUS_ERROR) parts.push('error');
  parts.push(`${formatDuration(t.duration[span]!)} at ${formatDuration(t.start[span]!)}`);
  const kind = KINDS[t.kind[span]!];
  if (kind && t.kind[span]! > 1) parts.push(kind);
  const children = d.children[span]!;
  if (children > 0) parts.push(`${children} ${children === 1 ? 'child' : 'children'}`);
  const flags = t.flags[span]!;
  if (flags & Flag.orphan) parts.push('parent not stored');
  if (flags & Flag.inferred) parts.push('inferred');
  const outside = outsideParent(t, span, 1000);
  if (outside !== 'none') parts.push(`${OUTSIDE[outside]} its parent`);
  return parts.join(', ');
}
