// One stream through an nginx that nobody told about event streams.
import assert from "node:assert/strict";
import { test } from "node:test";

import { listen, startBrowser, startSite } from "./support/browser.js";
import { Courier } from "./support/courier.js";
import { startNginx } from "./support/nginx.js";
import { TEST_OPTIONS, until } from "./support/process.js";
import { startRedis } from "./support/redis.js";

test("nginx with its default proxy settings passes every event on at once", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*", "--heartbeat", "1s"]);
  const nginx = await startNginx(test, courier.port);
  const stream = await openStream(test, `${nginx}/events?channel=test.one`);

  assert.equal(stream.response.status, 200);
  assert.equal(stream.response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  await stream.receives(/^retry: \d+\nid: [a-z0-9]+\.\d+\n\n/);
  // Each is published only after the one before it has arrived: none may wait in nginx for the next.
  for (const number of [1, 2, 3]) {
    await redis.publisher.publish("test.one", `message ${number}`);
    await stream.receives(new RegExp(`data: message ${number}\nid: [a-z0-9]+\\.\\d+\n\n`));
  }
  await stream.receives(/\n:\n\n(?:.|\n)*:\n\n/);
});

test("a browser behind nginx gets its events, and courier notices when it leaves", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*", "--heartbeat", "1s"]);
  const nginx = await startNginx(test, courier.port);
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const tab = await listen(browser, site, `${nginx}/events?channel=test.one`);
  await tab.sees("open");
  await redis.publisher.publish("test.one", "through the proxy");
  await tab.sees("message", "through the proxy");
  assert.equal(await courier.metric("courier_subscriptions"), 1);

  await tab.page.close();
  await until("the subscription is gone", 10_000, async () => (await courier.metric("courier_subscriptions")) === 0);
});

// A response that is read as it comes.
async function openStream(test, url) {
  const abort = new AbortController();
  test.after(() => abort.abort());
  const response = await fetch(url, { signal: abort.signal });
  const stream = { response, text: "" };
  const wake = new Set();
  (async () => {
    for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
      stream.text += bytes;
      for (const look of wake) look();
    }
  })().catch(() => { /* ended by the test */ });
  stream.receives = (pattern, timeout = 10_000) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      wake.delete(look);
      reject(new Error(`${pattern} did not arrive within ${timeout} ms: ${JSON.stringify(stream.text)}`));
    }, timeout);
    const look = () => {
      if (!pattern.test(stream.text)) return;
      clearTimeout(timer);
      wake.delete(look);
      resolve();
    };
    wake.add(look);
    look();
  });
  return stream;
}
