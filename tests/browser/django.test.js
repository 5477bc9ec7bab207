// The script of the Django package, django/courier_django/static/courier_django/events.js, in a real browser: tabs that share
// one connection, and miss and repeat nothing by it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";

import { startBrowser } from "./support/browser.js";
import { Courier, binary, environment } from "./support/courier.js";
import { TEST_OPTIONS, temporaryDirectory, until } from "./support/process.js";
import { startRedis } from "./support/redis.js";

const SCRIPT = readFileSync(new URL("../../django/courier_django/static/courier_django/events.js", import.meta.url));
const RULES = `
[[channels]]
match = "secret.*"
access = "closed"
[[channels]]
match = "named.*"
access = "public"
payload = "envelope"
[[channels]]
match = "*"
access = "public"
history = { count = 2000, bytes = "4MiB", age = "1m" }
`;

test("a page hears its channels, with their names, ids and values", TEST_OPTIONS, async (test) => {
  const { site, courier, context, publisher } = await start(test);
  const tab = await open(context, site, courier, ["named.a", "b"]);
  await publisher.publish("named.a", '{"data":{"text":"hällo"},"event":"goal"}');
  await publisher.publish("b", "one\ntwo");
  await tab.sees(2);
  const [goal, plain] = await tab.messages();
  assert.deepEqual([goal.type, goal.channel, goal.value], ["goal", "named.a", { text: "hällo" }]);
  assert.deepEqual([plain.type, plain.channel, plain.data, plain.value], ["message", "b", "one\ntwo", "one\ntwo"]);
  assert.match(plain.id, /^[a-z0-9]+\.[0-9]+$/);
  assert.deepEqual(tab.complaints, []);
});

