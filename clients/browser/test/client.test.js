// The client against a scripted server in memory: events, control messages, backpressure, and its end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamClient, StreamError } from "../stream_browser/client/index.js";
import { script, socketClass } from "./support/memory-socket.js";
import { AUDIO, pcm, ready, ScriptedServer, URL_OF_SERVER } from "./support/scripted-server.js";

/** @typedef {import("../stream_browser/client/index.js").SessionEvent} SessionEvent */
/** @typedef {import("../stream_browser/client/index.js").StreamOptions} StreamOptions */

const QUICK = { giveUpSec: 5, firstWaitSec: 0.001, longestWaitSec: 0.002 };
/** @typedef {import("./support/memory-socket.js").FarEnd} FarEnd */

/** @param {{ WebSocket: typeof WebSocket }} server @param {StreamOptions} [options] */
function clientOf({ WebSocket }, options = {}) {
  return new StreamClient(URL_OF_SERVER, { WebSocket, reconnect: QUICK, ...AUDIO, ...options });
}

/** @param {AsyncIterable<SessionEvent>} client */
async function collect(client) {
  const events = [];
  for await (const event of client) events.push(event);
  return events;
}

/** @param {StreamClient} client @param {Uint8Array} audio */
async function sendAll(client, audio, size = 100) {
  for (let start = 0; start < audio.length; start += size) await client.send(audio.subarray(start, start + size));
}

/** @param {StreamClient} client @param {Uint8Array} audio */
async function play(client, audio, size = 100) {
  await client.connect();
  await sendAll(client, audio, size);
  await client.end();
  return collect(client);
}

/** Every session event once and in order, and the server heard every sample once.
 * @param {SessionEvent[]} events @param {ScriptedServer} server @param {Uint8Array} audio */
function assertWhole(events, server, audio) {
  assert.deepEqual(Uint8Array.from(server.session.audio), audio);
  assert.deepEqual(events, server.session.log);
}

