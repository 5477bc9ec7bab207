// courier's streams for pages: one connection for all tabs of a browser, resumed without holes.
//
//   const events = new CourierEvents("/events?channel=orders.7");
//   events.addEventListener("message", (event) => console.log(event.channel, event.data));
//
// Used as an EventSource is, and imported from wherever the site has this file. Behind it stands a hub, in a SharedWorker;
// where there is none, in the tab that the browser's locks elect, which the others reach by a BroadcastChannel; where there
// is neither, in the page itself. This file is the module and the worker's script in one and imports nothing, although it is
// long for that: so it may be renamed, as by ManifestStaticFilesStorage, which does not look into modules.
//
// The hub reads streams by fetch, since an EventSource tells neither why it was refused nor the id that a stream opens
// with. That id is what lets the hub put channels of several tabs on one connection without losing or repeating a
// message: it opens one stream for all of them behind the older of two positions, and passes over what a tab has seen.

const CHANNELS_MAX = 64; // Of one stream, as courier has it.
const RETRY_MS = 2_000;
const BACKOFF_MAX_MS = 30_000;
const TOKEN_MS = 10_000;
const WORKER_MS = 5_000;
// After how long a stream that has told no id counts as open.
const LATE_MS = 3_000;
// How long streams stay apart that may not be one.
const APART_MS = 60_000;
// How long after a merge its replay may take to show what it overlaps with.
const OVERLAP_MS = 1_000;