for (const [kind, flags] of [["a worker", ""], ["an elected tab", "&worker=none"]]) {
  test(`tabs with channels of their own share one connection by ${kind}`, TEST_OPTIONS, async (test) => {
    const { site, courier, context, publisher } = await start(test);
    const tabs = [];
    // More than the six connections that a browser has for one host.
    for (let number = 0; number < 8; number += 1) tabs.push(await open(context, site, courier, [`room.${number}`, "all"], flags));
    await until("one connection is left", 10_000, async () => await subscriptions(courier) === 9);
    for (let number = 0; number < 8; number += 1) await publisher.publish(`room.${number}`, `for ${number}`);
    await publisher.publish("all", "for all");
    for (const [number, tab] of tabs.entries()) {
      await tab.sees(2);
      assert.deepEqual((await tab.messages()).map((entry) => entry.data), [`for ${number}`, "for all"]);
      assert.deepEqual(await tab.kinds("gap"), []);
    }
  });

  test(`tabs that come and go while messages flow miss and repeat none, by ${kind}`, TEST_OPTIONS, async (test) => {
    const { site, courier, context, publisher } = await start(test);
    const tabs = [];
    let [running, last] = [true, 0];
    const stream = (async () => {
      while (running) {
        last += 1;
        await publisher.publish("all", last);
        await publisher.publish(`room.${last % 4}`, last);
        if (last % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    try {
      for (let number = 0; number < 4; number += 1) tabs.push(await open(context, site, courier, [`room.${number}`, "all"], flags));
      // Of the election's tabs the first is the hub.
      await tabs.shift().page.close();
      tabs.push(await open(context, site, courier, ["all", "room.0"], flags));
      const mark = last;
      for (const tab of tabs) await tab.sees(1, (entry) => entry.channel === "all" && Number(entry.data) > mark + 200);
    } finally {
      running = false;
      await stream;
    }
    await publisher.publish("all", "end");
    for (const tab of tabs) {
      await tab.sees(1, (entry) => entry.data === "end");
      assert.deepEqual(await tab.kinds("gap"), []);
      const messages = await tab.messages();
      for (const channel of new Set(messages.map((entry) => entry.channel))) {
        const numbers = messages.filter((entry) => entry.channel === channel && entry.data !== "end").map((entry) => Number(entry.data));
        const step = channel === "all" ? 1 : 4;
        numbers.forEach((number, index) => assert.equal(number, numbers[0] + index * step, `${channel} of ${numbers.length}`));
      }
    }
  });
}

test("a page goes on after its reload where it was, and begins with history if it asks for it", TEST_OPTIONS, async (test) => {
  const { site, courier, context, publisher } = await start(test);
  const tab = await open(context, site, courier, ["a"], "&resume=1&history=2");
  await publisher.publish("a", 1);
  await tab.sees(1);
  await tab.page.goto("about:blank");
  await publisher.publishRange("a", 2, 4);
  await tab.page.goto(tab.address);
  await tab.sees(3);
  assert.deepEqual((await tab.messages()).map((entry) => entry.data), ["2", "3", "4"]);

  const other = await open(context, site, courier, ["a"], "&history=2");
  await other.sees(2);
  assert.deepEqual((await other.messages()).map((entry) => entry.data), ["3", "4"]);
  await publisher.publish("a", 5);
  for (const one of [tab, other]) await one.sees(1, (entry) => entry.data === "5");
  assert.deepEqual((await other.messages()).map((entry) => entry.data), ["3", "4", "5"]);
});

test("a restart of courier is a stated gap for every tab, and all go on", TEST_OPTIONS, async (test) => {
  const { site, courier, context, publisher } = await start(test);
  const tabs = [await open(context, site, courier, ["a"]), await open(context, site, courier, ["b"])];
  await publisher.publish("a", "before");
  await tabs[0].sees(1);
  await courier.kill();
  await courier.run();
  for (const tab of tabs) await tab.page.waitForFunction(() => log.some((entry) => entry.kind === "gap"), null, { polling: 20 });
  await publisher.publish("a", "after");
  await publisher.publish("b", "after");
  for (const tab of tabs) await tab.sees(1, (entry) => entry.data === "after");
  assert.deepEqual((await tabs[0].kinds("gap")).map((entry) => entry.value.reason), ["unknown-epoch"]);
});

test("a refused page is told why, and those who share its connection are not concerned", TEST_OPTIONS, async (test) => {
  const { site, courier, context, publisher } = await start(test);
  const good = await open(context, site, courier, ["a"]);
  const bad = await open(context, site, courier, ["secret.b"], "&wait=refused");
  const [{ detail }] = await bad.kinds("refused");
  assert.deepEqual([detail.status, detail.code], [403, "channel-not-open"]);
  await publisher.publish("a", 1);
  await good.sees(1);
});

test("a page whose channel is closed stops, and those who share its connection go on", TEST_OPTIONS, async (test) => {
  const secret = join(temporaryDirectory(test), "secret");
  writeFileSync(secret, "a secret of the tests, long enough for anybody", { mode: 0o600 });
  const { site, courier, context, publisher, redis } = await start(test, `[control]\nsecret_file = "${secret}"\n${RULES}`);
  const [good, closed] = [await open(context, site, courier, ["a"]), await open(context, site, courier, ["b"])];
  await until("one connection has both", 10_000, async () => await subscriptions(courier) === 2);
  const order = ["disconnect", "--channel", "b", "--for", "10m", "--redis", redis.url, "--control-secret-file", secret];
  execFileSync(binary(), order, { env: environment(), timeout: 10_000 });
  await closed.page.waitForFunction(() => log.some((entry) => entry.kind === "refused"), null, { polling: 20 });
  assert.deepEqual((await closed.kinds("refused")).map(({ detail }) => detail.status), [204]);
  await good.page.waitForFunction(() => events.readyState === 1, null, { polling: 20 });
  await publisher.publish("a", 1);
  await good.sees(1);
  assert.deepEqual(await good.kinds("gap"), []);
});

test("a page whose grant has expired goes on with a new token", TEST_OPTIONS, async (test) => {
  // An application that lets in who has the newest token, each time for a moment.
  let issued = 0;
  const asked = [];
  const application = await serve(test, async (request) => {
    if (request.url === "/token") return { token: `t${issued += 1}` };
    const question = JSON.parse(await body(request));
    asked.push(question.headers?.authorization);
    return asked.at(-1) === `Bearer t${issued}` ? { channels: question.channels, expires: Date.now() / 1_000 + 1 } : 401;
  });
  const { site, courier, context, publisher } = await start(test, `
[callback]
url = "${application}/ask"
headers = ["authorization"]
[[channels]]
match = "*"
access = "callback"
`);
  const tab = await open(context, site, courier, ["a"], `&token=${encodeURIComponent(`${application}/token`)}`);
  for (let number = 1; number <= 3; number += 1) {
    await publisher.publish("a", number);
    await tab.sees(number);
    const before = issued;
    await until("the grant has been renewed", 10_000, () => issued > before);
  }
  await publisher.publish("a", 4);
  await tab.sees(4);
  assert.deepEqual((await tab.messages()).map((entry) => entry.data), ["1", "2", "3", "4"]);
  assert.deepEqual(await tab.kinds("gap"), []);
  assert.ok(asked.length >= 4 && !asked.includes(undefined), asked.join());
});

test("the element tells its events to the whole page, without the prefix", TEST_OPTIONS, async (test) => {
  const { site, courier, context, publisher } = await start(test);
  const page = await context.newPage();
  await page.goto(`${site}/element?src=${encodeURIComponent(courier.events("shop.a"))}`);
  await page.waitForFunction(() => log.some((entry) => entry.type === "courier:open"), null, { polling: 20 });
  await publisher.publish("shop.a", '{"n":1}');
  await page.waitForFunction(() => log.length === 2, null, { polling: 20 });
  const { type, detail } = await page.evaluate(() => log[1]);
  assert.equal(type, "courier:message");
  assert.deepEqual([detail.channel, detail.event, detail.data, detail.value], ["a", "message", '{"n":1}', { n: 1 }]);
  await page.evaluate(() => document.querySelector("courier-events").remove());
  await until("its connection is closed", 10_000, async () => await subscriptions(courier) === 0);
});

async function start(test, configuration = RULES) {
  const redis = await startRedis(test);
  const rules = join(temporaryDirectory(test), "courier.toml");
  writeFileSync(rules, configuration);
  const courier = await Courier.start(test, ["--redis", redis.url, "--config", rules, "--retry", "100ms"]);
  const browser = await startBrowser(test);
  return { courier, redis, publisher: redis.publisher, site: await startSite(test), context: await browser.newContext() };
}

// Channels, counted for each connection that has them.
function subscriptions(courier) { return courier.metric("courier_subscriptions"); }

// A server whose answers are JSON, or a status; pages of any origin may read them.
async function serve(test, answer) {
  const server = createServer(async (request, response) => {
    const found = await answer(request);
    const status = typeof found === "number" ? found : 200;
    response.writeHead(status, { "Content-Type": "application/json", "Access-Control-Allow-Origin": "*" });
    response.end(JSON.stringify(found));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

async function body(request) {
  let text = "";
  for await (const piece of request.setEncoding("utf8")) text += piece;
  return text;
}

async function startSite(test) {
  const server = createServer((request, response) => {
    const path = request.url.split("?")[0];
    const [type, body] = path === "/events.js" ? ["text/javascript", SCRIPT]
      : path === "/element" ? ["text/html; charset=utf-8", elementPage(request.url)] : ["text/html; charset=utf-8", PAGE];
    response.writeHead(200, { "Content-Type": type });
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  test.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

const PAGE = `<!doctype html><title>listener</title><script>
  window.log = [];
  const query = new URLSearchParams(location.search);
  if (query.get("worker") === "none") delete window.SharedWorker;
</script><script type="module">
  import { CourierEvents } from "/events.js";
  const events = window.events = new CourierEvents(query.get("stream"), {
    resume: query.has("resume"), history: Number(query.get("history") ?? 0), token: query.get("token") });
  events.addEventListener("open", () => log.push({ kind: "open" }));
  events.addEventListener("courier-refused", ({ detail }) => log.push({ kind: "refused", detail }));
  events.hear(({ type, channel, data, value, lastEventId }) =>
    log.push({ kind: type === "courier-gap" ? "gap" : "message", type, channel, data, value, id: lastEventId }));
</script>`;

function elementPage(url) {
  const src = new URL(url, "http://x").searchParams.get("src").replaceAll("&", "&amp;");
  return `<!doctype html><title>element</title><script>
    window.log = [];
    for (const name of ["open", "message", "gap", "lost", "refused"])
      document.addEventListener("courier:" + name, ({ type, detail }) => log.push({ type, detail }));
  </script><script type="module" src="/events.js"></script>
  <courier-events src="${src}" prefix="shop."></courier-events>`;
}

async function open(context, site, courier, channels, flags = "") {
  const page = await context.newPage();
  const address = `${site}/?stream=${encodeURIComponent(courier.events(...channels))}${flags}`;
  const tab = new Tab(page, address);
  page.on("console", (message) => { if (message.type() === "error") tab.complaints.push(message.text()); });
  page.on("pageerror", (error) => tab.complaints.push(String(error)));
  await page.goto(address);
  const kind = new URLSearchParams(flags).get("wait") ?? "open";
  try {
    await page.waitForFunction((kind) => log.some((entry) => entry.kind === kind), kind, { polling: 20, timeout: 15_000 });
  } catch (error) {
    throw new Error(`no ${kind}: ${JSON.stringify(await page.evaluate(() => log))} ${tab.complaints.join("\n")}`, { cause: error });
  }
  return tab;
}

class Tab {
  constructor(page, address) { Object.assign(this, { page, address, complaints: [] }); }

  kinds(kind) { return this.page.evaluate((kind) => log.filter((entry) => entry.kind === kind), kind); }

  messages() { return this.kinds("message"); }

  // Resolves once so many messages that fulfil the condition are there.
  async sees(count, condition = () => true) {
    await until(`${count} messages`, 15_000, async () => (await this.messages()).filter(condition).length >= count);
  }
}
