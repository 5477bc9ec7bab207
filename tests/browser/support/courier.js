// A courier of the test's own, on free ports, from the binary that COURIER_BIN names or the newest build.
import { existsSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { Process, freePort, until } from "./process.js";

const READY_MS = 10_000;

export class Courier {
  // `flags` are added to the addresses, as in ["--redis", url, "--public", "news.*"].
  static async start(test, flags) {
    const courier = new Courier(await freePort(), await freePort(), flags);
    test.after(() => courier.process.stop());
    await courier.run();
    return courier;
  }

  constructor(port, adminPort, flags) {
    this.origin = `http://127.0.0.1:${port}`;
    this.admin = `http://127.0.0.1:${adminPort}`;
    this.port = port;
    this.flags = ["--listen", `127.0.0.1:${port}`, "--admin", `127.0.0.1:${adminPort}`, "--shards", "2", ...flags];
  }

  // Starts the process, also after a `kill`, on the same addresses; resolves once it may get clients.
  async run() {
    this.process = new Process("courier", binary(), this.flags, { env: environment() });
    await until("/readyz answers 200", READY_MS, async () => (await fetch(`${this.admin}/readyz`)).status === 200,
      [this.process]);
  }

  // As by the kernel, in the middle of whatever it does.
  async kill() {
    await this.process.signal("SIGKILL");
  }

  events(...channels) {
    return `${this.origin}/events?${channels.map((channel) => `channel=${encodeURIComponent(channel)}`).join("&")}`;
  }

  async metric(name) {
    const text = await (await fetch(`${this.admin}/metrics`)).text();
    return text.split("\n").filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
  }
}

// Without the variables that courier would take for options of its own, COURIER_BIN among them.
export function environment() {
  return Object.fromEntries(Object.entries(process.env)
    .filter(([name]) => !name.startsWith("COURIER_") && name !== "REDIS_URL"));
}

export function binary() {
  if (process.env.COURIER_BIN) return process.env.COURIER_BIN;
  const built = ["release", "debug"]
    .map((profile) => fileURLToPath(new URL(`../../../target/${profile}/courier`, import.meta.url)))
    .filter((path) => existsSync(path))
    .sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs);
  if (!built.length) throw new Error("there is no courier binary: run cargo build, or set COURIER_BIN");
  return built[0];
}
