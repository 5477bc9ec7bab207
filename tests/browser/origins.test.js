// Pages of other origins: who may listen, and what they may read of a refusal.
import assert from "node:assert/strict";
import { test } from "node:test";

import { listen, startBrowser, startSite } from "./support/browser.js";
import { Courier } from "./support/courier.js";
import { TEST_OPTIONS } from "./support/process.js";
import { startRedis } from "./support/redis.js";

test("while every channel is public, a page of any origin may listen", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*"]);
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const tab = await listen(browser, site, courier.events("test.one", "test.two"));
  await tab.sees("open");
  await redis.publisher.publish("test.two", "across origins");
  await tab.sees("message", "across origins");
});

test("a page of any origin can read why it was refused", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*"]);
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const page = await browser.newPage();
  await page.goto(site);
  const refusal = await page.evaluate(async (url) => {
    const answer = await fetch(url);
    return { status: answer.status, type: answer.headers.get("content-type"), problem: await answer.json() };
  }, courier.events("closed"));
  assert.equal(refusal.status, 403);
  assert.equal(refusal.type, "application/problem+json");
  assert.equal(refusal.problem.code, "channel-not-open");

  // EventSource gives up for good on such an answer.
  const tab = await listen(browser, site, courier.events("closed"));
  await tab.sees("closed");
});

test("with --allowed-origins, listed pages may listen and others are kept out by the browser", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const [friend, stranger] = [await startSite(test), await startSite(test)];
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*", "--allowed-origins", friend]);
  const browser = await startBrowser(test);
  const [listed, unlisted] = [await listen(browser, friend, courier.events("test.one")),
    await listen(browser, stranger, courier.events("test.one"))];
  await listed.sees("open");
  await unlisted.sees("closed");
  await redis.publisher.publish("test.one", "for listed pages");
  await listed.sees("message", "for listed pages");
  assert.deepEqual((await unlisted.log()).map((entry) => entry.kind), ["closed"]);
});
