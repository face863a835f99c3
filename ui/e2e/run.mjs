// Browser tests against the fixture server: what a person does, by pointer and by keys. Skips without a browser.
//   node e2e/run.mjs [PART OF A NAME]
// E2E_DELAY=300 lets every answer take 300 ms and E2E_THROTTLE=6 makes the browser six times slower: a test that then
// fails looks before the page had a chance.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { FIXTURES, startMock } from '../mock/server.mjs';
import { launch } from './browser.mjs';

if (!existsSync(new URL('../dist/index.html', import.meta.url))) {
  console.error('ui/dist is missing: npm run build first');
  process.exit(1);
}
const browser = await launch();
if (!browser) {
  console.log('skipped: no chromium found (apt-get install chromium, or set CHROMIUM_PATH)');
  process.exit(0);
}
const DELAY = Number(process.env.E2E_DELAY ?? 0);
const THROTTLE = Number(process.env.E2E_THROTTLE ?? 1);
const normal = await startMock({ slow: DELAY });
const empty = await startMock({ mode: 'empty' });
const broken = await startMock({ mode: 'error' });
const slow = await startMock({ slow: 1500 });

const tests = [];
const test = (name, run) => tests.push([name, run]);
const params = (page) => new URL(page.url()).searchParams;
const rows = (page) => page.locator('.wf-row');
/** Tries until the check holds: a page answers a key or a click when it has drawn, not at once. */
async function eventually(check) {
  for (const until = Date.now() + 8000 * THROTTLE; ; await new Promise((done) => setTimeout(done, 25))) {
    try {
      return await check();
    } catch (e) {
      if (Date.now() > until) throw e;
    }
  }
}
const sees = (place, text) => eventually(async () => assert.match(await place.innerText(), text));
const activeName = (page) => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? '');

test('the list shows traces newest first, with a total, and pages on', async (page) => {
  await page.goto(normal.url);
  await page.waitForSelector('[data-trace]');
  await eventually(async () => assert.equal(await page.locator('[data-trace]').count(), 100));
  await eventually(async () => assert.match(await page.locator('.summary').innerText(), /\d+ traces, newest 100 shown/));
  await page.keyboard.press('m');
  await page.waitForFunction(() => document.querySelectorAll('[data-trace]').length === 200);
});

test('a facet adds its condition and takes it away again', async (page) => {
  await page.goto(normal.url);
  await page.locator('.facets li button', { hasText: 'payment' }).first().click();
  await page.waitForFunction(() => location.search.includes('q='));
  await eventually(async () => assert.equal(params(page).get('q'), '{ resource.service.name = "payment" }'));
  await page.locator('.facets button', { hasText: 'Errors' }).click();
  await eventually(async () => assert.equal(params(page).get('q'), '{ resource.service.name = "payment" && status = error }'));
  await page.goBack();
  await eventually(async () => assert.equal(await page.locator('textarea').inputValue(), '{ resource.service.name = "payment" }'));
  await page.locator('.facets li button[aria-pressed="true"]').first().click();
  await page.waitForFunction(() => !location.search.includes('q='));
});

test('the editor completes scopes, keys and values by keyboard alone', async (page) => {
  await page.goto(normal.url);
  await page.waitForSelector('[data-trace]');
  await page.keyboard.press('/');
  await page.keyboard.type('{ span.http.req');
  await page.waitForFunction(() => document.querySelector('#suggestion-0')?.textContent.includes('http.request.method'));
  await page.keyboard.press('Tab');
  await page.waitForFunction(() => document.querySelector('textarea').value.startsWith('{ span.http.request.method '));
  await page.keyboard.type('= "P');
  await page.waitForFunction(() => document.querySelector('#suggestion-0')?.textContent.includes('POST'));
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal((await page.locator('textarea').inputValue()).trim(), '{ span.http.request.method = "POST"'));
  await page.keyboard.type('}');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.search.includes('POST'));
  await page.waitForSelector('[data-trace]');
});

