// Getting in: addresses, tokens, and saying in words why there is no connection.

import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamClient } from "../stream_browser/client/index.js";
import { script } from "./support/memory-socket.js";
import { AUDIO, ready, ScriptedServer } from "./support/scripted-server.js";

/** @typedef {import("../stream_browser/client/index.js").StreamOptions} StreamOptions */

/** @param {ScriptedServer} server @param {StreamOptions} [options] */
async function visit(server, options, url = "ws://memory/ws") {
  const client = new StreamClient(url, { WebSocket: server.WebSocket, ...AUDIO, ...options });
  await client.connect();
  client.close();
  return server.urls[0].href;
}

test("addresses are those of WebSockets, or of the page's own server", async () => {
  assert.equal(await visit(new ScriptedServer(), {}, "https://host/a/ws?x=1"), "wss://host/a/ws?x=1");
  assert.equal(await visit(new ScriptedServer(), {}, "http://host/ws"), "ws://host/ws");
  const scope = /** @type {any} */ (globalThis);
  scope.location = { href: "https://host/captions/?overlay" };
  try {
    assert.equal(await visit(new ScriptedServer(), {}, "ws"), "wss://host/captions/ws");
  } finally {
    delete scope.location;
  }
  await assert.rejects(visit(new ScriptedServer(), {}, "/ws"), {
    code: "CONNECTION_FAILED",
    message: '"/ws" is not an address; one of a server looks like wss://HOST/ws',
  });
});

test("a token goes into the address, and a function is asked for one each time", async () => {
  assert.equal(await visit(new ScriptedServer(), { token: "a b&c" }), "ws://memory/ws?token=a+b%26c");
  const server = new ScriptedServer({ breaks: [1] });
  let asked = 0;
  const client = new StreamClient("ws://memory/ws", {
    ...AUDIO,
    WebSocket: server.WebSocket,
    reconnect: { firstWaitSec: 0.001, longestWaitSec: 0.001 },
    token: async () => {
      asked++;
      if (asked === 2) throw new Error("the page's own server is away");
      return `t${asked}`;
    },
  });
  /** @type {string[]} */
  const messages = [];
  client.addEventListener("connection", ({ detail }) => messages.push(detail.message));
  await client.connect();
  await client.end();
  assert.deepEqual(
    server.urls.map(({ search }) => search),
    ["?token=t1", "?token=t3&session_id=session-1"],
  );
  assert.ok(messages.includes("there is no token: the page's own server is away"));
});

test("no token, no connection", async () => {
  const server = new ScriptedServer();
  await assert.rejects(visit(server, { token: () => Promise.reject(new Error("401")) }), {
    code: "CONNECTION_FAILED",
    message: "there is no token: 401",
  });
  assert.deepEqual(server.urls, []);
});

test("a token that comes too late opens nothing", async () => {
  const server = new ScriptedServer();
  const late = new Promise((resolve) => setTimeout(() => resolve("late"), 30));
  await assert.rejects(visit(server, { token: () => /** @type {Promise<string>} */ (late), openTimeoutSec: 0.005 }), {
    code: "CONNECTION_FAILED",
    message: "no answer from ws://memory/ws in time",
  });
  await late;
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(server.urls, []);
});

for (const [what, connection] of /** @type {[string, any][]} */ ([
  ["the upgrade", "stuck"],
  ["the greeting", (/** @type {any} */ far) => far.receive().then(() => far.receive())],
])) {
  test(`a server that does not answer is waited for so long: ${what}`, async () => {
    const options = { WebSocket: script(connection), openTimeoutSec: 0.01 };
    await assert.rejects(new StreamClient("ws://memory/ws", options).connect(), { message: /no answer .* in time/ });
  });
}

test("who is hung up on before the greeting is told how", async () => {
  const WebSocket = script(async (far) => {
    await far.receive();
    far.close(1013, "go away");
    await far.receive();
  });
  await assert.rejects(new StreamClient("ws://memory/ws", { WebSocket }).connect(), {
    code: "CONNECTION_FAILED",
    message: "the server closed the connection: go away (1013)",
  });
});

