/** The shown part of the time axis: nanoseconds after the trace's start, and what zooming and panning do to it. */
export interface View {
  from: number;
  to: number;
}

/** Nothing is gained by zooming in past this many nanoseconds. */
export const SPAN_NS_MIN = 20;

export function full(durationNs: number): View {
  return { from: 0, to: Math.max(durationNs, 1) };
}

export function isFull(view: View, durationNs: number): boolean {
  return view.from <= 0 && view.to >= Math.max(durationNs, 1);
}

/** Moves and narrows a view until it lies inside the trace. */
export function clampView(view: View, durationNs: number): View {
  const total = Math.max(durationNs, 1);
  const width = Math.min(total, Math.max(view.to - view.from, Math.min(SPAN_NS_MIN, total)));
  const from = Math.min(Math.max(view.from, 0), total - width);
  return { from, to: from + width };
}

/** Zooms by `factor` (< 1 is in) keeping the time `at` where it is on the screen. */
export function zoomAt(view: View, at: number, factor: number, durationNs: number): View {
  const width = view.to - view.from;
  const next = Math.min(Math.max(width * factor, Math.min(SPAN_NS_MIN, durationNs)), Math.max(durationNs, 1));
  const share = (at - view.from) / width;
  const from = at - share * next;
  return clampView({ from, to: from + next }, durationNs);
}

export function pan(view: View, byNs: number, durationNs: number): View {
  return clampView({ from: view.from + byNs, to: view.to + byNs }, durationNs);
}

/** A view that shows the interval with a little air on both sides. */
export function around(start: number, duration: number, durationNs: number): View {
  const air = Math.max(duration * 0.08, SPAN_NS_MIN);
  return clampView({ from: start - air, to: start + duration + air }, durationNs);
}

export function xOf(view: View, ns: number, widthPx: number): number {
  return ((ns - view.from) / (view.to - view.from)) * widthPx;
}

export function nsOf(view: View, x: number, widthPx: number): number {
  return view.from + (x / widthPx) * (view.to - view.from);
}

/** `from-to` in whole nanoseconds, or empty for the whole trace. */
export function encodeView(view: View, durationNs: number): string {
  return isFull(view, durationNs) ? '' : `${Math.round(view.from)}-${Math.round(view.to)}`;
}

export function decodeView(text: string, durationNs: number): View {
  const match = /^(\d+)-(\d+)$/.exec(text);
  if (!match) return full(durationNs);
  const from = Number(match[1]);
  const to = Number(match[2]);
  return to > from ? clampView({ from, to }, durationNs) : full(durationNs);
}