test('an error in the query is marked where it stands, with the hint', async (page) => {
  await page.goto(`${normal.url}/?q=${encodeURIComponent('{ name = "ü" && stats = error }')}`);
  await page.waitForSelector('#query-error');
  await eventually(async () => assert.match(await page.locator('#query-error').innerText(), /unknown intrinsic `stats`.*did you mean `status`/));
  await eventually(async () => assert.equal(await page.locator('.editor .bad').innerText(), 'stats'));
});

test('a trace opens with its verdict, which leads to the span and to what it rests on', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await sees(page.locator('.verdict'), /card-provider spent .* in POST \/v1\/charges/);
  await page.getByRole('button', { name: 'Show it' }).click();
  await page.waitForFunction(() => location.search.includes('span='));
  await sees(page.locator('.side'), /card-provider/);
  await page.keyboard.press('Escape');
  await page.keyboard.press('v');
  await page.waitForFunction(() => location.search.includes('why=1'));
  await sees(page.locator('#evidence'), /200 others of the last hour/);
  await page.getByRole('link', { name: 'find these traces' }).click();
  await page.waitForFunction(() => new URLSearchParams(location.search).get('q')?.includes('card-provider'));
});

test('the critical path is marked until a key hides it', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  const button = page.getByRole('button', { name: 'Critical path' });
  await eventually(async () => assert.equal(await button.getAttribute('aria-pressed'), 'true'));
  const picture = () => page.locator('.scroll canvas').evaluate((canvas) => canvas.toDataURL());
  const marked = await picture();
  await page.keyboard.press('x');
  await eventually(async () => assert.equal(await button.getAttribute('aria-pressed'), 'false'));
  await eventually(async () => assert.notEqual(await picture(), marked));
  await page.reload();
  await eventually(async () => assert.equal(await button.getAttribute('aria-pressed'), 'false'));
});

test('a verdict that cannot be had is said, and the trace is there all the same', async (page) => {
  await page.route('**/explain', (route) => route.fulfill({ status: 503, contentType: 'application/json', body: '{"error":{"code":"overloaded","message":"too many queries run"}}' }));
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await sees(page.locator('.verdict'), /too many queries run/);
  await page.unroute('**/explain');
  await page.locator('.verdict').getByRole('button', { name: 'Try again' }).click();
  await sees(page.locator('.verdict'), /card-provider spent/);
});

test('one key asks why, and the answer leads on to traces, services and hops', async (page) => {
  await page.goto(`${normal.url}/?q=${encodeURIComponent('{ resource.service.name = "payment" }')}`);
  await page.waitForSelector('[data-trace]');
  await page.keyboard.press('w');
  await page.waitForFunction(() => location.pathname.endsWith('/why'));
  await sees(page.locator('.verdict'), /94 % of it goes on the way from payment to card-provider/);
  await sees(page.locator('#f-diff ~ .table'), /payment → card-provider way there[\s\S]*\+122 ms/);
  await sees(page.locator('.findings'), /SELECT catalog 24 times[\s\S]*gateway does not pass the context on[\s\S]*node-7/);
  await page.locator('.suspects').getByRole('link', { name: 'payment' }).click();
  await page.waitForFunction(() => location.pathname.endsWith('/service/payment'));
  await sees(page.locator('h1'), /payment/);
});

test('a comparison of two queries lies in the address, and a query that cannot be read is marked', async (page) => {
  const asked = [];
  page.on('request', (r) => r.url().includes('/explain') && asked.push(new URL(r.url()).searchParams));
  await page.goto(`${normal.url}/why`);
  await sees(page.locator('.verdict'), /card-provider/);
  await page.locator('input[name="against"]').fill('{ status = ok }');
  await page.getByRole('button', { name: 'Compare' }).click();
  await page.waitForFunction(() => new URLSearchParams(location.search).get('against') === '{ status = ok }');
  await eventually(async () => assert.equal(asked.at(-1)?.get('against'), '{ status = ok }'));
  await page.goto(`${normal.url}/why?q=${encodeURIComponent('{ stats = error }')}`);
  await sees(page.locator('#query-error'), /did you mean `status`/);
  await page.goto(`${normal.url}/why?q=${encodeURIComponent('{ name = "nothing" }')}`);
  await sees(page.locator('.verdict'), /Too little to say/);
});