export class CourierEvents extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;

  #line;
  #storageKey;
  #options;
  #hearers = [];

  // url: a stream of courier, such as /events?channel=a&channel=b. Options:
  //   history      begin with so many of each channel's last messages
  //   resume       go on after a reload of the page where this tab was (true), or behind an id (a string)
  //   share        false: a connection of this page's own
  //   token        where a bearer token comes from: a function, or an URL that answers {"token": ".."}
  //   credentials  send cookies to another origin, too
  //   prefix       what the names in the URL begin with, and those in events shall not
  //   scope        whoever is logged in: tabs of different users share nothing
  constructor(url, options = {}) {
    super();
    const target = new URL(url, document.baseURI);
    this.#options = options;
    this.url = target.href;
    const channels = [...new Set(target.searchParams.getAll("channel"))];
    this.channels = channels.map((name) => name.slice((options.prefix ?? "").length));
    target.searchParams.delete("channel");
    this.readyState = CourierEvents.CONNECTING;
    this.lastEventId = "";
    this.#storageKey = `courier ${options.scope ?? ""} ${this.url}`;
    const { resume } = options;
    const from = typeof resume === "string" ? resume : resume ? sessionStorage.getItem(this.#storageKey) : null;
    this.#line = new Line(target.href, options, (message) => this.#receive(message), () => ({
      type: "add",
      channels,
      from: this.lastEventId || from || "",
      history: this.lastEventId ? 0 : options.history ?? 0,
      hasToken: Boolean(options.token),
    }));
  }

  // Every message and gap, whatever its name.
  hear(listener) { this.#hearers.push(listener); }

  close() {
    if (this.readyState === CourierEvents.CLOSED) return;
    this.readyState = CourierEvents.CLOSED;
    this.#line.close();
  }

  #receive(message) {
    if (this.readyState === CourierEvents.CLOSED) return;
    switch (message.type) {
      case "open":
        this.readyState = CourierEvents.OPEN;
        this.#seen(message.id);
        this.dispatchEvent(new Event("open"));
        break;
      case "lost":
        this.readyState = CourierEvents.CONNECTING;
        this.dispatchEvent(new Event("error"));
        break;
      case "end":
        this.close();
        this.dispatchEvent(new CustomEvent("courier-refused", { detail: message.detail }));
        break;
      case "token":
        bearer(this.#options.token).then((token) => this.#line.send({ type: "token", token }),
          (error) => this.#line.send({ type: "token", token: null, error: String(error) }));
        break;
      case "event": {
        this.#seen(message.id);
        const channel = message.channel.slice((this.#options.prefix ?? "").length);
        const event = new ChannelEvent(message.name, { data: message.data, lastEventId: message.id, channel });
        for (const listener of this.#hearers) listener(event);
        this.dispatchEvent(event);
      }
    }
  }

  #seen(id) {
    // A connection that several tabs share may have opened behind an older one.
    const [known, found] = [parsePosition(this.lastEventId), parsePosition(id ?? "")];
    if (!id || (known && found && known.epoch === found.epoch && found.n < known.n)) return;
    this.lastEventId = id;
    if (this.#options.resume === true) sessionStorage.setItem(this.#storageKey, id);
  }
}

export class ChannelEvent extends MessageEvent {
  constructor(type, { channel, ...init }) {
    super(type, init);
    this.channel = channel;
  }

  // The data as what it was published as; a text that is no JSON is itself.
  get value() {
    try {
      return JSON.parse(this.data);
    } catch {
      return this.data;
    }
  }
}

async function bearer(source) {
  if (typeof source === "function") return source();
  const response = await fetch(source, { credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw new Error(`${source} answered ${response.status}`);
  return (await response.json()).token;
}

// The way from a page to its hub, whatever stands in between. `introduce` makes what a hub has to know, again for each hub.
class Line {
  #deliver;
  #introduce;
  #name;
  #base;
  #options;
  #key = crypto.randomUUID?.() ?? `${Math.random()}`.slice(2);
  #closing = new AbortController();
  #held;
  #post = () => {};

  constructor(base, options, deliver, introduce) {
    this.#base = base;
    this.#options = { credentials: options.credentials ? "include" : "same-origin" };
    this.#name = `courier ${base} ${options.credentials ? "include" : ""} ${options.scope ?? ""}`;
    this.#deliver = deliver;
    this.#introduce = introduce;
    // Whoever gets this lock from the page knows that the page is gone, however it went.
    this.#held = new Promise((resolve) => {
      if (!navigator.locks) resolve();
      navigator.locks?.request(this.#key, { signal: this.#closing.signal }, () => {
        resolve();
        return never(this.#closing.signal);
      }).catch(() => {});
    });
    addEventListener("pagehide", () => this.send({ type: "remove" }), { signal: this.#closing.signal });
    addEventListener("pageshow", (event) => { if (event.persisted) this.#meet(); }, { signal: this.#closing.signal });
    if (options.share === false) this.#byPage();
    else if (typeof SharedWorker === "function") this.#byWorker();
    else this.#withoutWorker();
  }

  send(message) { this.#post({ key: this.#key, ...message }); }

  close() {
    this.send({ type: "remove" });
    this.#closing.abort();
  }

  async #meet() {
    // Not before: the hub would get the lock at once.
    await this.#held;
    if (!this.#closing.signal.aborted) this.send(this.#introduce());
  }

  #receive(message) {
    if (message.to === this.#key && !this.#closing.signal.aborted) this.#deliver(message);
  }

  #byWorker() {
    const { signal } = this.#closing;
    let worker;
    try {
      worker = new SharedWorker(import.meta.url, { type: "module", name: this.#name });
    } catch {
      // A script from another origin, such as a CDN, cannot be a worker.
      this.#withoutWorker();
      return;
    }
    let greeted = false;
    const giveUp = () => {
      if (greeted || signal.aborted) return;
      greeted = true;
      worker.port.close();
      this.#withoutWorker();
    };
    const timer = setTimeout(giveUp, WORKER_MS);
    worker.addEventListener("error", giveUp, { signal });
    worker.port.addEventListener("message", ({ data }) => {
      if (data.type !== "hello") this.#receive(data);
      else if (!greeted) {
        greeted = true;
        clearTimeout(timer);
        this.#post = (message) => worker.port.postMessage(message);
        this.#meet();
      }
    }, { signal });
    signal.addEventListener("abort", () => { clearTimeout(timer); worker.port.close(); });
    worker.port.start();
    worker.port.postMessage({ type: "base", base: this.#base, options: this.#options });
  }

  #withoutWorker() {
    if (typeof BroadcastChannel === "function" && navigator.locks) this.#byElection();
    else this.#byPage();
  }

  #byPage() {
    const hub = new Hub(this.#base, this.#options);
    this.#post = (message) => hub.receive(message, (answer) => this.#receive(answer));
    this.#meet();
  }

  // The tab that has the lock is the hub for all; when it goes, the lock goes to the next.
  #byElection() {
    const { signal } = this.#closing;
    const ether = new BroadcastChannel(this.#name);
    ether.addEventListener("message", ({ data }) => {
      if (data.to === "all") this.#meet();
      else this.#receive(data);
    }, { signal });
    this.#post = (message) => ether.postMessage({ ...message, to: "hub" });
    this.#meet();
    navigator.locks.request(`${this.#name} hub`, { signal }, () => {
      const hub = new Hub(this.#base, this.#options);
      ether.addEventListener("message", ({ data }) => {
        if (data.to === "hub") hub.receive(data, (answer) => ether.postMessage(answer));
      }, { signal });
      this.#post = (message) => hub.receive(message, (answer) => this.#receive(answer));
      this.#meet();
      ether.postMessage({ to: "all" });
      return never(signal).finally(() => hub.close());
    }).catch(() => {});
    // What is still to be said, as the farewell, is said first.
    signal.addEventListener("abort", () => setTimeout(() => ether.close()));
  }
}

function never(signal) {
  return new Promise((resolve) => signal.addEventListener("abort", resolve));
}

// Everything that the tabs of one browser listen to at one courier.
class Hub {
  members = new Map();
  streams = new Set();
  #token = null;
  #asked = null;
  #apartUntil = 0;
  #splitBefore = 0;

  constructor(base, options) {
    this.base = base;
    this.options = options;
  }

  receive(message, post) {
    const { key } = message;
    switch (message.type) {
      case "add":
        this.#remove(key);
        this.#add(new Member(message, post));
        navigator.locks?.request(key, { mode: "shared" }, () => this.#remove(key)).catch(() => {});
        break;
      case "remove":
        this.#remove(key);
        break;
      case "token":
        this.#asked?.resolve(message.token);
    }
  }

  close() {
    for (const stream of this.streams) stream.close();
  }

  // The bearer token, if there is a tab that knows where it comes from.
  async token() {
    const knowing = [...this.members.values()].find((member) => member.hasToken);
    if (this.#token || !knowing) return this.#token;
    if (!this.#asked) {
      let resolve;
      const answer = new Promise((found) => { resolve = found; });
      this.#asked = { answer, resolve };
      setTimeout(resolve, TOKEN_MS, null);
      knowing.post({ type: "token" });
    }
    this.#token = await this.#asked.answer;
    this.#asked = null;
    return this.#token;
  }

  forgetToken() { this.#token = null; }

  // A stream has opened: it becomes one with the others that are open. A courier of another run, or another one, has
  // positions that cannot be compared; streams of such stay apart.
  opened(stream) {
    const open = [...this.streams].filter((one) => one.isOpen && one.position?.epoch === stream.position?.epoch);
    const channels = new Set(open.flatMap((one) => [...one.channels]));
    if (open.length < 2 || channels.size > CHANNELS_MAX || !stream.position || Date.now() < this.#apartUntil) return;
    const oldest = open.map((one) => one.position).reduce((one, other) => (other.n < one.n ? other : one));
    const members = open.flatMap((one) => [...one.members]);
    for (const one of open) one.close();
    this.#start(members, { position: oldest, isMerge: true, isToldOpen: true });
  }

  // A stream of several is refused: each for itself learns whether it is meant, and those who are not become one again; not at
  // once, if nobody was.
  split(stream) {
    const members = [...stream.members];
    this.#apartUntil = members.length === this.#splitBefore ? Date.now() + APART_MS : 0;
    this.#splitBefore = members.length;
    stream.close();
    for (const member of members) this.#start([member], { position: stream.position, isMerge: true });
  }

  refuse(member, detail) {
    member.post({ type: "end", detail });
    this.#remove(member.key);
  }

  #add(member) {
    this.members.set(member.key, member);
    const joinable = !member.from && !member.history
      && [...this.streams].find((stream) => stream.isOpen && stream.serves(member.channels));
    if (joinable) joinable.welcome(member);
    else this.#start([member], { from: member.from, history: member.history });
  }

  #start(members, start) {
    const stream = new Stream(this, members, start);
    this.streams.add(stream);
    stream.run();
  }

  #remove(key) {
    const member = this.members.get(key);
    if (!member) return;
    this.members.delete(key);
    for (const stream of this.streams) {
      stream.members.delete(member);
      if (!stream.members.size) stream.close();
    }
  }
}

// One page's wish: its channels, and of each up to where it has seen everything.
class Member {
  constructor({ key, channels, from, history, hasToken }, post) {
    Object.assign(this, { key, channels, from, history, hasToken });
    this.post = (message) => post({ ...message, to: key });
    this.seen = new Map();
    // Gaps that may be none: channel to gap.
    this.doubts = new Map();
  }

  hasSeen(channel, position) {
    const seen = this.seen.get(channel);
    return Boolean(seen && position && seen.epoch === position.epoch && position.n <= seen.n);
  }

  // Everything up to here, on all its channels.
  start(position) {
    for (const channel of this.channels) if (!this.hasSeen(channel, position)) this.seen.set(channel, position);
  }

  take(event) {
    const { channel, position } = event;
    const doubt = this.doubts.get(channel);
    this.doubts.delete(channel);
    if (this.hasSeen(channel, position)) return;
    if (doubt) this.post(doubt);
    this.seen.set(channel, position);
    this.post({ type: "event", ...event, position: undefined });
  }

  // The replay of a merge has come. Where nothing followed a gap in doubt, nothing is missing.
  settle(isMerge) {
    if (!isMerge) for (const gap of this.doubts.values()) this.post(gap);
    this.doubts.clear();
  }
}

// One connection to courier, and its successors.
class Stream {
  isOpen = false;
  #closing = new AbortController();
  #retryMs = RETRY_MS;
  #failures = 0;

  constructor(hub, members, { position = null, from = "", history = 0, isMerge = false, isToldOpen = false }) {
    this.hub = hub;
    this.members = new Set(members);
    this.channels = new Set(members.flatMap((member) => member.channels));
    this.position = position;
    this.from = position?.id ?? from;
    this.history = history;
    // True until the first opening of a stream that goes on for those who have seen more than its position says.
    this.isMerge = isMerge;
    // True exactly while its members believe that they are connected.
    this.isToldOpen = isToldOpen;
  }

  serves(channels) { return channels.every((channel) => this.channels.has(channel)); }

  welcome(member) {
    this.members.add(member);
    member.start(this.position);
    member.post({ type: "open", id: this.position?.id });
  }

  close() {
    this.isOpen = false;
    this.hub.streams.delete(this);
    this.#closing.abort();
  }

  async run() {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      let waitMs = null;
      try {
        waitMs = await this.#once(signal);
      } catch {
        // The network, or courier, is away.
      }
      if (signal.aborted) return;
      this.isOpen = false;
      if (this.isToldOpen) this.#tell({ type: "lost" });
      this.isToldOpen = false;
      this.isMerge = false;
      await pause(waitMs ?? Math.min(this.#retryMs * 2 ** this.#failures++, BACKOFF_MAX_MS), signal);
    }
  }

  // From a request to the end of its answer; how long to wait for the next, if that is known.
  async #once(signal) {
    // Those who have gone are asked for no more.
    this.channels = new Set([...this.members].flatMap((member) => member.channels));
    const response = await this.#request(signal);
    if (isFinal(response.status)) return this.#refused(response);
    if (response.status !== 200) {
      await response.body?.cancel();
      return retryAfter(response);
    }
    if (!/^text\/event-stream/.test(response.headers.get("Content-Type") ?? "")) {
      await response.body?.cancel();
      const message = `${this.hub.base} is no stream of courier`;
      for (const member of [...this.members]) this.hub.refuse(member, { status: 200, code: "no-event-stream", message });
      return null;
    }
    const reader = response.body.getReader();
    const parser = new Parser((block) => this.#block(block));
    // A stream may open without an id, while courier waits for Redis; one that ends at once has not opened.
    const timer = setTimeout(() => { if (!this.isOpen) this.#open(null); }, LATE_MS);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || signal.aborted) return this.#retryMs;
        parser.feed(value);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #request(signal) {
    const url = new URL(this.hub.base);
    for (const channel of this.channels) url.searchParams.append("channel", channel);
    url.searchParams.set("format", "json");
    if (this.from) url.searchParams.set("last_event_id", this.from);
    else if (this.history) url.searchParams.set("history", this.history);
    const token = await this.hub.token();
    const headers = token ? { Authorization: `Bearer ${token}`, Accept: "text/event-stream" } : { Accept: "text/event-stream" };
    return fetch(url, { headers, signal, cache: "no-store", credentials: this.hub.options.credentials });
  }

  async #refused(response) {
    const detail = await refusal(response);
    const withToken = await this.hub.token();
    if (response.status === 401 && withToken) {
      this.hub.forgetToken();
      if (!this.#failures++) return 0;
    }
    if (this.members.size > 1) this.hub.split(this);
    else for (const member of [...this.members]) this.hub.refuse(member, detail);
    return null;
  }

  #block({ event, data, id, retry }) {
    if (this.#closing.signal.aborted) return;
    if (retry !== null) this.#retryMs = retry;
    const position = id === null ? this.position : parsePosition(id);
    if (!this.isOpen && id !== null) this.#open(position);
    if (this.#closing.signal.aborted) return;
    if (event === "courier-expired") this.hub.forgetToken();
    if (id !== null) {
      this.from = id;
      this.position = position;
    }
    // Whoever comes back after one of these learns what holds now.
    if (data === null || event === "courier-expired" || event === "courier-close") return;
    const content = JSON.parse(data);
    if (event === "courier-gap") this.#gap(content, data, position);
    else this.#message(content, position);
  }

  #open(position) {
    this.isOpen = true;
    this.#failures = 0;
    this.position = position ?? this.position;
    this.from = position?.id ?? this.from;
    const wasMerge = this.isMerge;
    this.isMerge = false;
    for (const member of this.members) {
      if (position && !wasMerge) member.start(position);
      if (!this.isToldOpen) member.post({ type: "open", id: position?.id });
    }
    this.isToldOpen = true;
    const timer = setTimeout(() => { for (const member of this.members) member.settle(wasMerge); }, OVERLAP_MS);
    this.#closing.signal.addEventListener("abort", () => clearTimeout(timer));
    this.hub.opened(this);
  }

  #message({ channel, id, event: name = "message", data }, position) {
    const event = { name, data, id, channel, position };
    for (const member of this.members) if (member.channels.includes(channel)) member.take(event);
  }

  #gap(content, data, position) {
    const { channel } = content;
    const end = content.to ? parsePosition(content.to) : position;
    const gap = { type: "event", name: "courier-gap", data, id: position?.id, channel };
    for (const member of this.members) {
      if (!member.channels.includes(channel)) continue;
      // A stream that was resumed from before what this page has seen. Only what follows can tell whether it missed anything.
      const from = content.from === null ? null : parsePosition(content.from);
      const seen = member.seen.get(channel);
      const isAhead = from && seen?.epoch === from.epoch && seen.n > from.n;
      if (isAhead && member.hasSeen(channel, end)) continue;
      if (isAhead && content.reason === "too-old") {
        member.doubts.set(channel, gap);
      } else {
        member.seen.set(channel, end);
        member.post(gap);
      }
    }
  }

  #tell(message) {
    for (const member of this.members) member.post(message);
  }
}

// Blocks of an event stream, from bytes that are cut anywhere. courier ends its lines with LF.
class Parser {
  #decoder = new TextDecoder();
  #rest = "";
  #take;

  constructor(take) {
    this.#take = take;
    this.#begin();
  }

  feed(bytes) {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #begin() { this.block = { event: "", data: null, id: null, retry: null }; }

  #line(line) {
    const { block } = this;
    if (line === "") {
      this.#begin();
      // A comment alone, such as a heartbeat, is no block.
      if (block.data !== null || block.id !== null || block.retry !== null) this.#take(block);
      return;
    }
    const at = line.indexOf(":");
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (name === "data") block.data = block.data === null ? value : `${block.data}\n${value}`;
    else if (name === "event" || name === "id") block[name] = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) block.retry = Number(value);
  }
}

// `<epoch>.<n>`, and whatever follows; null if the id is none that can be compared.
function parsePosition(id) {
  const found = /^([A-Za-z0-9]+)\.([0-9]+)/.exec(id);
  return found && { id, epoch: found[1], n: Number(found[2]) };
}

// Whether there is no use in coming back: refused, or told to stop (204).
function isFinal(status) {
  return status === 204 || (status >= 400 && status < 500 && status !== 429 && status !== 408);
}

async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  return { status: response.status, code: problem.code ?? "", message: problem.detail ?? "" };
}

function retryAfter(response) {
  const seconds = Number(response.headers.get("Retry-After"));
  return seconds > 0 ? Math.min(seconds * 1_000, BACKOFF_MAX_MS) : null;
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// <courier-events src="/events?channel=a">: what comes is dispatched there, bubbling, as courier:message, courier:gap,
// courier:open, courier:lost and courier:refused, so `document.addEventListener("courier:message", ..)` hears all.
function defineElement() {
  customElements.define("courier-events", class extends HTMLElement {
    #events = null;

    connectedCallback() {
      const read = (name) => this.getAttribute(name) ?? undefined;
      this.#events = new CourierEvents(this.getAttribute("src"), {
        history: Number(read("history") ?? 0),
        resume: this.hasAttribute("resume"),
        share: read("share") !== "no",
        token: read("token"),
        credentials: this.hasAttribute("credentials"),
        prefix: read("prefix"),
        scope: read("scope"),
      });
      const tell = (name, detail) => this.dispatchEvent(new CustomEvent(`courier:${name}`, { bubbles: true, detail }));
      this.#events.addEventListener("open", () => tell("open", null));
      this.#events.addEventListener("error", () => tell("lost", null));
      this.#events.addEventListener("courier-refused", (event) => tell("refused", event.detail));
      this.#events.hear((event) => {
        const { channel, type, data, value, lastEventId } = event;
        if (type === "courier-gap") tell("gap", { ...value, channel });
        else tell("message", { channel, event: type, data, value, id: lastEventId });
      });
    }

    disconnectedCallback() { this.#events?.close(); }
  });
}

if (typeof SharedWorkerGlobalScope === "function" && self instanceof SharedWorkerGlobalScope) {
  let hub = null;
  self.addEventListener("connect", ({ ports: [port] }) => {
    port.addEventListener("message", ({ data }) => {
      if (data.type === "base") {
        hub ??= new Hub(data.base, data.options);
        port.postMessage({ type: "hello" });
      } else {
        hub.receive(data, (answer) => port.postMessage(answer));
      }
    });
    port.start();
  });
} else if (typeof customElements === "object" && !customElements.get("courier-events")) {
  defineElement();
}
