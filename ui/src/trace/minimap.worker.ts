/** Paints the minimap off the main thread and sends back a bitmap. */
import { paintMinimap, type MinimapInput } from './minimap';

self.onmessage = (event: MessageEvent<{ id: number; input: MinimapInput }>) => {
  const { id, input } = event.data;
  const canvas = new OffscreenCanvas(input.widthPx, input.heightPx);
  const ctx = canvas.getContext('2d', { alpha: false });
  if (!ctx) return;
  paintMinimap(ctx as unknown as CanvasRenderingContext2D, input);
  const bitmap = canvas.transferToImageBitmap();
  self.postMessage({ id, bitmap }, { transfer: [bitmap] });
};
