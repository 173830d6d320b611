// What a client sends again, when it comes back, and when it does not go on: connections that break in chosen places.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Backlog } from "../stream_browser/client/backlog.js";
import { Closed } from "../stream_browser/client/connection.js";
import { StreamClient, StreamError } from "../stream_browser/client/index.js";
import { Mending } from "../stream_browser/client/mending.js";
import { Questions } from "../stream_browser/client/question.js";
import { Timeline } from "../stream_browser/client/timeline.js";
import { script } from "./support/memory-socket.js";
import { AUDIO, ready, ScriptedServer, URL_OF_SERVER } from "./support/scripted-server.js";

/** @typedef {import("./support/memory-socket.js").FarEnd} FarEnd */
/** @typedef {(far: FarEnd) => Promise<void>} Serve */
/** @typedef {import("../stream_browser/client/index.js").StreamOptions} StreamOptions */
/** @typedef {import("../stream_browser/client/index.js").ConnectionChange} ConnectionChange */

const QUICK = { giveUpSec: 5, firstWaitSec: 0.001, longestWaitSec: 0.002 };
const SECOND = new Uint8Array(1000);
const DOUBT = 3000; // what a session that is gone may have heard without a word

/** @param {FarEnd} far @param {number} size */
async function hear(far, size) {
  while (size > 0) size -= (await far.receive()).length;
}

/** A session that takes all the rest; how much that was. @param {number[]} heard @returns {Serve} */
const finish = (heard) => async (far) => {
  await far.receive();
  far.say(ready());
  let size = 0;
  for (let frame = await far.receive(); typeof frame !== "string"; frame = await far.receive()) size += frame.length;
  heard.push(size);
  far.say({ type: "done", seq: 1, total_segments: 0, total_audio_duration_sec: 0, connection_duration_sec: 0 });
};

/** @type {Serve} */
const lost = async (far) => {
  await far.receive();
  far.say(ready());
};

/** Takes the init and never answers, until the client gives up. @type {Serve} */
const silent = async (far) => {
  await far.receive();
  await far.receive();
};

/** @type {Serve} */
const hangsUp = async (far) => void (await far.receive());

/** @param {object} greeting @returns {Serve} */
const replaced = (greeting) => async (far) => {
  await far.receive();
  far.say(greeting, { type: "error", code: "SESSION_REPLACED", message: "resumed by another connection" });
};

/** @param {(Serve | "refused" | "stuck")[]} connections @param {number} seconds @param {StreamOptions} [options] */
async function play(connections, seconds, options) {
  const WebSocket = script(...connections);
  const client = new StreamClient(URL_OF_SERVER, { WebSocket, reconnect: QUICK, ...AUDIO, ...options });
  await client.connect();
  for (let second = 0; second < seconds; second++) client.send(SECOND);
  return client.end();
}

test("what a resume was to tell counts as heard only when it was told", async () => {
  /** @type {Serve} */
  const lostUnheard = async (far) => {
    await far.receive();
    far.say(ready());
    await hear(far, 10 * SECOND.length);
  };
  /** @type {Serve} */
  const lostBeforeTheReplay = async (far) => {
    await far.receive();
    far.say(ready({ resumed: true, received_samples: 10 * SECOND.length }));
  };
  /** @type {number[]} */
  const heard = [];
  await play([lostUnheard, lostBeforeTheReplay, finish(heard)], 10);
  assert.deepEqual(heard, [10 * SECOND.length]);
});

for (const isTold of [true, false]) {
  test(`a server that has to go may have made nothing final (${isTold ? "error" : "close code"})`, async () => {
    /** @type {Serve} */
    const fails = async (far) => {
      await far.receive();
      far.say(ready());
      await hear(far, 10 * SECOND.length);
      far.say({ type: "ack", received_samples: 10 * SECOND.length });
      if (isTold) far.say({ type: "error", code: "SERVER_DRAINING", message: "the speech engine failed" });
      far.close(1012);
    };
    /** @type {number[]} */
    const heard = [];
    await play([fails, finish(heard)], 10);
    assert.deepEqual(heard, [DOUBT]);
  });
}

test("who does not reconnect is told", async () => {
  /** @type {Serve} */
  const drains = async (far) => {
    await far.receive();
    far.say(ready(), { type: "error", code: "SERVER_DRAINING", message: "going", retry_after: 3 });
  };
  for (const reconnect of /** @type {(false | { giveUpSec: number })[]} */ ([false, { giveUpSec: 0 }])) {
    await assert.rejects(play([drains], 1, { reconnect }), { code: "SERVER_DRAINING", retryAfter: 3 });
    await assert.rejects(play([lost], 1, { reconnect }), { code: "CONNECTION_LOST" });
  }
});

