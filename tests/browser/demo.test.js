// The demo page in a real browser, against a courier in try-out mode: no Redis, one broker of its own.
import assert from "node:assert/strict";
import { test } from "node:test";

import { startBrowser } from "./support/browser.js";
import { Courier } from "./support/courier.js";
import { TEST_OPTIONS, freePort } from "./support/process.js";
import { Publisher } from "./support/redis.js";

test("two tabs of the demo page make a chat", TEST_OPTIONS, async (test) => {
  const { courier, browser } = await startTryOut(test);
  const [anna, ben] = [await openDemo(browser, courier, "#room"), await openDemo(browser, courier, "?channel=room")];

  await say(anna, "Hello from the first tab");
  await shows(ben, "Hello from the first tab");
  await say(ben, "<img src=x onerror=alert(1)> & hello back");
  await shows(anna, "<img src=x onerror=alert(1)> & hello back");

  for (const tab of [anna, ben]) {
    assert.deepEqual(await texts(tab), ["Hello from the first tab", "<img src=x onerror=alert(1)> & hello back"]);
    assert.equal(await tab.textContent("#count"), "2");
    assert.equal(await tab.textContent("#last-id"), await tab.evaluate(() => courierDemo.lastId));
    assert.deepEqual(tab.complaints, []);
  }
});

test("what redis-cli would publish into the broker of a try-out courier appears on the demo page", TEST_OPTIONS, async (test) => {
  const { courier, browser, brokerPort } = await startTryOut(test);
  const page = await openDemo(browser, courier, "");
  const publisher = await Publisher.open(brokerPort);
  test.after(() => publisher.close());

  assert.equal(await publisher.publish("elsewhere", "not for this page"), 0);
  for (const text of ["hello", "two\nlines", " leading space", ""]) await publisher.publish("demo", text);
  await page.waitForFunction(() => courierDemo.count === 4, null, { polling: 20 });

  assert.deepEqual(await page.evaluate(() => courierDemo.log.map((entry) => entry.data)),
    ["hello", "two\nlines", " leading space", ""]);
  assert.deepEqual(page.complaints, []);
});

test("the demo page says that it is cut off, comes back by itself and states the gap", TEST_OPTIONS, async (test) => {
  const { courier, browser } = await startTryOut(test);
  const page = await openDemo(browser, courier, "#room");
  await say(page, "before");
  await shows(page, "before");

  await courier.kill();
  await page.waitForFunction(() => courierDemo.state === "reconnecting", null, { polling: 20 });
  assert.match(await page.textContent("#state"), /^(reconnecting, lost \d+ s ago|next try in \d+ s)$/);
  await courier.run();
  await page.waitForFunction(() => courierDemo.state === "live" && courierDemo.gapCount === 1, null, { polling: 20 });
  await say(page, "after");
  await shows(page, "after");

  const rows = await page.$$eval("#list .text", (elements) => elements.map((element) => element.textContent));
  assert.deepEqual(rows,
    ["before", "gap: courier was restarted; messages in between are not known here", "after"]);
});

test("the list of the demo page is bounded, and the channel box changes the channel", TEST_OPTIONS, async (test) => {
  const { courier, browser, brokerPort } = await startTryOut(test);
  const page = await openDemo(browser, courier, "#busy");
  const publisher = await Publisher.open(brokerPort);
  test.after(() => publisher.close());

  await publisher.publishRange("busy", 1, 1200);
  await shows(page, "1200");
  assert.equal(await page.locator("#list li").count(), 500);
  assert.equal(await page.textContent("#count"), "1,200");

  await page.fill("#channel", "quiet room");
  await page.press("#channel", "Enter");
  await page.waitForFunction(() => courierDemo.channel === "quiet room" && courierDemo.state === "live", null,
    { polling: 20 });
  assert.equal(await page.locator("#list li").count(), 0);
  assert.ok(page.url().endsWith("#quiet%20room"));
  await publisher.publish("quiet room", "hush");
  await shows(page, "hush");
});

async function startTryOut(test) {
  const brokerPort = await freePort();
  const courier = await Courier.start(test, ["--broker", `127.0.0.1:${brokerPort}`]);
  return { courier, brokerPort, browser: await startBrowser(test) };
}

async function openDemo(browser, courier, address) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on("console", (message) => { if (message.type() === "error") page.complaints.push(message.text()); });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("dialog", (dialog) => { page.complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(`${courier.origin}/${address}`);
  await page.waitForFunction(() => window.courierDemo.state === "live", null, { polling: 20 });
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

function shows(page, text) {
  return page.locator("#list .text").getByText(text, { exact: true }).last().waitFor();
}

function texts(page) {
  return page.$$eval("#list .text", (elements) => elements.map((element) => element.textContent));
}
