// Screenshots of every page and state, light and dark, wide and narrow, for people to look at.
//   node e2e/shots.mjs FOLDER [NAME …]
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FIXTURES, startMock } from '../mock/server.mjs';
import { launch } from './browser.mjs';

const [folder = 'shots', ...only] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await launch();
if (!browser) {
  console.log('skipped: no chromium found (set CHROMIUM_PATH)');
  process.exit(0);
}
const servers = { normal: await startMock(), empty: await startMock({ mode: 'empty' }), error: await startMock({ mode: 'error' }) };

/** name → server, path, and what to do before the picture. */
const STATES = {
  list: ['normal', '/?q=%7B%7D'],
  query: ['normal', '/?q=%7B+resource.service.name+%3D+%22payment%22+%26%26+status+%3D+error+%7D', async (p) => { await p.locator('textarea').first().focus(); await p.keyboard.press('End'); await p.keyboard.press('ArrowLeft'); await p.keyboard.type('&& '); await p.waitForTimeout(600); }],
  invalid: ['normal', '/?q=%7B+stats+%3D+error+%7D'],
  nomatch: ['normal', '/?q=%7B+name+%3D+%22nothing%22+%7D&from=now-15m'],
  time: ['normal', '/', async (p) => { await p.keyboard.press('i'); await p.waitForTimeout(200); }],
  empty: ['empty', '/'],
  error: ['error', '/'],
  trace: ['normal', `/trace/${FIXTURES.shop}`],
  panel: ['normal', `/trace/${FIXTURES.shop}`, async (p) => { await p.keyboard.press('e'); await p.keyboard.press('e'); await p.keyboard.press('Enter'); await p.waitForTimeout(500); }],
  why: ['normal', `/trace/${FIXTURES.shop}?why=1`],
  whyset: ['normal', '/why?q=%7B+resource.service.name+%3D+%22payment%22+%7D'],
  whyfew: ['normal', '/why?q=%7B+name+%3D+%22nothing%22+%7D'],
  whyerror: ['error', '/why'],
  service: ['normal', '/service/payment'],
  servicenone: ['normal', '/service/nobody'],
  serviceerror: ['error', '/service/payment'],
  zoomed: ['normal', `/trace/${FIXTURES.shop}?zoom=20000000-60000000&find=inventory`],
  logs: ['normal', `/trace/${FIXTURES.shop}?tab=logs`],
  broken: ['normal', `/trace/${FIXTURES.broken}`],
  deep: ['normal', `/trace/${FIXTURES.deep}`],
  large: ['normal', `/trace/${FIXTURES.large}`, async (p) => { await p.waitForTimeout(1500); }],
  missing: ['normal', '/trace/00000000000000000123456789abcdef'],
  system: ['normal', '/system'],
  demo: ['normal', '/demo', async (p) => { await p.locator('[role="switch"]').nth(0).click(); await p.locator('[role="switch"]').nth(1).click(); await p.locator('summary').first().click(); await p.waitForTimeout(400); }],
  help: ['normal', `/trace/${FIXTURES.shop}`, async (p) => { await p.keyboard.press('?'); await p.waitForTimeout(200); }],
};

for (const [theme, width] of [['light', 1280], ['dark', 1280], ['light', 390], ['dark', 390]]) {
  for (const [name, [mode, path, act]] of Object.entries(STATES)) {
    const tag = `${name}-${theme}-${width}`;
    if (only.length && !only.some((o) => tag.startsWith(o))) continue;
    const context = await browser.newContext({ viewport: { width, height: width < 500 ? 844 : 800 }, colorScheme: theme, deviceScaleFactor: 1 });
    const page = await context.newPage();
    page.on('console', (m) => ['error', 'warning'].includes(m.type()) && console.log(`${tag}: ${m.text()}`));
    page.on('pageerror', (e) => console.log(`${tag}: ${e}`));
    await page.goto(servers[mode].url + path);
    await page.waitForTimeout(900);
    if (act) await act(page);
    await page.screenshot({ path: join(folder, `${tag}.png`) });
    await context.close();
  }
}
await browser.close();
for (const s of Object.values(servers)) await s.close();