/** Takes one frame, and hangs up. @type {Serve} */
const hearsOne = async (far) => {
  await lost(far);
  await far.receive();
};

for (const head of ["RIFF", "RF64"]) {
  test(`audio with a WAV header is not resumed: ${head}`, async () => {
    const client = new StreamClient(URL_OF_SERVER, { ...AUDIO, WebSocket: script(hearsOne), reconnect: QUICK });
    await client.connect();
    client.send(new TextEncoder().encode(`${head}....WAVE`));
    await assert.rejects(client.end(), { code: "CONNECTION_LOST", message: "the connection broke (1006)" });
  });
}

test("a container that is not WebM is not begun anew", async () => {
  const WebSocket = script(hearsOne, finish([]));
  const client = new StreamClient(URL_OF_SERVER, { dtype: "container", WebSocket, reconnect: QUICK });
  await client.connect();
  client.send(new TextEncoder().encode("OggS, and what is more"));
  await assert.rejects(client.end(), { code: "CONNECTION_LOST", message: /cannot be sent again; .* WebM/ });
});

test("a container is never resumed, but begun anew", async () => {
  /** @type {any[]} */
  const inits = [];
  /** @type {Serve} */
  const begins = async (far) => {
    inits.push(await far.receiveMessage());
    far.say(ready());
    if (inits.length < 3) return;
    await far.receive();
    far.say({ type: "done", seq: 1 });
  };
  const WebSocket = script(begins, begins, begins);
  const client = new StreamClient(URL_OF_SERVER, { dtype: "container", WebSocket, reconnect: QUICK });
  /** @type {string[]} */
  const states = [];
  client.addEventListener("connection", ({ detail }) => states.push(detail.state));
  await client.connect();
  await client.end();
  assert.deepEqual(states, ["open", "lost", "restarted", "lost", "restarted", "closed"]);
  const init = { sample_rate: 48_000, dtype: "container", channels: 1, type: "init", acks: true };
  assert.deepEqual(inits, [init, init, init]);
});

test("who is replaced by another client does not fight for the session", async () => {
  for (const connections of [
    [lost, hangsUp, hangsUp, replaced(ready({ resumed: true }))],
    [lost, silent, replaced(ready())], // the attempt that was held up belongs to the session that is gone
  ]) {
    await assert.rejects(play(connections, 1, { openTimeoutSec: 0.05 }), { code: "SESSION_REPLACED" });
  }
});

test("who is replaced by an attempt of its own goes on", async () => {
  /** @type {number[]} */
  const heard = [];
  await play([lost, silent, replaced(ready({ resumed: true })), finish(heard)], 1, { openTimeoutSec: 0.05 });
  assert.deepEqual(heard, [SECOND.length]);
});

test("a refusal that waiting does not help ends the stream", async () => {
  /** @type {Serve} */
  const wrongKey = async (far) => {
    await far.receive();
    far.say({ type: "error", code: "AUTH_FAILED", message: "the token has expired" });
  };
  await assert.rejects(play([lost, wrongKey], 1), { code: "AUTH_FAILED", message: "the token has expired" });
});

test("audio that is no longer buffered cannot be resumed, and it is said what helps", async () => {
  /** @type {Serve} */
  const forgetful = async (far) => {
    await far.receive();
    far.say(ready());
    await hear(far, 10 * SECOND.length);
  };
  /** @type {Serve} */
  const wantsAll = async (far) => {
    await far.receive();
    far.say(ready({ resumed: true }));
    await far.receive();
  };
  const connections = [forgetful, wantsAll];
  await assert.rejects(play(connections, 10, { maxBufferBytes: 5000 }), { message: /raise maxBufferBytes/ });
});

test("every configuration arrives and has its own answer", async () => {
  const server = new ScriptedServer({ breaks: [1] });
  const client = new StreamClient(URL_OF_SERVER, { WebSocket: server.WebSocket, reconnect: QUICK, ...AUDIO });
  await client.connect();
  // The answer to the first is lost with the connection; it comes twice: replayed, and as it is asked again.
  const answers = await Promise.all([client.configure({ partials: false }), client.configure({ words: false })]);
  assert.deepEqual(answers.map(({ config }) => config), [
    { type: "configure", partials: false },
    { type: "configure", words: false },
  ]);
  assert.equal(server.inits.length, 2);
  client.send(SECOND);
  await client.flush(); // what was acknowledged before leaves no doubt
  const third = await client.configure({ chunk_size_sec: 1 });
  assert.deepEqual(third.config, { type: "configure", chunk_size_sec: 1 });
  assert.deepEqual(server.session.heard, [...Array(4).fill("configure"), "flush", "configure"]);
  client.close();
});

