/**
 * What each key does on the trace page, as data: the page runs the action, the help lists the table, and tests read it.
 */
import type { TraceColumns } from './columns';
import type { Rows } from './rows';

export type Action =
  | 'down' | 'up' | 'pageDown' | 'pageUp' | 'first' | 'last' | 'closeOrParent' | 'openOrChild' | 'parent' | 'child'
  | 'nextSibling' | 'previousSibling' | 'nextError' | 'previousError' | 'nextMatch' | 'previousMatch' | 'find'
  | 'toggle' | 'panel' | 'close' | 'expandAll' | 'collapseAll' | 'expandSiblings' | 'collapseSiblings' | 'depth'
  | 'zoomIn' | 'zoomOut' | 'zoomReset' | 'zoomSpan' | 'panLeft' | 'panRight' | 'logs' | 'waterfall' | 'copyId' | 'copyLink' | 'reload'
  | 'path' | 'clocks' | 'verdict';

export interface Binding {
  keys: string[];
  action: Action;
  help: string;
  group: 'Move' | 'Fold' | 'Zoom' | 'Find' | 'View';
}

/** `key` is `KeyboardEvent.key`; letters are case-sensitive so that Shift gives the counterpart. */
export const BINDINGS: Binding[] = [
  { keys: ['ArrowDown', 'j'], action: 'down', help: 'Next row', group: 'Move' },
  { keys: ['ArrowUp', 'k'], action: 'up', help: 'Previous row', group: 'Move' },
  { keys: ['PageDown'], action: 'pageDown', help: 'One screen down', group: 'Move' },
  { keys: ['PageUp'], action: 'pageUp', help: 'One screen up', group: 'Move' },
  { keys: ['Home', 'g'], action: 'first', help: 'First row', group: 'Move' },
  { keys: ['End', 'G'], action: 'last', help: 'Last row', group: 'Move' },
  { keys: ['p'], action: 'parent', help: 'Parent', group: 'Move' },
  { keys: ['c'], action: 'child', help: 'First child', group: 'Move' },
  { keys: [']'], action: 'nextSibling', help: 'Next sibling', group: 'Move' },
  { keys: ['['], action: 'previousSibling', help: 'Previous sibling', group: 'Move' },
  { keys: ['e'], action: 'nextError', help: 'Next error', group: 'Move' },
  { keys: ['E'], action: 'previousError', help: 'Previous error', group: 'Move' },
  { keys: ['ArrowRight'], action: 'openOrChild', help: 'Open, then first child', group: 'Fold' },
  { keys: ['ArrowLeft'], action: 'closeOrParent', help: 'Close, then parent', group: 'Fold' },
  { keys: [' '], action: 'toggle', help: 'Open or close', group: 'Fold' },
  { keys: ['*'], action: 'expandSiblings', help: 'Open all siblings', group: 'Fold' },
  { keys: ['_'], action: 'collapseSiblings', help: 'Close all siblings', group: 'Fold' },
  { keys: ['X'], action: 'expandAll', help: 'Open all', group: 'Fold' },
  { keys: ['C'], action: 'collapseAll', help: 'Close all', group: 'Fold' },
  { keys: ['1', '2', '3', '4', '5', '6', '7', '8', '9'], action: 'depth', help: 'Open to this depth', group: 'Fold' },
  { keys: ['+', '=', 'w'], action: 'zoomIn', help: 'Zoom in', group: 'Zoom' },
  { keys: ['-', 's'], action: 'zoomOut', help: 'Zoom out', group: 'Zoom' },
  { keys: ['0'], action: 'zoomReset', help: 'Whole trace', group: 'Zoom' },
  { keys: ['z'], action: 'zoomSpan', help: 'Zoom to the span', group: 'Zoom' },
  { keys: ['a'], action: 'panLeft', help: 'Pan left', group: 'Zoom' },
  { keys: ['d'], action: 'panRight', help: 'Pan right', group: 'Zoom' },
  { keys: ['/', 'f'], action: 'find', help: 'Find in this trace', group: 'Find' },
  { keys: ['n'], action: 'nextMatch', help: 'Next match', group: 'Find' },
  { keys: ['N'], action: 'previousMatch', help: 'Previous match', group: 'Find' },
  { keys: ['Enter'], action: 'panel', help: 'Open the span panel', group: 'View' },
  { keys: ['Escape'], action: 'close', help: 'Close the panel', group: 'View' },
  { keys: ['W'], action: 'waterfall', help: 'Waterfall', group: 'View' },
  { keys: ['L'], action: 'logs', help: 'Logs of the trace', group: 'View' },
  { keys: ['v'], action: 'verdict', help: 'Open or close what the verdict rests on', group: 'View' },
  { keys: ['x'], action: 'path', help: 'Critical path: show or hide', group: 'View' },
  { keys: ['K'], action: 'clocks', help: 'Clocks: corrected or as sent', group: 'View' },
  { keys: ['r'], action: 'reload', help: 'Look for new spans', group: 'View' },
  { keys: ['y'], action: 'copyId', help: 'Copy the trace id', group: 'View' },
  { keys: ['Y'], action: 'copyLink', help: 'Copy a link to this view', group: 'View' },
];

const BY_KEY = new Map(BINDINGS.flatMap((b) => b.keys.map((k) => [k, b.action] as const)));

export function actionOf(key: string): Action | undefined {
  return BY_KEY.get(key);
}

/** The span that a movement leads to from `span`; the same span where there is none. `pageRows` is a screen. */
export function move(t: TraceColumns, rows: Rows, span: number, action: Action, pageRows = 20): number {
  if (rows.count === 0) return -1;
  const row = Math.max(rows.rowOf(span), 0);
  const at = (r: number) => rows.span(Math.min(Math.max(r, 0), rows.count - 1));
  switch (action) {
    case 'down':
      return at(row + 1);
    case 'up':
      return at(row - 1);
    case 'pageDown':
      return at(row + pageRows);
    case 'pageUp':
      return at(row - pageRows);
    case 'first':
      return at(0);
    case 'last':
      return at(rows.count - 1);
    case 'parent':
    case 'closeOrParent':
      return t.parent[span]! >= 0 ? t.parent[span]! : span;
    case 'child':
    case 'openOrChild':
      return t.descendants[span]! > 0 ? span + 1 : span;
    case 'nextSibling': {
      const next = span + t.descendants[span]! + 1;
      return next < t.spanCount && t.parent[next] === t.parent[span] ? next : span;
    }
    case 'previousSibling':
      return previousSibling(t, span);
    default:
      return span;
  }
}

/** Walks up from the span before: the ancestor that shares the parent is the sibling. */
function previousSibling(t: TraceColumns, span: number): number {
  const p = t.parent[span]!;
  let s = span - 1;
  if (s < 0 || s === p) return span;
  while (t.parent[s] !== p) {
    s = t.parent[s]!;
    if (s < 0) return span;
  }
  return s;
}
