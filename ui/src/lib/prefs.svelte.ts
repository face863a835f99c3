/** What belongs to the person rather than to the view: theme, label width, query history. Kept in this browser only. */
function load<T>(key: string, fallback: T): T {
  try {
    const text = localStorage.getItem(`tracewell.${key}`);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

function save(key: string, value: unknown): void {
  try {
    localStorage.setItem(`tracewell.${key}`, JSON.stringify(value));
  } catch {
    // Private windows may refuse storage: the preference then lasts as long as the page.
  }
}

export type ThemeChoice = 'system' | 'light' | 'dark';
export type ContrastChoice = 'system' | 'more';

const HISTORY_MAX = 50;

let theme = $state<ThemeChoice>(load('theme', 'system'));
let contrast = $state<ContrastChoice>(load('contrast', 'system'));
let labelPx = $state<number>(load('labelPx', 340));
let panelPx = $state<number>(load('panelPx', 440));
let path = $state<boolean>(load('path', true));
let queries = $state.raw<string[]>(load('queries', []));

export const prefs = {
  get theme() {
    return theme;
  },
  set theme(v: ThemeChoice) {
    theme = v;
    save('theme', v);
  },
  get contrast() {
    return contrast;
  },
  set contrast(v: ContrastChoice) {
    contrast = v;
    save('contrast', v);
  },
  get labelPx() {
    return labelPx;
  },
  set labelPx(v: number) {
    labelPx = v;
    save('labelPx', v);
  },
  get panelPx() {
    return panelPx;
  },
  set panelPx(v: number) {
    panelPx = v;
    save('panelPx', v);
  },
  /** Whether the critical path is drawn. */
  get path() {
    return path;
  },
  set path(v: boolean) {
    path = v;
    save('path', v);
  },
  get queries() {
    return queries;
  },
};

export function remember(query: string): void {
  const text = query.trim();
  if (text === '' || text === '{}') return;
  queries = [text, ...queries.filter((q) => q !== text)].slice(0, HISTORY_MAX);
  save('queries', queries);
}