test('a service is told over time, with who calls it, whom it calls and what changed', async (page) => {
  await page.goto(`${normal.url}/service/payment`);
  await eventually(async () => assert.equal(await page.locator('figure svg').count(), 3));
  await sees(page.locator('.body'), /Hops that changed[\s\S]*payment → card-provider[\s\S]*Who calls it[\s\S]*gateway[\s\S]*outside[\s\S]*Whom it calls[\s\S]*notifications[\s\S]*message[\s\S]*Operations[\s\S]*POST \/charges/);
  await page.getByRole('link', { name: 'POST /charges' }).click();
  await page.waitForFunction(() => new URLSearchParams(location.search).get('q')?.includes('name = "POST /charges"'));
  await page.goto(`${normal.url}/service/nobody`);
  await sees(page.locator('.nothing'), /nobody has no spans in this time/);
  await page.goto(`${broken.url}/service/payment`);
  await sees(page.locator('main'), /checksum differs in page 17/);
});

test('the time range is chosen by keys and lies in the address', async (page) => {
  await page.goto(normal.url);
  await page.waitForSelector('[data-trace]');
  await page.keyboard.press('i');
  await page.waitForFunction(() => document.activeElement?.textContent === 'Last hour');
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.search.includes('from=now-15m'));
});

test('brushing the plot narrows time and duration', async (page) => {
  await page.goto(normal.url);
  await page.waitForSelector('[data-trace]');
  const box = await page.locator('.scatter').boundingBox();
  await page.mouse.move(box.x + box.width - 160, box.y + 30);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width - 40, box.y + 90, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => location.search.includes('traceDuration'));
  await eventually(async () => assert.match(params(page).get('q'), /traceDuration >= \S+ && traceDuration <= \S+/));
  await eventually(async () => assert.match(params(page).get('from'), /^\d{4}-\d\d-\d\dT/));
});

test('no match is not an empty store', async (page) => {
  await page.goto(`${normal.url}/?q=${encodeURIComponent('{ name = "nothing" }')}`);
  await page.waitForSelector('text=No trace matches');
  await page.goto(empty.url);
  await page.waitForSelector('text=No trace has arrived yet');
  await eventually(async () => assert.match(await page.locator('pre').nth(2).innerText().catch(() => ''), /./));
  await eventually(async () => assert.match(await page.locator('.start').innerText(), /OTEL_EXPORTER_OTLP_ENDPOINT=http:\/\/127\.0\.0\.1:4318[\s\S]*tracewell/));
});

test('a failing server is said, and can be tried again', async (page) => {
  await page.goto(broken.url);
  await page.waitForSelector('text=checksum differs in page 17');
  await page.waitForSelector('text=run tracewell doctor');
  const asked = page.waitForRequest((r) => r.url().includes('/search'));
  await page.getByRole('button', { name: 'Try again' }).click();
  await asked;
});

test('a newer query cancels the one before it', async (page) => {
  const failed = [];
  page.on('requestfailed', (r) => failed.push(r.url()));
  const asked = page.waitForRequest((r) => r.url().includes('/search'));
  await page.goto(slow.url);
  await asked;
  await page.locator('.facets button', { hasText: 'Errors' }).click();
  await page.waitForSelector('[data-trace]');
  assert.ok(failed.some((u) => u.includes('/search')), 'the first search was aborted');
});

