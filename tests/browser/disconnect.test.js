// Streams that the application ends: what a browser's EventSource makes of courier-close, and of 204.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { listen, startBrowser, startSite } from "./support/browser.js";
import { Courier, binary, environment } from "./support/courier.js";
import { TEST_OPTIONS } from "./support/process.js";
import { startRedis } from "./support/redis.js";

const run = promisify(execFile);

test("a tab that is disconnected for a time stops for good, and one that is not comes back", TEST_OPTIONS, async (test) => {
  const folder = await mkdtemp(join(tmpdir(), "courier-test-"));
  test.after(() => rm(folder, { recursive: true }));
  const secret = join(folder, "secret");
  await writeFile(secret, "a-secret-for-tests-0123456789\n");
  const redis = await startRedis(test);
  const courier = await Courier.start(test, ["--redis", redis.url, "--public", "test.*", "--retry", "200ms",
    "--control-secret-file", secret]);
  const disconnect = (...words) =>
    run(binary(), ["disconnect", "--redis", redis.url, "--control-secret-file", secret, ...words],
      { env: environment() });
  const [browser, site] = [await startBrowser(test), await startSite(test)];
  const away = await listen(browser, site, courier.events("test.away"));
  const back = await listen(browser, site, courier.events("test.back"));
  for (const tab of [away, back]) await tab.sees("open");

  await disconnect("--channel", "test.away", "--for", "10m");
  await disconnect("--channel", "test.back");
  // Lost as its stream ends, closed as it is answered 204.
  await away.sees("closed");
  await back.counts("open", 2);
  await redis.publisher.publish("test.back", "welcome back");
  await back.sees("message", "welcome back");

  assert.deepEqual((await away.log()).map((entry) => entry.kind), ["open", "close", "lost", "closed"]);
  assert.equal(JSON.parse((await away.log())[1].data).reason, "channel-disconnected");
  assert.deepEqual((await back.log()).map((entry) => entry.kind), ["open", "close", "lost", "open", "message"]);
  assert.equal(await courier.metric("courier_streams_kept_away_total"), 1);
});
