// A real redis-server, and just enough of a client to publish into it.
import { connect } from "node:net";

import { Process, freePort, temporaryDirectory, until } from "./process.js";

export async function startRedis(test) {
  const port = await freePort();
  const directory = temporaryDirectory(test);
  const server = new Process("redis-server", "redis-server",
    ["--port", port, "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "no"].map(String));
  test.after(() => server.stop());
  const publisher = await until("redis-server answers", 10_000, () => Publisher.open(port), [server]);
  test.after(() => publisher.close());
  return { url: `redis://127.0.0.1:${port}`, publisher };
}

export class Publisher {
  static open(port) {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => resolve(new Publisher(socket))).on("error", reject);
    });
  }

  constructor(socket) {
    this.socket = socket;
    this.received = "";
    this.waiting = [];
    socket.setNoDelay(true).setEncoding("utf8").on("data", (text) => this.#receive(text));
  }

  // Resolves with the number of Redis subscribers that took the message.
  publish(channel, payload) {
    const command = ["PUBLISH", channel, String(payload)];
    this.socket.write(`*3\r\n${command.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`);
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  async publishRange(channel, first, last) {
    for (let number = first; number <= last; number += 1) await this.publish(channel, number);
  }

  close() { this.socket.destroy(); }

  // PUBLISH is answered with `:2\r\n`, or an error line.
  #receive(text) {
    const lines = (this.received + text).split("\r\n");
    this.received = lines.pop();
    for (const line of lines) {
      const { resolve, reject } = this.waiting.shift();
      if (line.startsWith(":")) resolve(Number(line.slice(1)));
      else reject(new Error(line));
    }
  }
}
