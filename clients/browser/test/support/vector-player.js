// Golden conversations, played with the client: its calls are made as the conversation's client acts, a server of a few
// lines says what the conversation's server says. It checks that every frame arrives there as the conversation has it,
// and that every event comes out of the client. See protocol/vectors/README.md for the language.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";
import { StreamClient, StreamError } from "../../stream_browser/client/index.js";
import { WebmReader } from "../../stream_browser/client/webm-format.js";
import { EXAMPLES, fill, render, resolve, SAMPLE_BYTES } from "./vector-language.js";

/** One socket at the server, and what came over it. */
class Line {
  /** @type {any[]} */
  messages = [];
  audio = Buffer.alloc(0);
  #changed = () => {};

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("message", (/** @type {Buffer} */ data, isBinary) => {
      if (isBinary) this.audio = Buffer.concat([this.audio, data]);
      else this.messages.push(JSON.parse(data.toString()));
      this.#changed();
    });
  }

  async message() {
    await this.until(() => this.messages.length > 0);
    return this.messages.shift();
  }

  /** @param {() => boolean} condition */
  async until(condition) {
    while (!condition()) await new Promise((resolve) => (this.#changed = () => resolve(undefined)));
  }
}

/** The client's side of one name of the conversation; a session that is resumed hands it on to the next name. */
class Caller {
  /** @type {any[]} */
  said = []; // events for the client to give
  /** @type {any[]} */
  given = [];
  /** @type {StreamError | undefined} */
  error;
  sent = Buffer.alloc(0);
  seq = 0;
  isDropped = false;

  /** @param {URL} url @param {Record<string, any>} init @param {string | undefined} token */
  constructor(url, init, token) {
    this.init = init;
    const reconnect = { firstWaitSec: 0.001, longestWaitSec: 0.002 };
    const options = { ...init, token, reconnect, WebSocket: /** @type {any} */ (WebSocket) };
    this.client = new StreamClient(url, options);
    this.opened = this.client.connect().then(
      () => {},
      (error) => void (this.error = error),
    );
    this.read = this.#read();
  }

  async #read() {
    try {
      for await (const event of this.client) this.given.push(event);
    } catch (error) {
      assert.ok(error instanceof StreamError, String(error));
      this.error = error;
    }
  }

  get isWebm() {
    return this.sent.length > 4 && this.sent.readUInt32BE() === 0x1a45dfa3;
  }

  get sampleBytes() {
    return (SAMPLE_BYTES[this.init.dtype ?? "int16"] ?? 1) * (this.init.channels ?? 1);
  }
}

/** Plays one conversation from its first step to its last. */
export class Player {
  #saved = /** @type {Record<string, any>} */ ({});
  /** @type {Map<string, Caller>} */
  #callers = new Map();
  /** @type {Map<string, Line>} */
  #lines = new Map();
  /** @type {((accept: (status?: number) => Promise<Line | undefined>) => void)[]} */
  #waiting = [];
  /** @type {((status?: number) => Promise<Line | undefined>)[]} */
  #arrived = [];
  #http = createServer((_, response) => response.end(JSON.stringify({ sessions: 1, max_sessions: 1 })));
  #sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  #flushIds = /** @type {any[]} */ ([]);