test('a pasted log line opens its trace, from the box and from anywhere', async (page) => {
  await page.goto(normal.url);
  await page.keyboard.press('o');
  await page.keyboard.type(`level=error trace_id=${FIXTURES.shop} msg="x"`);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/trace/${FIXTURES.shop}`);
  await page.goto(`${normal.url}/system`);
  await page.evaluate((id) => {
    const data = new DataTransfer();
    data.setData('text', `traceparent: 00-${id}-00f067aa0ba902b7-01`);
    document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  }, FIXTURES.shop);
  await page.waitForURL(`**/trace/${FIXTURES.shop}?span=00f067aa0ba902b7`);
});

test('rows are a tree that keys walk, fold and unfold', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  await eventually(async () => assert.equal(await page.getByRole('tree').count(), 1));
  await page.keyboard.press('j');
  await eventually(async () => assert.match(await activeName(page), /gateway/));
  const second = await activeName(page);
  await page.keyboard.press('ArrowLeft');
  await eventually(async () => assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-expanded')), 'false'));
  await eventually(async () => assert.match(await page.locator('.legend').first().innerText(), /of 199 rows/));
  await page.keyboard.press('ArrowLeft');
  await eventually(async () => assert.match(await activeName(page), /GET \/checkout/));
  await page.keyboard.press('ArrowRight');
  await eventually(async () => assert.equal(await activeName(page), second));
  await page.keyboard.press('C');
  await eventually(async () => assert.equal(await rows(page).count(), 1));
  await eventually(async () => assert.equal(params(page).get('fold'), 'd0'));
  await page.reload();
  await page.waitForSelector('.wf-row');
  await eventually(async () => assert.equal(await rows(page).count(), 1));
  await page.keyboard.press('X');
  await eventually(async () => assert.match(await page.locator('.legend').first().innerText(), /^199 rows/));
  await page.keyboard.press('2');
  await eventually(async () => assert.equal(params(page).get('fold'), 'd2'));
});

test('errors are one key away and the panel shows the exception', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  await page.keyboard.press('e');
  await page.keyboard.press('e');
  await eventually(async () => assert.match(await activeName(page), /error/));
  await page.keyboard.press('Enter');
  await page.waitForSelector('.stack pre');
  await eventually(async () => assert.match(await page.locator('.stack pre').first().innerText(), /Caused by/));
  await eventually(async () => assert.ok(params(page).get('span')));
  const link = await page.locator('aside[aria-label="Span"] a.act').first().getAttribute('href');
  assert.match(decodeURIComponent(link.replaceAll('+', ' ')), /q=\{ (span|event)\..+ = .+ \}/);
  await page.keyboard.press('j');
  await page.waitForTimeout(300);
  await eventually(async () => assert.equal(await page.locator('aside[aria-label="Span"]').count(), 1));
  await page.keyboard.press('Escape');
  await eventually(async () => assert.equal(await page.locator('aside[aria-label="Span"]').count(), 0));
  await eventually(async () => assert.equal(params(page).get('span'), null));
});

test('focus stays on its row while it is scrolled out and back', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  await page.keyboard.press('j');
  const name = await activeName(page);
  await page.locator('.scroll').hover();
  await page.mouse.wheel(0, 3000);
  await page.waitForTimeout(200);
  await eventually(async () => assert.equal(await activeName(page), name));
  await page.keyboard.press('j');
  await eventually(async () => assert.notEqual(await activeName(page), name));
});

test('dragging zooms, the address keeps it, 0 shows the whole', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  const box = await page.locator('.scroll').boundingBox();
  await page.mouse.move(box.x + 700, box.y + 200);
  await page.mouse.down();
  await page.mouse.move(box.x + 900, box.y + 210, { steps: 5 });
  await page.mouse.up();
  await page.waitForFunction(() => /zoom=\d+-\d+/.test(location.search));
  const zoom = params(page).get('zoom');
  await page.reload();
  await page.waitForSelector('.window');
  await eventually(async () => assert.equal(params(page).get('zoom'), zoom));
  await page.keyboard.press('0');
  await page.waitForFunction(() => !location.search.includes('zoom'));
  await page.mouse.move(box.x + 700, box.y + 200);
  await page.keyboard.down('Control');
  await page.mouse.wheel(0, -300);
  await page.keyboard.up('Control');
  await page.waitForSelector('.window');
});

test('the minimap window is dragged', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}?zoom=50000000-100000000`);
  await page.waitForSelector('.window');
  const w = await page.locator('.window').boundingBox();
  await page.mouse.move(w.x + w.width / 2, w.y + 30);
  await page.mouse.down();
  await page.mouse.move(w.x + w.width / 2 + 100, w.y + 30, { steps: 4 });
  await page.mouse.up();
  const moved = await page.locator('.window').boundingBox();
  assert.ok(Math.abs(moved.x - w.x - 100) < 3 && Math.abs(moved.width - w.width) < 2, `${w.x} → ${moved.x}`);
});

