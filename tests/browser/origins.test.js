// Pages of other origins: who may listen, and what they may read of a refusal.
import assert from "node:assert/strict";
import { test } from "node:test";

import { listen, startBrowser, startSite } from "./support/browser.js";
import { Courier } from "./support/courier.js";
import { TEST_OPTIONS, until } from "./support/process.js";
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

test("with credentials a listed page may listen, and only if the operator allows them", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const [friend, stranger] = [await startSite(test), await startSite(test)];
  const flags = ["--redis", redis.url, "--public", "test.*", "--allowed-origins", friend];
  const [allowing, other] = [await Courier.start(test, [...flags, "--http-allow-credentials", "yes"]),
    await Courier.start(test, flags)];
  const browser = await startBrowser(test);
  const withCookies = (site, courier) => listen(browser, site, courier.events("test.one"), { credentials: true });
  const [listed, unlisted, forbidden] = [await withCookies(friend, allowing), await withCookies(stranger, allowing),
    await withCookies(friend, other)];
  await listed.sees("open");
  await unlisted.sees("closed");
  await forbidden.sees("closed");
  await redis.publisher.publish("test.one", "with cookies");
  await listed.sees("message", "with cookies");
});

test("a client that comes when its address has too many comes back by itself when there is room", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*", "--retry", "200ms",
    "--limits-connections-per-address", "1"]);
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const first = await listen(browser, site, courier.events("test.one"));
  await first.sees("open");
  const second = await listen(browser, site, courier.events("test.one"));
  await second.counts("lost", 2);
  await first.page.close();
  await until("the second hears", 10_000, async () => {
    await redis.publisher.publish("test.one", "there is room");
    return (await second.log()).some((entry) => entry.kind === "message");
  });
});
