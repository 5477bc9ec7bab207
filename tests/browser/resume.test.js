// What a browser sees of a courier that dies: numbers rise, and whatever is missing lies in a gap that was stated.
import assert from "node:assert/strict";
import { test } from "node:test";

import { listen, startBrowser, startSite } from "./support/browser.js";
import { Courier } from "./support/courier.js";
import { TEST_OPTIONS } from "./support/process.js";
import { startRedis } from "./support/redis.js";

const LIVE_AGAIN_MS = 10_000;
const CHANNEL = "test.numbers";

test("two tabs miss nothing silently when courier is killed in the middle of a thousand messages", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*"]);
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const tabs = [await listen(browser, site, courier.events(CHANNEL)), await listen(browser, site, courier.events(CHANNEL))];
  for (const tab of tabs) await tab.sees("open");

  await redis.publisher.publishRange(CHANNEL, 1, 500);
  await courier.kill();
  const killedAt = Date.now();
  await redis.publisher.publishRange(CHANNEL, 501, 600);    // nobody listens
  await courier.run();
  await redis.publisher.publishRange(CHANNEL, 601, 700);    // courier listens for nobody, or for the first tab
  for (const tab of tabs) await tab.counts("open", 2, { timeout: LIVE_AGAIN_MS });
  await redis.publisher.publishRange(CHANNEL, 701, 1000);
  for (const tab of tabs) await tab.sees("message", 1000);

  for (const tab of tabs) {
    const log = await tab.log();
    assertRisesWithStatedGaps(log);
    const again = log.find((entry) => entry.kind === "message" && Number(entry.data) > 600);
    assert.ok(again.at - killedAt < LIVE_AGAIN_MS, `live again after ${again.at - killedAt} ms`);
    assert.deepEqual(numbers(log).filter((number) => number > 700), range(701, 1000), "nothing is missing once live");
    assert.equal(log.filter((entry) => entry.kind === "gap").length, 1, "a gap is stated once, not at every reconnect");
    assert.deepEqual(JSON.parse(log.find((entry) => entry.kind === "gap").data).reason, "unknown-epoch");
  }
});

test("a tab that was cut off resumes from its last id without a hole, a repeat or a gap", TEST_OPTIONS, async (test) => {
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*"]);
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const stays = await listen(browser, site, courier.events(CHANNEL));
  const leaves = await listen(browser, site, courier.events(CHANNEL));
  for (const tab of [stays, leaves]) await tab.sees("open");
  await redis.publisher.publishRange(CHANNEL, 1, 10);
  await leaves.sees("message", 10);
  const last = (await leaves.log()).findLast((entry) => entry.kind === "message").id;
  await leaves.page.evaluate(() => window.source.close());

  await redis.publisher.publishRange(CHANNEL, 11, 60);
  await stays.sees("message", 60);
  const back = await listen(browser, site, `${courier.events(CHANNEL)}&last_event_id=${encodeURIComponent(last)}`);
  await back.sees("message", 60);
  await redis.publisher.publishRange(CHANNEL, 61, 70);
  await back.sees("message", 70);

  const log = await back.log();
  assert.deepEqual(numbers(log), range(11, 70));
  assert.deepEqual(log.filter((entry) => entry.kind === "gap"), []);
});

// A hole between two neighbours is allowed exactly where a gap stands between them.
function assertRisesWithStatedGaps(log) {
  let previous = 0;
  let gapStated = false;
  for (const entry of log) {
    if (entry.kind === "gap") gapStated = true;
    if (entry.kind !== "message") continue;
    const number = Number(entry.data);
    assert.ok(number > previous, `${number} came after ${previous}`);
    assert.ok(number === previous + 1 || gapStated, `${previous + 1} to ${number - 1} are missing and no gap says so`);
    previous = number;
    gapStated = false;
  }
}

function numbers(log) {
  return log.filter((entry) => entry.kind === "message").map((entry) => Number(entry.data));
}

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