test('two fingers zoom the time, one pans it', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  const box = await page.locator('.scroll').boundingBox();
  const cdp = await page.context().newCDPSession(page);
  const touch = (type, ...xs) => cdp.send('Input.dispatchTouchEvent', { type, touchPoints: xs.map((x, id) => ({ x: box.x + x, y: box.y + 150, id })) });
  await touch('touchStart', 700);
  await touch('touchStart', 700, 800);
  for (let i = 1; i <= 5; i++) await touch('touchMove', 700 - i * 20, 800 + i * 20);
  await touch('touchEnd');
  await page.waitForSelector('.window');
  const before = await page.locator('.window').boundingBox();
  assert.ok(before.width < 1280 * 0.5, `window of ${before.width}`);
  await touch('touchStart', 700);
  for (let i = 1; i <= 5; i++) await touch('touchMove', 700 - i * 20);
  await touch('touchEnd');
  await page.waitForTimeout(100);
  const after = await page.locator('.window').boundingBox();
  assert.ok(after.x > before.x + 5 && Math.abs(after.width - before.width) < 2, `${before.x} → ${after.x}`);
});

test('search counts, marks and walks the matches', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  await page.keyboard.press('/');
  await page.keyboard.type('service:inventory-db >1ms');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.match(await page.locator('.matches').innerText(), /^1 of \d+$/));
  await page.keyboard.press('Escape');
  await page.keyboard.press('n');
  await eventually(async () => assert.match(await page.locator('.matches').innerText(), /^2 of/));
  await eventually(async () => assert.equal(params(page).get('find'), 'service:inventory-db >1ms'));
});

test('logs of the trace lead to their spans', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.shop}`);
  await page.waitForSelector('.wf-row');
  await page.keyboard.press('L');
  await page.waitForSelector('details.log');
  await page.locator('details.log', { hasText: 'request failed' }).first().locator('summary').click();
  await page.getByRole('button', { name: 'Show the span' }).first().click();
  await page.waitForSelector('aside[aria-label="Span"]');
  await eventually(async () => assert.equal(params(page).get('tab'), null));
});

test('orphans and children outside their parents are marked and explained', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.broken}`);
  await page.waitForSelector('.warnings');
  await eventually(async () => assert.match(await page.locator('.warnings').innerText(), /not stored/));
  await page.locator('.facts button', { hasText: '1' }).last().click();
  await eventually(async () => assert.match(await activeName(page), /parent not stored/));
  await page.keyboard.press('Enter');
  await page.waitForSelector('.notice');
  await eventually(async () => assert.match(await page.locator('.notice').first().innerText(), /dead00000000beef/));
});