test("what was configured goes into the init of a session that takes over", async () => {
  /** @type {any[]} */
  const inits = [];
  /** @type {Serve} */
  const configures = async (far) => {
    inits.push(await far.receiveMessage());
    far.say(ready());
    await far.receive();
    far.say({ type: "configured", seq: 1, config: {} });
    far.say({ type: "error", code: "SERVER_DRAINING", message: "going" });
  };
  /** @type {Serve} */
  const ends = async (far) => {
    inits.push(await far.receiveMessage());
    far.say(ready());
    await far.receive();
    far.say({ type: "done", seq: 1 });
  };
  const WebSocket = script(configures, ends);
  const client = new StreamClient(URL_OF_SERVER, { WebSocket, reconnect: QUICK, ...AUDIO, partials: true });
  await client.connect();
  await client.configure({ partials: false, words: false });
  await client.end();
  assert.deepEqual(inits.map(({ partials, words }) => [partials, words]), [
    [true, undefined],
    [false, false],
  ]);
});

test("a connection on which nothing comes back any more is given up", async (context) => {
  context.mock.timers.enable({ apis: ["setInterval"] });
  let now = performance.now();
  context.mock.method(performance, "now", () => now);
  /** @type {number[]} */
  const heard = [];
  let closedWith;
  /** @type {Serve} */
  const dies = async (far) => {
    await far.receive();
    far.say(ready());
    await hear(far, 3 * SECOND.length);
    for (let second = 0; second < 25; second++) {
      now += 1000;
      context.mock.timers.tick(1000);
    }
    closedWith = far.closedWith;
  };
  await play([dies, finish(heard)], 3);
  assert.equal(closedWith, 4000, "it is the client who closes, and who will come back");
  assert.deepEqual(heard, [3 * SECOND.length]);
});

test("who sends nothing is not taken for dead", async (context) => {
  context.mock.timers.enable({ apis: ["setInterval"] });
  let now = performance.now();
  context.mock.method(performance, "now", () => now);
  /** @type {Serve} */
  const waits = async (far) => {
    await far.receive();
    far.say(ready());
    await hear(far, 1 * SECOND.length);
    for (let second = 0; second < 100; second++) {
      now += 1000;
      context.mock.timers.tick(1000);
    }
    assert.equal(far.closedWith, undefined);
    far.say({ type: "done", seq: 1 });
    await far.receive();
  };
  await play([waits], 1);
});

test("the browser's `online` ends a wait", async () => {
  const events = new EventTarget();
  const scope = /** @type {any} */ (globalThis);
  scope.addEventListener = events.addEventListener.bind(events);
  scope.removeEventListener = events.removeEventListener.bind(events);
  try {
    const reconnect = { firstWaitSec: 1e6, longestWaitSec: 1e6, giveUpSec: 1e6 };
    const WebSocket = script(lost, finish([]));
    const client = new StreamClient(URL_OF_SERVER, { ...AUDIO, WebSocket, reconnect });
    client.addEventListener("connection", ({ detail }) => {
      if (detail.state === "lost") setTimeout(() => events.dispatchEvent(new Event("online")), 1);
    });
    await client.connect();
    await client.end();
  } finally {
    delete scope.addEventListener;
    delete scope.removeEventListener;
  }
});

/**
 * A mending whose time passes by its waits; `outcomes` of the attempts.
 * @param {(Error | object)[]} outcomes @param {object} [policy]
 */
function mending(outcomes, policy) {
  let now = 0;
  /** @type {number[]} */
  const waits = [];
  /** @type {ConnectionChange[]} */
  const changes = [];
  const backlog = new Backlog(1, 1000);
  const parts = {
    door: {
      abandoned: 0,
      async open() {
        now += 1; // connecting takes a second
        const outcome = outcomes.shift();
        if (outcome instanceof Error) throw outcome;
        return { connection: /** @type {any} */ ({ close() {} }), ready: /** @type {any} */ (outcome) };
      },
    },
    init: {},
    backlog,
    timeline: new Timeline(1000),
    questions: new Questions(backlog),
    notify: (/** @type {ConnectionChange} */ change) => void changes.push(change),
    clock: {
      now: () => now,
      random: () => 0.5,
      wait: async (/** @type {number} */ seconds) => {
        waits.push(seconds);
        now += seconds;
      },
    },
    signal: new AbortController().signal,
    isResumable: true,
  };
  const made = new Mending(parts, policy);
  return { mending: made, waits, changes };
}

const refusal = () => new StreamError("CONNECTION_FAILED", "nobody there");

