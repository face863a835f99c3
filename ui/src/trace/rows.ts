/**
 * Which spans are rows: collapse state and the visible preorder.
 *
 * The visible rows are ascending preorder indices, so that a span's row is a binary search, and a row's span one read.
 */
import type { TraceColumns } from './columns';

/** Fold states longer than this are cut, because addresses are: the first departures are kept. */
const FOLD_CHARS_MAX = 2000;

export class Rows {
  /** 1 where the span's children are hidden. */
  readonly collapsed: Uint8Array;
  /** Span of each visible row, ascending; the first {@link count} entries count. */
  private readonly spans: Uint32Array;
  count = 0;

  constructor(readonly trace: TraceColumns) {
    this.collapsed = new Uint8Array(trace.spanCount);
    this.spans = new Uint32Array(trace.spanCount);
    this.rebuild();
  }

  span(row: number): number {
    return this.spans[row]!;
  }

  /** Row of a span, or of its nearest visible ancestor. −1 only in an empty trace. */
  rowOf(span: number): number {
    let lo = 0;
    let hi = this.count;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.spans[mid]! <= span) lo = mid + 1;
      else hi = mid;
    }
    return lo - 1;
  }

  isVisible(span: number): boolean {
    const row = this.rowOf(span);
    return row >= 0 && this.spans[row] === span;
  }

  toggle(span: number, collapse = this.collapsed[span] === 0): void {
    if (this.trace.descendants[span] === 0) return;
    this.collapsed[span] = collapse ? 1 : 0;
    this.rebuild();
  }

  /** Everything down to `depth` open (0 shows the roots alone); `Infinity` opens all. */
  toDepth(depth: number): void {
    const { spanCount, depth: depths, descendants } = this.trace;
    for (let i = 0; i < spanCount; i++) this.collapsed[i] = descendants[i]! > 0 && depths[i]! >= depth ? 1 : 0;
    this.rebuild();
  }

  /** Opens or closes the span and all its siblings. */
  siblings(span: number, collapse: boolean): void {
    const { parent, descendants, spanCount } = this.trace;
    const p = parent[span]!;
    const first = p < 0 ? 0 : p + 1;
    const last = p < 0 ? spanCount - 1 : p + descendants[p]!;
    for (let i = first; i <= last; i += descendants[i]! + 1) if (descendants[i]! > 0) this.collapsed[i] = collapse ? 1 : 0;
    this.rebuild();
  }

  /** Opens or closes the span and all below it. */
  subtree(span: number, collapse: boolean): void {
    const { descendants } = this.trace;
    const last = span + descendants[span]!;
    for (let i = span; i <= last; i++) if (descendants[i]! > 0) this.collapsed[i] = collapse ? 1 : 0;
    this.rebuild();
  }

  /** Opens every ancestor, so that the span is a row. Returns whether something changed. */
  reveal(span: number): boolean {
    let changed = false;
    for (let p = this.trace.parent[span]!; p >= 0; p = this.trace.parent[p]!) {
      if (this.collapsed[p]) {
        this.collapsed[p] = 0;
        changed = true;
      }
    }
    if (changed) this.rebuild();
    return changed;
  }

  rebuild(): void {
    const { spanCount, descendants } = this.trace;
    let count = 0;
    for (let i = 0; i < spanCount; i++) {
      this.spans[count++] = i;
      if (this.collapsed[i]) i += descendants[i]!;
    }
    this.count = count;
  }

  /**
   * The collapse state in few characters for the address: `dN` where all from depth N on are closed, then the
   * departures from it as base-36 gaps between preorder indices. Empty when everything is open.
   */
  encode(): string {
    const { spanCount, depth } = this.trace;
    let first = Infinity;
    for (let i = 0; i < spanCount; i++) if (this.collapsed[i] && depth[i]! < first) first = depth[i]!;
    if (first === Infinity) return '';
    // Two candidates: departures from "all open", or from "all closed from the first closed depth on".
    const open = this.departures(Infinity);
    const closed = this.departures(first);
    if (closed.length < open.length) return `d${first}${closed.length ? `.${gaps(closed)}` : ''}`;
    return gaps(open);
    function gaps(list: number[]): string {
      let text = '';
      let previous = 0;
      for (const i of list) {
        const next = (text === '' ? '' : '.') + (i - previous).toString(36);
        if (text.length + next.length > FOLD_CHARS_MAX) break;
        text += next;
        previous = i;
      }
      return text;
    }
  }

  /** Applies what {@link encode} gave; what does not fit this trace is ignored. */
  decode(text: string): void {
    let base = Infinity;
    const parts = text.split('.').filter((p) => p !== '');
    if (parts[0]?.startsWith('d') && /^d\d+$/.test(parts[0])) base = Number(parts.shift()!.slice(1));
    const { spanCount, depth, descendants } = this.trace;
    for (let i = 0; i < spanCount; i++) this.collapsed[i] = descendants[i]! > 0 && depth[i]! >= base ? 1 : 0;
    let at = 0;
    for (const part of parts) {
      const gap = parseInt(part, 36);
      if (!(gap >= 0)) break;
      at += gap;
      if (at >= spanCount) break;
      if (descendants[at]! > 0) this.collapsed[at] = this.collapsed[at] ? 0 : 1;
    }
    this.rebuild();
  }

  private departures(base: number): number[] {
    const { spanCount, depth, descendants } = this.trace;
    const list: number[] = [];
    for (let i = 0; i < spanCount; i++) {
      const expected = descendants[i]! > 0 && depth[i]! >= base ? 1 : 0;
      if (this.collapsed[i] !== expected) list.push(i);
    }
    return list;
  }
}