test('a span whose place was inferred says from what', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.broken}`);
  await page.waitForSelector('.wf-row');
  await page.keyboard.press('/');
  await page.keyboard.type('inferred');
  await page.keyboard.press('Enter');
  await sees(page.locator('.matches'), /^1 of 1$/);
  await page.keyboard.press('Escape');
  await eventually(async () => assert.match(await activeName(page), /inferred/));
  await page.keyboard.press('Enter');
  await sees(page.locator('.notice').first(), /concluded from x-request-id/);
});

test('a hundred thousand spans have few elements', async (page) => {
  await page.goto(`${normal.url}/trace/${FIXTURES.large}`);
  await page.waitForSelector('.wf-row', { timeout: 20_000 });
  await eventually(async () => assert.ok((await rows(page).count()) < 60));
  await page.keyboard.press('G');
  await page.waitForTimeout(100);
  await eventually(async () => assert.match(await page.evaluate(() => document.activeElement.dataset.span), /^99999$/));
});

test('an unknown trace is explained', async (page) => {
  await page.goto(`${normal.url}/trace/0000000000000000ffffffffffffffff`);
  await page.waitForSelector('text=This trace is not stored');
});

test('the system page counts rejections with their reason', async (page) => {
  await page.goto(`${normal.url}/system`);
  await page.waitForSelector('text=invalid_trace_id');
  await eventually(async () => assert.match(await page.locator('main').innerText(), /13 rejected/));
});

test('a fault of the demo is switched by keys, marked on the chain, and leads to its traces', async (page) => {
  await page.goto(normal.url);
  await page.getByRole('link', { name: 'Demo' }).waitFor();
  await page.keyboard.press('F');
  await page.waitForURL('**/demo');
  await page.waitForSelector('[role="switch"]');
  assert.equal(await page.locator('.chain li').count(), 30);
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('Space');
  await page.waitForSelector('[role="switch"][aria-checked="true"]');
  await sees(page.locator('.chain li').nth(9), /a fault is on between this and the next/);
  await sees(page.locator('.offscreen[role="status"]'), /Congestion .* on/);
  assert.match(await page.locator('li.on code').innerText(), /tracewell demo fault congestion-request off/);
  await page.locator('select').selectOption('orders-db');
  await page.reload();
  await eventually(async () => assert.equal(await page.locator('select').inputValue(), 'orders-db'));
  await page.getByRole('link', { name: 'Its traces' }).click();
  await eventually(async () => assert.equal(params(page).get('q'), '{ trace:duration > 1s }'));
  await page.goto(empty.url);
  await page.waitForSelector('.start');
  assert.equal(await page.getByRole('link', { name: 'Demo' }).count(), 0);
});

test('keys are listed, theme and contrast switch and stay', async (page) => {
  await page.goto(normal.url);
  await page.waitForSelector('[data-trace]');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  await page.keyboard.press('D');
  await eventually(async () => assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark'));
  await page.reload();
  await eventually(async () => assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark'));
});

test('nothing is asked of another host, and the policy blocks nothing', async (page, log) => {
  const hosts = new Set();
  page.on('request', (r) => hosts.add(new URL(r.url()).host));
  for (const path of ['/', `/trace/${FIXTURES.shop}`, `/trace/${FIXTURES.large}`, '/system', '/demo', '/nowhere']) {
    await page.goto(normal.url + path);
    await page.waitForTimeout(400);
  }
  assert.deepEqual([...hosts], [new URL(normal.url).host]);
  assert.deepEqual(log.filter((l) => /policy|error/i.test(l)), []);
});

const only = process.argv[2];
let failures = 0;
for (const [name, run] of tests) {
  if (only && !name.includes(only)) continue;
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(8000 * THROTTLE);
  if (THROTTLE > 1) await (await context.newCDPSession(page)).send('Emulation.setCPUThrottlingRate', { rate: THROTTLE });
  const log = [];
  page.on('console', (m) => log.push(`${m.type()}: ${m.text()}`));
  page.on('pageerror', (e) => log.push(`page error: ${e}`));
  try {
    await run(page, log);
    const bad = log.filter((l) => l.startsWith('page error'));
    assert.deepEqual(bad, []);
    console.log(`ok    ${name}`);
  } catch (e) {
    failures++;
    console.log(`FAIL  ${name}\n      ${String(e.stack).split('\n').slice(0, 12).join('\n      ')}\n      ${log.slice(-3).join('\n      ')}`);
  }
  await context.close();
}
await browser.close();
for (const s of [normal, empty, broken, slow]) await s.close();
console.log(failures ? `${failures} failed` : 'all passed');
process.exit(failures ? 1 : 0);