test("waits grow, each a random part of the longest, and nobody waits for ever", async () => {
  const parts = mending([ready(), ...Array.from({ length: 20 }, refusal)], { giveUpSec: 30 });
  await parts.mending.begin();
  parts.mending.survive(new Closed(1006, ""));
  const expected = { code: "CONNECTION_LOST", message: "gave up after 30 s: nobody there" };
  await assert.rejects(parts.mending.reconnect(), expected);
  assert.deepEqual(parts.waits.slice(0, 8), [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5]);
  const total = parts.waits.reduce((sum, wait) => sum + wait + 1, 0);
  assert.ok(total >= 30 && total <= 31);
  assert.deepEqual(parts.changes.slice(0, 2), [
    { state: "lost", message: "the connection broke (1006)", attempt: 1, retryInSec: 0.1 },
    { state: "lost", message: "nobody there", attempt: 2, retryInSec: 0.2 },
  ]);
});

test("a long wait that the server asks for leaves one more attempt", async () => {
  const full = () => new StreamError("CAPACITY_FULL", "full", 60);
  const soon = mending([ready(), full(), ready({ resumed: true })], { giveUpSec: 10 });
  await soon.mending.begin();
  soon.mending.survive(new Closed(1006, ""));
  await soon.mending.reconnect();
  assert.deepEqual(soon.waits, [0.1, 8.9]);
  const never = mending([ready(), full(), full()], { giveUpSec: 10 });
  await never.mending.begin();
  never.mending.survive(new Closed(1006, ""));
  await assert.rejects(never.mending.reconnect(), { message: "gave up after 10 s: full", retryAfter: 60 });
});

test("a server that breaks again and again, with nothing in between, is given up", async () => {
  const parts = mending([ready(), ...Array.from({ length: 100 }, () => ready({ resumed: true }))], { giveUpSec: 10 });
  await parts.mending.begin();
  let breaks = 0;
  await assert.rejects(
    async () => {
      for (; ; breaks++) {
        parts.mending.survive(new Closed(1006, ""));
        await parts.mending.reconnect();
      }
    },
    { message: "gave up after 10 s: the connection breaks again and again" },
  );
  assert.ok(breaks > 5 && breaks < 12);
  const living = mending([ready(), ...Array.from({ length: 100 }, () => ready({ resumed: true }))], { giveUpSec: 10 });
  await living.mending.begin();
  for (let time = 0; time < 100; time++) {
    living.mending.survive(new Closed(1006, ""));
    await living.mending.reconnect();
    living.mending.progress();
  }
});

test("waits go on growing over connections that break at once, and begin anew behind something new", async () => {
  const parts = mending([ready(), ...Array.from({ length: 9 }, () => ready({ resumed: true }))]);
  await parts.mending.begin();
  for (let time = 0; time < 5; time++) {
    if (time === 4) parts.mending.progress();
    parts.mending.survive(new Closed(1006, ""));
    await parts.mending.reconnect();
  }
  assert.deepEqual(parts.waits, [0.1, 0.2, 0.4, 0.8, 0.1]);
});

test("a warning, which each new connection tells again, is nothing new", async () => {
  const warning = { type: "warning", code: "DEGRADED", message: "busy" };
  /** @type {Serve} */
  const warns = async (far) => {
    await far.receive();
    far.say(ready({ resumed: true }), warning);
  };
  const WebSocket = script(lost, ...Array.from({ length: 2000 }, () => warns));
  const client = new StreamClient(URL_OF_SERVER, { ...AUDIO, WebSocket, reconnect: { ...QUICK, giveUpSec: 0.3 } });
  await client.connect();
  await assert.rejects(client.end(), { message: /^gave up after 0.3 s/ });
});

test("a session that is not found makes room for a new one, at once in the words of the server", async () => {
  const gone = new StreamError("SESSION_NOT_FOUND", "its window has passed");
  const parts = mending([ready(), gone, ready({ session_id: "other" })]);
  await parts.mending.begin();
  parts.mending.survive(new Closed(1006, ""));
  await parts.mending.reconnect();
  assert.equal(parts.mending.ready?.session_id, "other");
  assert.deepEqual(parts.changes.map(({ state, message }) => [state, message]), [
    ["lost", "the connection broke (1006)"],
    ["lost", "its window has passed"],
    ["restarted", "the stream goes on in session other"],
  ]);
});

test("what ends a stream, and what does not", () => {
  const { mending: made } = mending([]);
  for (const code of [1000, 1001, 1006, 1011, 1012, 1013, 4001, 4029]) made.survive(new Closed(code, ""));
  assert.throws(() => made.survive(new Closed(4011, "")), { code: "SESSION_REPLACED" });
  assert.throws(() => made.survive(new StreamError("INTERNAL_ERROR", "our fault")), { code: "INTERNAL_ERROR" });
  assert.throws(() => made.survive(new TypeError("a mistake")), { code: "PROTOCOL_ERROR" });
});
