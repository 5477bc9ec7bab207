// Child processes of a test: started with their output kept, stopped by their own handle, never by name.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const OUTPUT_CHARACTERS_MAX = 64 * 1024;
const STOP_MS = 5_000;

// No test waits for ever, whatever it forgot to bound by itself.
export const TEST_OPTIONS = { timeout: 90_000 };

// What is still running when the test process ends, for whatever reason.
const running = new Set();
process.on("exit", () => { for (const child of running) child.kill("SIGKILL"); });

export class Process {
  constructor(name, command, args, options = {}) {
    this.name = name;
    this.output = "";
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    running.add(this.child);
    const keep = (text) => { this.output = (this.output + text).slice(-OUTPUT_CHARACTERS_MAX); };
    this.child.stdout.setEncoding("utf8").on("data", keep);
    this.child.stderr.setEncoding("utf8").on("data", keep);
    this.ended = new Promise((resolve) => {
      this.child.on("error", (error) => { running.delete(this.child); keep(String(error)); resolve({ error }); });
      this.child.on("exit", (code, signal) => { running.delete(this.child); resolve({ code, signal }); });
    });
  }

  get isRunning() { return running.has(this.child); }

  async signal(signal) {
    this.child.kill(signal);
    return this.ended;
  }

  // Ends it in good order, or by force after a while.
  async stop() {
    if (!this.isRunning) return;
    const force = setTimeout(() => this.child.kill("SIGKILL"), STOP_MS);
    await this.signal("SIGTERM");
    clearTimeout(force);
  }
}

// Looks until `probe` gives something true, and fails with `what` and the outputs once the deadline has passed.
export async function until(what, deadlineMs, probe, processes = []) {
  const end = Date.now() + deadlineMs;
  let last;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    const gone = processes.find((process) => !process.isRunning);
    if (gone || Date.now() > end) {
      const outputs = processes.map((process) => `\n--- ${process.name}:\n${process.output}`).join("");
      throw new Error(`${gone ? `${gone.name} ended before` : `after ${deadlineMs} ms, still not`}: ${what} (${last})${outputs}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export function temporaryDirectory(test) {
  const path = mkdtempSync(join(tmpdir(), "courier-browser-"));
  test.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