/** @param {string} code @param {RegExp} [message] */
function failure(code, message = /./) {
  return (/** @type {unknown} */ error) => {
    assert.ok(error instanceof StreamError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

/** @param {StreamClient} client */
function statesOf(client) {
  /** @type {string[]} */
  const states = [];
  client.addEventListener("connection", ({ detail }) => states.push(detail.state));
  return states;
}

test("events come as DOM events and in an iteration, which ends after done", async () => {
  const server = new ScriptedServer();
  const client = clientOf(server, { model: "fake", language: "en" });
  /** @type {SessionEvent[]} */
  const heard = [];
  client.addEventListener("speech_start", ({ detail }) => heard.push(detail));
  client.addEventListener("partial", ({ detail }) => heard.push(detail));
  client.addEventListener("speech_end", ({ detail }) => heard.push(detail));
  client.addEventListener("final_segment", ({ detail }) => heard.push(detail));
  client.addEventListener("end_of_transcript", ({ detail }) => heard.push(detail));
  client.addEventListener("done", ({ detail }) => heard.push(detail));
  const states = statesOf(client);
  const events = await play(client, pcm(2.5));
  assert.equal(client.ready?.model, "fake");
  assertWhole(events, server, pcm(2.5));
  assert.deepEqual(heard, events);
  assert.deepEqual(states, ["open", "closed"]);
  assert.deepEqual(server.inits, [
    { ...AUDIO, type: "init", channels: 1, acks: true, model: "fake", language: "en" },
  ]);
  assert.equal((await client.end()).type, "done", "again, and after the end");
  assert.equal(client.bufferedBytes, 0);
});

test("a caller who reads only at the end does not block", async () => {
  const server = new ScriptedServer();
  assertWhole(await play(clientOf(server), pcm(60), 97), server, pcm(60));
});

test("audio of any length and kind is taken, and copied", async () => {
  const server = new ScriptedServer();
  const client = clientOf(server);
  await client.connect();
  const audio = pcm(100);
  const reused = Uint8Array.from(audio);
  client.send(new DataView(reused.buffer, 0, 1000));
  client.send(new ArrayBuffer(0));
  client.send(reused.buffer.slice(1000, 1001));
  client.send(reused.subarray(1001));
  reused.fill(0);
  await client.end();
  assertWhole(await collect(client), server, audio);
  // @ts-expect-error: for who does not check types
  assert.throws(() => client.send("text"), /send\(\) after end\(\)/);
});

test("what is no audio is refused", async () => {
  const client = clientOf(new ScriptedServer());
  await client.connect();
  for (const wrong of ["text", 3, undefined, null]) {
    assert.throws(() => client.send(/** @type {any} */ (wrong)), TypeError);
  }
  client.close();
});

test("an iteration that lags loses partials first, and then gets an error; the stream goes on", async () => {
  /** @param {(index: number) => object} eventOf */
  const flood = (eventOf) => async (/** @type {FarEnd} */ far) => {
    await far.receive();
    far.say(ready(), ...Array.from({ length: 6000 }, (_, index) => ({ seq: index + 1, ...eventOf(index) })));
    await far.receive();
    far.say({ type: "done", seq: 6001 });
    await far.receive();
  };
  const about = { segment_id: 0, offset_ms: 0, channel: 0 };
  const partials = clientOf({
    WebSocket: script(flood((index) => ({ ...about, type: index % 2 ? "partial" : "speech_end", duration_ms: 1 }))),
  });
  await partials.connect();
  await partials.end();
  const events = await collect(partials);
  assert.equal(events.filter(({ type }) => type === "speech_end").length, 3000);
  assert.ok(events.filter(({ type }) => type === "partial").length < 3000);

  const others = clientOf({ WebSocket: script(flood(() => ({ ...about, type: "speech_end" }))) });
  await others.connect();
  await others.end();
  await assert.rejects(collect(others), failure("EVENTS_NOT_READ"));
});

test("flush and configure wait for their answers", async () => {
  const server = new ScriptedServer();
  const client = clientOf(server);
  await client.connect();
  client.send(pcm(1));
  const [first, second] = await Promise.all([client.flush(), client.flush()]);
  assert.deepEqual([first.id, second.id], [1, 2]);
  const { config } = await client.configure({ partials: false, chunk_size_sec: 1 });
  assert.deepEqual(config, { type: "configure", partials: false, chunk_size_sec: 1 });
  client.keepalive();
  await client.end();
  const events = await collect(client);
  assert.deepEqual(events.map((event) => event.type === "flushed" && event.id).filter(Boolean), [1, 2]);
  assert.deepEqual(server.session.heard, ["flush", "flush", "configure", "keepalive", "end"]);
});

for (const { loses, acks } of [
  { loses: 0, acks: true },
  { loses: 0, acks: false },
  { loses: 30, acks: false },
  { loses: 499, acks: false },
]) {
  test(`a resume loses and doubles nothing; ${loses} samples lost, ${acks ? "with" : "without"} acks`, async () => {
    const server = new ScriptedServer({ breaks: [7, 0, 0, 13, 1, 2, 40], loses, acks });
    const client = clientOf(server);
    const states = statesOf(client);
    assertWhole(await play(client, pcm(9.3), 97), server, pcm(9.3));
    assert.equal(server.inits.length, 6);
    for (const [index, init] of server.inits.entries()) {
      if (index === 0) continue;
      assert.deepEqual([init.session_id, init.resume_token], ["session-1", "token"]);
    }
    assert.deepEqual(
      server.urls.map(({ search }) => search),
      ["", ...Array(7).fill("?session_id=session-1")],
    );
    assert.equal(states.filter((state) => state === "resumed").length, 5);
    assert.equal(states.filter((state) => state === "lost").length, 7, "before every attempt");
  });
}

test("a break at every frame of a short stream", async () => {
  for (let frame = 1; frame <= 13; frame++) {
    const server = new ScriptedServer({ breaks: [frame, 1, 0, 2], acks: frame % 2 === 0 });
    const client = clientOf(server);
    await client.connect();
    await sendAll(client, pcm(0.6));
    const flushed = client.flush();
    await sendAll(client, pcm(0.5));
    await client.end();
    assert.equal((await flushed).id, 1);
    const events = await collect(client);
    assert.deepEqual(server.session.audio, [...pcm(0.6), ...pcm(0.5)]);
    const plain = (/** @type {any[]} */ all) =>
      all.filter(({ type }) => type !== "flushed").map(({ seq: _, ...event }) => event);
    assert.deepEqual(plain(events), plain(server.session.log), `broken at frame ${frame}`);
    assert.equal(events.filter(({ type }) => type === "flushed").length, 1);
  }
});

test("live audio that nobody waits for is kept while the connection is away", async () => {
  const server = new ScriptedServer({ breaks: [2, 0, 0, null] });
  const client = clientOf(server);
  await client.connect();
  /** @type {number[]} */
  const buffered = [];
  client.addEventListener("connection", ({ detail }) => buffered.push(Number(detail.bufferedSec)));
  for (let start = 0; start < 5000; start += 100) client.send(pcm(5).subarray(start, start + 100));
  await client.end();
  assertWhole(await collect(client), server, pcm(5));
  assert.ok(Math.max(...buffered) > 4, "it is told how much that is");
  assert.equal(buffered.at(-1), 0);
});

test("audio beyond the buffer ends the stream, and says what to do", async () => {
  const client = clientOf({ WebSocket: script(async (far) => {
    await far.receive();
    far.say(ready());
    await new Promise(() => {});
  }) }, { maxBufferBytes: 100_000 });
  /** @type {StreamError[]} */
  const errors = [];
  client.addEventListener("error", ({ detail }) => errors.push(detail));
  await client.connect();
  let sent = 0;
  for (; errors.length === 0; sent++) client.send(new Uint8Array(10_000));
  assert.ok(sent * 10_000 > 300_000 && sent * 10_000 < 500_000, "what the socket takes, and the buffer");
  failure("BUFFER_FULL", /maxBufferBytes/)(errors[0]);
  await assert.rejects(client.send(new Uint8Array(1)), failure("BUFFER_FULL"));
  await assert.rejects(client.end(), failure("BUFFER_FULL"));
});

test("no more goes to the socket than it takes", async () => {
  let most = 0;
  const audio = pcm(900);
  const server = new ScriptedServer();
  class Watched extends server.WebSocket {
    /** @param {any} frame */
    send(frame) {
      super.send(frame);
      most = Math.max(most, this.bufferedAmount);
      assert.ok(frame.length <= 32 * 1024);
    }
  }
  const client = clientOf({ WebSocket: Watched });
  await client.connect();
  const sent = client.send(audio);
  assert.ok(client.bufferedBytes >= audio.length - 1024);
  await sent;
  assert.ok(client.bufferedBytes <= 350_000, "there is room");
  await client.end();
  assertWhole(await collect(client), server, audio);
  assert.ok(most > 200_000 && most < 300_000, String(most));
});

test("an error of the server reaches everyone who waits, once", async () => {
  /** @type {(far: FarEnd) => void} */
  let connected;
  const far = new Promise((resolve) => (connected = resolve));
  const client = clientOf({ WebSocket: script(async (end) => {
    await end.receive();
    end.say(ready());
    connected(end);
    await new Promise(() => {});
  }) });
  await client.connect();
  /** @type {StreamError[]} */
  const errors = [];
  client.addEventListener("error", ({ detail }) => errors.push(detail));
  const states = statesOf(client);
  const flushed = client.flush();
  const configured = client.configure({ words: false });
  const ended = client.end();
  const events = collect(client);
  (await far).say({ type: "error", code: "RATE_LIMITED", message: "slow down", retry_after: 2.5 });
  const expected = failure("RATE_LIMITED", /^slow down$/);
  for (const waiting of [flushed, configured, ended, events]) await assert.rejects(waiting, expected);
  await assert.rejects(client.flush(), expected);
  await assert.rejects(client.configure({}), expected);
  client.keepalive();
  client.close();
  assert.deepEqual(errors.map(({ code, retryAfter }) => [code, retryAfter]), [["RATE_LIMITED", 2.5]]);
  assert.deepEqual(states, ["closed"]);
});

for (const [what, frame] of /** @type {[string, any][]} */ ([
  ["text that is not JSON", "hello"],
  ["JSON that is no event", "[]"],
  ["null", "null"],
  ["an event without a type", {}],
  ["binary", new ArrayBuffer(3)],
  ["an event with parts missing", { type: "final_segment", seq: 1, words: 7 }],
])) {
  test(`garbage: ${what}`, async () => {
    const atOnce = clientOf({ WebSocket: script(async (far) => {
      await far.receive();
      far.say(frame);
      await far.receive();
    }) });
    await assert.rejects(atOnce.connect(), failure("CONNECTION_FAILED", /does not speak this protocol/));
    const later = clientOf({ WebSocket: script(async (far) => {
      await far.receive();
      far.say(ready(), frame);
      await far.receive();
    }) });
    await later.connect();
    await assert.rejects(collect(later), failure("PROTOCOL_ERROR"));
    await assert.rejects(later.end(), failure("PROTOCOL_ERROR"));
  });
}

test("what a newer server says besides is passed over", async () => {
  const client = clientOf({ WebSocket: script(async (far) => {
    await far.receive();
    far.say(ready({ news: 1 }), { type: "mood", seq: 1, mood: "good" }, { type: "ack", received_samples: 0, news: 1 });
    far.say({ type: "warning", code: "NEWS", message: "of another code" });
    far.say({ type: "speech_start", seq: 2, segment_id: 0, offset_ms: 0, channel: 0, news: 1 });
    await far.receive();
    far.say({ type: "done", seq: 3 });
  }) });
  await client.connect();
  await client.end();
  const events = await collect(client);
  assert.deepEqual(events.map(({ type }) => type), ["warning", "speech_start", "done"]);
});

test("closing lets go of everyone, and tells the server", async () => {
  /** @type {FarEnd | undefined} */
  let end;
  const client = clientOf({ WebSocket: script(async (far) => {
    end = far;
    await far.receive();
    far.say(ready());
    await new Promise(() => {});
  }) });
  client.addEventListener("error", () => assert.fail("nobody is to be told what he did himself"));
  const states = statesOf(client);
  await client.connect();
  const flushed = client.flush();
  const ended = client.end();
  const events = collect(client);
  client.close();
  client.close();
  await assert.rejects(flushed, failure("CLOSED"));
  await assert.rejects(ended, failure("CLOSED"));
  assert.deepEqual(await events, []);
  assert.equal(end?.closedWith, 1000);
  assert.deepEqual(states, ["open", "closed"]);
  await assert.rejects(client.flush(), failure("CLOSED"));
});

test("closing in the middle of connecting, and before it", async () => {
  for (const WebSocket of [script("stuck"), script(() => new Promise(() => {}))]) {
    const client = clientOf({ WebSocket });
    const connecting = client.connect();
    await new Promise((resolve) => setTimeout(resolve, 1));
    client.close();
    await assert.rejects(connecting, failure("CLOSED"));
    await assert.rejects(client.send(new Uint8Array(2)), failure("CLOSED"));
  }
  const client = clientOf({ WebSocket: socketClass(() => assert.fail("no connection is made")) });
  client.close();
  await assert.rejects(client.connect(), failure("CLOSED"));
});

test("closing while a lost connection is mended", async () => {
  const server = new ScriptedServer({ breaks: [1] });
  const client = clientOf(server, { reconnect: { firstWaitSec: 1000, longestWaitSec: 1000 } });
  const lost = new Promise((resolve) =>
    client.addEventListener("connection", ({ detail }) => detail.state === "lost" && resolve(detail)),
  );
  await client.connect();
  client.send(pcm(1));
  const { message, attempt, retryInSec } = await lost;
  assert.match(message, /the connection broke \(1006\)/);
  assert.equal(attempt, 1);
  assert.ok(retryInSec >= 0 && retryInSec <= 60);
  const ended = client.end();
  client.close();
  await assert.rejects(ended, failure("CLOSED"));
  assert.equal(server.inits.length, 1);
});

for (const state of ["open", "resumed"]) {
  test(`closing when told that the connection is ${state} leaves no connection behind`, async () => {
    /** @type {FarEnd[]} */
    const ends = [];
    const WebSocket = script(...[1, 2].map((frames) => async (/** @type {FarEnd} */ far) => {
      ends.push(far);
      await far.receive();
      far.say(ready({ resumed: ends.length > 1 }));
      if (frames === 1) await far.receive();
      else await new Promise(() => {});
    }));
    const client = clientOf({ WebSocket });
    client.addEventListener("connection", ({ detail }) => detail.state === state && client.close());
    await client.connect().catch(() => {});
    await assert.rejects(client.send(new Uint8Array(1)).then(() => client.end()), failure("CLOSED"));
    await assert.rejects(client.end(), failure("CLOSED"));
    assert.equal(ends.at(-1)?.closedWith, 1000);
  });
}

test("calls in the wrong order say so at once", async () => {
  const client = clientOf(new ScriptedServer());
  for (const call of [
    () => client.send(new Uint8Array(1)),
    () => client.flush(),
    () => client.configure({}),
    () => client.keepalive(),
    () => client.end(),
  ]) {
    assert.throws(call, /wait for connect\(\) first/);
  }
  assert.equal(client.ready, undefined);
  const connecting = client.connect();
  await assert.rejects(client.connect(), /a client for each stream/);
  await connecting;
  const done = client.end();
  assert.equal(client.end(), done, "ending twice is ending");
  assert.throws(() => client.send(pcm(1)), /send\(\) after end\(\)/);
  await done;
});

test("a listener can be removed", async () => {
  const client = clientOf(new ScriptedServer());
  const listener = () => assert.fail();
  client.addEventListener("done", listener);
  client.removeEventListener("done", listener);
  await play(client, pcm(1));
});

