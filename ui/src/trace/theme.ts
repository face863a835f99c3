/** Colours that the canvases use, read from the page's custom properties so that one style sheet rules. */
import { DARK, LIGHT, type Palette } from './colors';

export interface Theme {
  dark: boolean;
  contrast: boolean;
  background: string;
  panel: string;
  text: string;
  muted: string;
  grid: string;
  guide: string;
  hover: string;
  selected: string;
  accent: string;
  error: string;
  warning: string;
  match: string;
  onBar: string;
  palette: Palette;
  font: string;
}

/** Reads the theme in force at `element`. Call again when the theme changes. */
export function readTheme(element: Element): Theme {
  const style = getComputedStyle(element);
  const v = (name: string) => style.getPropertyValue(name).trim();
  const dark = v('--scheme') === 'dark';
  return {
    dark,
    contrast: v('--contrast') === 'more',
    background: v('--bg'),
    panel: v('--panel'),
    text: v('--text'),
    muted: v('--muted'),
    grid: v('--grid'),
    guide: v('--guide'),
    hover: v('--hover'),
    selected: v('--selected'),
    accent: v('--accent'),
    error: v('--error'),
    warning: v('--warning'),
    match: v('--match'),
    onBar: dark ? '#0c1116' : '#ffffff',
    palette: dark ? DARK : LIGHT,
    font: v('--font') || 'sans-serif',
  };
}
