// The example examples/chat, as its users have it: Django, courier beside it with a broker of its own, and Chromium.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { startBrowser } from "./support/browser.js";
import { binary, environment } from "./support/courier.js";
import { Process, TEST_OPTIONS, freePort, temporaryDirectory, until } from "./support/process.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
// Made by django/tests/run.
const PYTHON = join(ROOT, "django/.venvs/django-5.2/bin/python");

test("two people talk, a third is not let in, and a restart of courier is told", TEST_OPTIONS, async (test) => {
  const chat = await startChat(test);
  const [anna, ben, cleo] = [await logIn(chat, "anna"), await logIn(chat, "ben"), await logIn(chat, "cleo")];

  await enter(anna, chat, "kitchen");
  await enter(ben, chat, "kitchen");
  assert.equal((await cleo.goto(`${chat.origin}/rooms/kitchen/`)).status(), 403);
  const stream = `http://127.0.0.1:${chat.eventsPort}/events?channel=chat.kitchen`;
  assert.equal(await cleo.evaluate((url) => fetch(url, { credentials: "include" }).then(({ status }) => status), stream), 403);
  await enter(cleo, chat, "lobby");

  await say(anna, "hello <b>Ben</b>");
  await say(ben, "hello Anna");
  for (const page of [anna, ben]) await hears(page, ["anna hello <b>Ben</b>", "ben hello Anna"]);
  await say(ben, "@cleo psst");
  await hears(cleo, ["ben psst"]);
  await hears(ben, ["anna hello <b>Ben</b>", "ben hello Anna", "to cleo psst"]);

  // Nothing stores what was said but courier's history.
  await anna.reload();
  await hears(anna, ["anna hello <b>Ben</b>", "ben hello Anna"]);

  await chat.courier.signal("SIGKILL");
  for (const page of [anna, ben, cleo]) await shows(page, "reconnecting");
  await say(anna, "into the dark");
  await anna.locator("#log .gap", { hasText: "That was not sent." }).waitFor();
  await chat.startCourier();
  for (const page of [anna, ben, cleo]) await shows(page, "live");
  for (const page of [anna, ben]) await page.locator("#log .gap", { hasText: "may be missing" }).waitFor();
  await anna.click("#say button");
  await say(ben, "light again");
  for (const page of [anna, ben]) {
    await page.locator("#log li", { hasText: "light again" }).waitFor();
    const texts = await lines(page);
    assert.deepEqual(texts.slice(-2), ["anna into the dark", "ben light again"]);
  }
  assert.deepEqual([anna, ben, cleo].flatMap((page) => page.complaints), []);
});

async function startChat(test) {
  const [port, eventsPort, adminPort, brokerPort] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const options = {
    cwd: join(ROOT, "examples/chat"),
    env: {
      ...environment(), PYTHONPATH: join(ROOT, "django"), PYTHONUNBUFFERED: "1", PYTHONDONTWRITEBYTECODE: "1",
      CHAT_PORT: port, CHAT_EVENTS_PORT: eventsPort, CHAT_ADMIN_PORT: adminPort, CHAT_BROKER_PORT: brokerPort,
      CHAT_DATABASE: join(temporaryDirectory(test), "chat.sqlite3"),
    },
  };
  for (const command of [["migrate", "--verbosity", "0"], ["demo"]]) {
    execFileSync(PYTHON, ["manage.py", ...command], { ...options, timeout: 30_000 });
  }
  const chat = { origin: `http://127.0.0.1:${port}`, eventsPort, browser: await startBrowser(test) };
  const server = new Process("Django", PYTHON, ["manage.py", "runserver", "--noreload", `127.0.0.1:${port}`], options);
  test.after(() => server.stop());
  chat.startCourier = async () => {
    const courier = new Process("runcourier", PYTHON,
      ["manage.py", "runcourier", "--binary", binary(), "--", "--shards", "2", "--retry", "100ms"], options);
    test.after(() => courier.stop());
    chat.courier = courier;
    await until("courier is ready", 20_000,
      async () => (await fetch(`http://127.0.0.1:${adminPort}/readyz`)).status === 200, [courier]);
  };
  await chat.startCourier();
  await until("Django answers", 20_000, async () => (await fetch(`${chat.origin}/login/`)).status === 200, [server]);
  return chat;
}

// A browser of one's own: no cookie of another's.
async function logIn(chat, name) {
  const page = await (await chat.browser.newContext()).newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(`${chat.origin}/login/`);
  await page.fill("[name=username]", name);
  await page.fill("[name=password]", "courier");
  await page.click("main button");
  await page.waitForURL(`${chat.origin}/`);
  return page;
}

async function enter(page, chat, room) {
  await page.goto(`${chat.origin}/rooms/${room}/`);
  await shows(page, "live");
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

function shows(page, state) {
  return page.waitForFunction((state) => document.querySelector("#state").textContent === state, state, { polling: 20 });
}

function lines(page) {
  return page.$$eval("#log li", (elements) => elements.map((line) =>
    [...line.children].filter(({ localName }) => localName !== "time").map(({ textContent }) => textContent).join(" ")));
}

async function hears(page, expected) {
  await until(`${expected.length} lines`, 10_000, async () => (await lines(page)).length >= expected.length);
  assert.deepEqual(await lines(page), expected);
}
