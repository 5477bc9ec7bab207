// A real headless Chromium, and pages of an origin of their own that listen with the browser's EventSource.
import { createServer } from "node:http";

import { chromium } from "playwright-core";

// Chromium looks for updates and the like at every start; the tests run without a network.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

export async function startBrowser(test) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  test.after(() => browser.close());
  return browser;
}

// A site that is not courier's: its one page listens to the stream that ?stream= names, with cookies if there is
// ?credentials, and writes down what happens.
export async function startSite(test) {
  const server = createServer((request, response) => {
    response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
    response.end(PAGE);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

const PAGE = `<!doctype html><title>listener</title><script>
  window.log = [];
  const stream = new URLSearchParams(location.search).get("stream");
  const write = (kind, event) => log.push({ kind, at: Date.now(), id: event.lastEventId, data: event.data });
  const withCredentials = new URLSearchParams(location.search).has("credentials");
  window.source = stream && new EventSource(stream, { withCredentials });
  if (source) {
    source.onopen = (event) => write("open", event);
    source.onmessage = (event) => write("message", event);
    source.onerror = (event) => write(source.readyState === EventSource.CLOSED ? "closed" : "lost", event);
    source.addEventListener("courier-gap", (event) => write("gap", event));
    source.addEventListener("courier-close", (event) => write("close", event));
  }
</script>`;

export async function listen(browser, site, stream, { credentials = false } = {}) {
  const page = await browser.newPage();
  await page.goto(`${site}/?stream=${encodeURIComponent(stream)}${credentials ? "&credentials" : ""}`);
  return new Listener(page);
}

export class Listener {
  constructor(page) { this.page = page; }

  log() { return this.page.evaluate(() => window.log); }

  // Resolves once an entry of this kind, and with this data if any is given, stands in the log.
  async sees(kind, data, { timeout = 10_000 } = {}) {
    await this.page.waitForFunction(
      ([kind, data]) => window.log.some((entry) => entry.kind === kind && (data === null || entry.data === data)),
      [kind, data === undefined ? null : String(data)], { timeout, polling: 20 });
  }

  // Resolves once `count` entries of this kind stand in the log.
  async counts(kind, count, { timeout = 10_000 } = {}) {
    await this.page.waitForFunction(
      ([kind, count]) => window.log.filter((entry) => entry.kind === kind).length >= count,
      [kind, count], { timeout, polling: 20 });
  }
}