  /** @param {any[]} steps */
  async play(steps) {
    this.#http.on("upgrade", (request, socket, head) => {
      /** @param {number} [status] */
      const accept = async (status) => {
        if (status !== undefined) return void socket.end(`HTTP/1.1 ${status} Refused\r\nContent-Length: 0\r\n\r\n`);
        /** @type {WebSocket} */
        const opened = await new Promise((resolve) => this.#sockets.handleUpgrade(request, socket, head, resolve));
        return new Line(opened);
      };
      const waiting = this.#waiting.shift();
      if (waiting) waiting(accept);
      else this.#arrived.push(accept);
    });
    this.#http.listen(0, "127.0.0.1");
    await once(this.#http, "listening");
    try {
      for (const [index, step] of steps.entries()) {
        try {
          await this.#step({ on: "main", ...step });
        } catch (error) {
          throw new Error(`line ${index + 2}, ${JSON.stringify(step).slice(0, 200)}`, { cause: error });
        }
      }
      await this.#check();
    } finally {
      for (const { client } of this.#callers.values()) client.close();
      for (const socket of this.#sockets.clients) socket.terminate();
      this.#http.close();
    }
  }

  /** @param {any} step */
  async #step(step) {
    if (step.dir === "server") return this.#serverStep(step);
    if (step.connect) {
      this.#callers.set(step.on, this.#call({}, new URLSearchParams(step.connect.query).get("token") ?? undefined));
    } else if (step.text !== undefined && !this.#lines.has(step.on)) await this.#begin(step);
    else if (step.text !== undefined) await this.#message(step);
    else if (step.audio) await this.#send(step);
    else if (step.resend) await this.#resend(step);
    else if (step.drop) {
      await this.#caller(step).opened;
      this.#caller(step).isDropped = true;
      this.#line(step).socket.terminate();
    } else assert.ok(step.wait !== undefined, "a step that no client of ours can make");
  }

  /** @param {any} init @param {string} [token] */
  #call(init, token) {
    const { port } = /** @type {import("node:net").AddressInfo} */ (this.#http.address());
    return new Caller(new URL(`ws://127.0.0.1:${port}/ws`), init, token);
  }

  /** @returns {Promise<(status?: number) => Promise<Line | undefined>>} */
  async #arrival() {
    return this.#arrived.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** @param {any} step the init message of a connection */
  async #begin(step) {
    const expected = resolve(step.text, this.#saved);
    const { type: _, session_id, resume_token, last_seq, ...init } = expected;
    const dropped = [...this.#callers].find(([, { isDropped }]) => isDropped);
    const isResumed = session_id !== undefined;
    if (isResumed) {
      const [name, caller] = dropped ?? assert.fail("it resumes what was not dropped");
      this.#callers.delete(name);
      this.#callers.set(step.on, caller);
      caller.isDropped = false;
    } else if (!this.#callers.has(step.on)) this.#callers.set(step.on, this.#call(init));
    const line = await this.#accept(step.on);
    const heard = await line.message();
    assert.equal(heard.type, "init");
    assert.equal(heard.session_id, session_id);
    if (isResumed) assert.deepEqual([heard.resume_token, heard.last_seq], [resume_token, last_seq ?? 0]);
    for (const [field, value] of Object.entries(init)) {
      if (value !== null) assert.deepEqual(heard[field], value, field); // null is the default, which a client may say
    }
  }

  /** @param {string} name */
  async #accept(name) {
    const line = (await (await this.#arrival())()) ?? assert.fail();
    this.#lines.set(name, line);
    return line;
  }

  /** @param {any} step */
  #caller(step) {
    return this.#callers.get(step.on) ?? assert.fail(`nobody called ${step.on}`);
  }

  /** @param {any} step */
  #line(step) {
    return this.#lines.get(step.on) ?? assert.fail(`no connection ${step.on}`);
  }

  /** @param {any} step */
  async #message(step) {
    const caller = this.#caller(step);
    const { client, opened } = caller;
    await opened;
    const { type, ...fields } = step.text === "END" ? { type: "end" } : step.text;
    if (type === "end") client.end().catch(() => {});
    else if (type === "keepalive") client.keepalive();
    else if (type === "configure") client.configure(fields).catch(() => {});
    else if (type === "flush") client.flush().catch(() => {});
    else assert.fail(`no client of ours sends ${type}`);
    const heard = await this.#line(step).message();
    assert.equal(heard.type, type);
    if (type === "end" && caller.isWebm) assert.deepEqual(packets(this.#line(step).audio), packets(caller.sent));
    if (type === "configure") assert.deepEqual(heard, step.text);
    if (type === "flush") this.#flushIds.push(heard.id);
  }

  /** @param {any} step */
  async #send(step) {
    const caller = this.#caller(step);
    await caller.opened;
    const audio = render(step.audio);
    if (audio.length === 0) return this.#message({ ...step, text: "END" }); // an empty frame is the end
    const size = step.audio.frame_bytes ?? (audio.length > 3200 ? 3200 : audio.length);
    for (let start = 0; start < audio.length; start += size) caller.client.send(audio.subarray(start, start + size));
    caller.sent = Buffer.concat([caller.sent, audio]);
    if (caller.isWebm) return; // it is made anew; see `#message`
    const line = this.#line(step);
    await line.until(() => line.audio.length >= caller.sent.length - this.#skipped(caller));
    assert.deepEqual(line.audio, caller.sent.subarray(this.#skipped(caller)));
  }

  /** Bytes that a resumed session had before. @param {Caller} caller */
  #skipped(caller) {
    return this.#received(caller) * caller.sampleBytes;
  }

  /** @param {Caller} caller */
  #received(caller) {
    return caller.client.ready?.received_samples ?? 0;
  }

  /** @param {any} step */
  async #resend(step) {
    const caller = this.#caller(step);
    const expected = caller.sent.subarray(this.#saved[step.start] * caller.sampleBytes);
    assert.ok(expected.length > 0);
    const line = this.#line(step);
    await line.until(() => line.audio.length >= expected.length);
    assert.deepEqual(line.audio, expected);
  }

  /** @param {any} step */
  async #serverStep(step) {
    if (step.http) return void (await (await this.#arrival())(step.http));
    if (step.drain) return;
    if (!this.#lines.has(step.on)) {
      const line = await this.#accept(step.on);
      assert.equal((await line.message()).type, "init");
    }
    if (step.event) this.#say(step, step.event);
    else if (step.events) {
      for (const pattern of step.include ?? []) this.#say(step, pattern);
      if (step.include?.at(-1)?.type !== step.type) this.#say(step, { type: step.type });
    } else this.#line(step).socket.close(step.close);
  }

  /** @param {any} step @param {any} pattern */
  #say(step, pattern) {
    const caller = this.#caller(step);
    const event = fill(pattern, this.#saved);
    if (event.type === "flushed") event.id = this.#flushIds.shift();
    if (event.type === "ready" && event.resumed && pattern.received_samples === undefined) {
      event.received_samples = caller.sent.length / caller.sampleBytes;
    } else if (event.type === "ready" && event.resumed) {
      event.received_samples = Math.floor(caller.sent.length / caller.sampleBytes / 2);
      if (pattern.received_samples.$save) this.#saved[pattern.received_samples.$save] = event.received_samples;
    }
    if (event.type === "final_segment" && pattern.segment_id === undefined) {
      event.segment_id = caller.said.filter(({ type }) => type === "final_segment").length; // each has its own
    }
    if ("seq" in event) {
      caller.seq += 1;
      if (typeof pattern.seq === "number") assert.equal(pattern.seq, caller.seq);
      event.seq = caller.seq;
      if (pattern.seq?.$save) this.#saved[pattern.seq.$save] = event.seq;
    }
    if (event.type !== "ack" && event.type !== "ready") caller.said.push(event);
    this.#line(step).socket.send(JSON.stringify(event));
  }

  async #check() {
    for (const [name, caller] of this.#callers) {
      const last = caller.said.at(-1);
      const line = this.#lines.get(name);
      const isGone = ["SERVER_DRAINING", "SESSION_NOT_FOUND"].includes(last?.code) && caller.client.ready !== undefined;
      if (isGone) await this.#takeOver(caller);
      else if (line === undefined || last?.type === "error" || last?.type === "done") await caller.read;
      else caller.client.close();
      await caller.opened;
      const isError = last?.type === "error";
      const expected = isError ? caller.said.slice(0, -1) : caller.said;
      assert.deepEqual(isGone ? caller.given.slice(0, expected.length) : caller.given, expected, name);
      if (line === undefined) assert.ok(caller.error, "it was refused");
      else if (isError && !isGone) {
        const { code, message, retry_after } = last;
        const { error } = caller;
        assert.deepEqual([error?.code, error?.message, error?.retryAfter], [code, message, retry_after]);
      } else assert.equal(caller.error, undefined);
    }
    assert.deepEqual(this.#arrived, [], "nobody calls who is not expected");
  }

  /** What a conversation does not show: the client goes on in a new session. @param {Caller} caller */
  async #takeOver(caller) {
    const line = await this.#accept("new");
    const init = await line.message();
    assert.equal(init.session_id, undefined);
    line.socket.send(JSON.stringify(EXAMPLES.get("ready")));
    const done = caller.client.end();
    assert.equal((await line.message()).type, "end");
    line.socket.send(JSON.stringify({ ...EXAMPLES.get("done"), seq: 1 }));
    await done;
  }
}

/** What is heard of a recording. @param {Buffer} recording */
function packets(recording) {
  const heard = new WebmReader().read(recording);
  assert.ok(heard.length > 100);
  return heard;
}
