// Prints what a large trace costs: from data to first paint, and the time of frames while scrolling and zooming.
// Nothing is asserted: figures of a shared machine are for reading.
//   node e2e/perf.mjs [large|million] [URL OF A TRACE]
import { FIXTURES, startMock } from '../mock/server.mjs';
import { launch } from './browser.mjs';

const browser = await launch();
if (!browser) {
  console.log('skipped: no chromium found (set CHROMIUM_PATH)');
  process.exit(0);
}
const [which = 'large', address] = process.argv.slice(2);
const server = address ? null : await startMock();
const url = address ?? `${server.url}/trace/${FIXTURES[which]}`;
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
await page.addInitScript(() => {
  // The moment the body of the columns is there, and the first frame with a row after it.
  const read = Response.prototype.arrayBuffer;
  Response.prototype.arrayBuffer = async function () {
    const body = await read.call(this);
    window.dataAt = performance.now();
    const watch = () => {
      if (document.querySelector('.wf-row')) requestAnimationFrame(() => (window.paintedAt = performance.now()));
      else requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
    return body;
  };
});
await page.goto(url);
await page.waitForFunction(() => window.paintedAt !== undefined, undefined, { timeout: 120_000 });
await page.waitForTimeout(1500);
const { first, spans } = await page.evaluate(() => ({ first: window.paintedAt - window.dataAt, spans: document.querySelector('.legend')?.textContent }));
console.log(`${spans}: data to first paint ${first.toFixed(0)} ms`);

/** Frame intervals and script time per frame while `act` changes something every frame. */
async function frames(name, body) {
  const times = await page.evaluate(
    ([text, count]) =>
      new Promise((resolve) => {
        const act = new Function('i', text);
        const list = [];
        let last = performance.now();
        let i = 0;
        const step = (now) => {
          list.push(now - last);
          last = now;
          if (i >= count) return resolve(list.slice(2));
          act(i++);
          requestAnimationFrame(step);
        };
        requestAnimationFrame(step);
      }),
    [body, 180],
  );
  times.sort((a, b) => a - b);
  const q = (p) => times[Math.min(times.length - 1, Math.floor(times.length * p))].toFixed(1);
  console.log(`${name.padEnd(34)} p50 ${q(0.5)} ms, p95 ${q(0.95)} ms, p99 ${q(0.99)} ms, worst ${q(1)} ms (${times.length} frames)`);
}

const wheel = (init) => `const b = document.querySelector('.scroll'); const r = b.getBoundingClientRect(); b.dispatchEvent(new WheelEvent('wheel', { bubbles: true, cancelable: true, clientX: r.left + r.width * 0.6, clientY: r.top + 200, ${init} }));`;
await frames('scroll, 3 rows a frame', `document.querySelector('.scroll').scrollTop += 72;`);
await frames('scroll, 900 rows a frame', `document.querySelector('.scroll').scrollTop += 21600 * (i % 40 < 20 ? 1 : -1);`);
await frames('zoom in and out at the pointer', wheel('ctrlKey: true, deltaY: (i % 60 < 30 ? -60 : 60)'));
await frames('pan', wheel('deltaX: (i % 60 < 30 ? 30 : -30)'));
await frames('fold and unfold the root', `if (i % 6 === 0) document.querySelector('.wf-row .wf-twist').dispatchEvent(new PointerEvent('pointerdown', { bubbles: true, cancelable: true, button: 0, clientX: 13, clientY: document.querySelector('.scroll').getBoundingClientRect().top + 12 }));`);
const heap = await page.evaluate(() => performance.memory?.usedJSHeapSize);
if (heap) console.log(`script heap ${(heap / 2 ** 20).toFixed(0)} MiB`);
await browser.close();
await server?.close();