for (const [what, answer, expected] of /** @type {[string, () => Response, object][]} */ ([
  [
    "full",
    () => Response.json({ status: "ready", sessions: 8, max_sessions: 8 }),
    { code: "CAPACITY_FULL", message: "the server is full; try later", retryAfter: undefined },
  ],
  [
    "full, and says until when",
    () => Response.json({ sessions: 9, max_sessions: 8 }, { headers: { "Retry-After": "7" } }),
    { code: "CAPACITY_FULL", message: "the server is full; try in 7 s", retryAfter: 7 },
  ],
  [
    "draining",
    () => Response.json({ status: "draining" }, { status: 503, headers: { "Retry-After": "5" } }),
    { code: "SERVER_DRAINING", message: "the server is not ready; try in 5 s", retryAfter: 5 },
  ],
  [
    "not at that path",
    () => Response.json({ status: "ready", sessions: 0, max_sessions: 8 }),
    { code: "CONNECTION_FAILED", message: /its path is usually \/ws, and proxies must pass WebSockets on/ },
  ],
  ["another server", () => new Response("<html>", { status: 404 }), { message: /took no WebSocket/ }],
  ["another server, odd", () => new Response("null"), { message: /took no WebSocket/ }],
  [
    "away",
    () => {
      throw new TypeError("fetch failed");
    },
    { code: "CONNECTION_FAILED", message: "no server answers at memory, or it is not for this page (allowed_origins)" },
  ],
])) {
  test(`a refused upgrade is looked into: the server is ${what}`, async (context) => {
    const fetch = context.mock.method(globalThis, "fetch", async () => answer());
    const client = new StreamClient("wss://memory/speech/ws?token=x", { WebSocket: script("refused") });
    client.addEventListener("error", () => assert.fail("connect() has said it"));
    await assert.rejects(client.connect(), expected);
    assert.deepEqual(fetch.mock.calls.map(({ arguments: [url] }) => String(url)), ["https://memory/speech/readyz"]);
    await assert.rejects(client.end(), expected);
  });
}

test("a refusal while a session is resumed is not looked into", async (context) => {
  const fetch = context.mock.method(globalThis, "fetch", () => assert.fail());
  const server = new ScriptedServer({ breaks: [1, 0, 0] });
  const reconnect = { firstWaitSec: 0.001, longestWaitSec: 0.001 };
  const client = new StreamClient("ws://memory/ws", { ...AUDIO, WebSocket: server.WebSocket, reconnect });
  await client.connect();
  await client.end();
  assert.equal(fetch.mock.callCount(), 0);
});

test("where there is no WebSocket, it is said which Node has one", async () => {
  const scope = /** @type {any} */ (globalThis);
  const had = Object.getOwnPropertyDescriptor(scope, "WebSocket");
  delete scope.WebSocket;
  try {
    await assert.rejects(new StreamClient("ws://memory/ws").connect(), { message: /Node has one from version 22 on/ });
  } finally {
    if (had) Object.defineProperty(scope, "WebSocket", had);
  }
});

test("a socket that the browser refuses to make", async () => {
  const WebSocket = /** @type {any} */ (
    class {
      constructor() {
        throw new Error("SecurityError");
      }
    }
  );
  await assert.rejects(new StreamClient("ws://memory/ws", { WebSocket }).connect(), {
    code: "CONNECTION_FAILED",
    message: "ws://memory/ws cannot be opened; a page that came over https can only use wss://",
  });
});

test("`ready` is what connect() gives", async () => {
  const WebSocket = script(async (far) => {
    await far.receive();
    far.say(ready({ model: "small" }));
    await far.receive();
  });
  const client = new StreamClient("ws://memory/ws", { WebSocket });
  assert.equal((await client.connect()).model, "small");
  assert.equal(client.ready?.model, "small");
  client.close();
});
