// Real WebSockets, cut at every kind of place: in the handshake, in the middle of frames, and behind the end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { StreamClient, StreamError } from "../stream_browser/client/index.js";
import { cuttingNetwork } from "./support/cutting-network.js";
import { AUDIO, pcm, ScriptedServer } from "./support/scripted-server.js";

/** @typedef {import("../stream_browser/client/index.js").SessionEvent} SessionEvent */

const RECONNECT = { firstWaitSec: 0.001, longestWaitSec: 0.002, giveUpSec: 20 };
const SOCKET = /** @type {any} */ (WebSocket);
const SECONDS = pcm(2.2);

/**
 * Where connections are cut; false where the first one did not come about.
 * @param {import("./support/cutting-network.js").Cut[]} cuts
 */
async function play(cuts) {
  const server = new ScriptedServer();
  let isOpen = true;
  await cuttingNetwork(server, cuts, async (url) => {
    const client = new StreamClient(url, { ...AUDIO, WebSocket: SOCKET, reconnect: RECONNECT });
    /** @type {SessionEvent[]} */
    const events = [];
    try {
      await client.connect();
    } catch (error) {
      assert.ok(error instanceof StreamError && error.code === "CONNECTION_FAILED", String(error));
      isOpen = false;
      return;
    }
    const reading = (async () => {
      for await (const event of client) events.push(event);
    })();
    for (let start = 0; start < SECONDS.length; start += 90) client.send(SECONDS.subarray(start, start + 90));
    const flushed = client.flush();
    await client.end();
    await reading;
    assert.equal((await flushed).id, 1);
    assert.deepEqual(Uint8Array.from(server.session.audio), SECONDS, "all of the audio, once");
    const plain = (/** @type {any[]} */ all) =>
      all.filter(({ type }) => type !== "flushed").map(({ seq: _, ...event }) => event);
    assert.deepEqual(plain(events), plain(server.session.log), "all of the events, once");
    assert.equal(events.filter(({ type }) => type === "flushed").length, 1);
    const numbers = events.map((event) => ("seq" in event ? event.seq : NaN));
    assert.ok(numbers.every((number, index) => index === 0 || number > numbers[index - 1]), String(numbers));
  });
  return isOpen;
}

test("cut on the way to the server", async () => {
  let opened = 0;
  for (let up = 1; up < 3200; up += 53) opened += Number(await play([{ up }, { up: up + 17 }, { up: 2 * up }]));
  assert.ok(opened > 40, String(opened));
});

test("cut on the way from the server", async () => {
  let opened = 0;
  for (let down = 1; down < 2700; down += 47) {
    opened += Number(await play([{ down }, { down: down + 13 }, { down: 2 * down }]));
  }
  assert.ok(opened > 40, String(opened));
});
