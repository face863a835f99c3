/** Separators that are dragged, or moved by the arrow keys. */

/** Follows the pointer until it is released; `way` is 1 where the size grows to the right. */
export function dragSize(e: PointerEvent, from: number, apply: (px: number) => void, way: 1 | -1): void {
  e.preventDefault();
  const x0 = e.clientX;
  const up = new AbortController();
  window.addEventListener('pointermove', (m) => apply(from + way * (m.clientX - x0)), { signal: up.signal });
  window.addEventListener('pointerup', () => up.abort(), { signal: up.signal });
}

export function sizeKey(e: KeyboardEvent, from: number, apply: (px: number) => void, way: 1 | -1): void {
  const by = e.key === 'ArrowLeft' ? -24 : e.key === 'ArrowRight' ? 24 : 0;
  if (by === 0) return;
  e.preventDefault();
  e.stopPropagation();
  apply(from + way * by);
}
