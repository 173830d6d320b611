// A recording as WebM over connections that break: a server that says of every second when it was recorded.

import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamClient } from "../stream_browser/client/index.js";
import { join, opusSamples, webmCluster, WebmReader } from "../stream_browser/client/webm-format.js";
import { socketClass } from "./support/memory-socket.js";
import { ready, URL_OF_SERVER } from "./support/scripted-server.js";
import { vectors } from "./support/vector-language.js";

const PACKET_MS = 20;
const PER_MS = 48;
const SECONDS = 20;

/** A recording of packets that say which they are. */
function recording() {
  const [, steps] = vectors().find(([name]) => name === "container") ?? assert.fail();
  const sent = steps.filter(({ on, audio }) => on === "webm" && audio);
  const reader = new WebmReader();
  reader.read(Buffer.concat(sent.map(({ audio }) => Buffer.from(audio.bytes_b64, "base64"))));
  const packets = Array.from({ length: (SECONDS * 1000) / PACKET_MS + 10 }, (_, index) => {
    const packet = new Uint8Array(60).fill(index & 255);
    packet.set([0x48, index >> 8, index & 255]);
    assert.equal(opusSamples(packet), PACKET_MS * PER_MS);
    return packet;
  });
  const clusters = [];
  for (let at = 0; at < packets.length; at += 50) {
    clusters.push(webmCluster(packets.slice(at, at + 50), at * PACKET_MS * PER_MS));
  }
  return { bytes: join([reader.header(reader.preSkip), ...clusters]), preSkip: reader.preSkip };
}

/**
 * Serves sessions that cannot be resumed, each second of which is a segment; its text is the time in the recording.
 * @param {(number | null)[]} breaks  for each connection in turn, after how many frames it breaks
 * @param {number} preSkip  of the recording
 */
function serverOf(breaks, preSkip) {
  let sessions = 0;
  const WebSocket = socketClass(() => async (far) => {
    const init = await far.receiveMessage();
    assert.deepEqual([init.dtype, init.session_id, init.sample_rate], ["container", undefined, 48_000]);
    const limit = breaks[sessions++] ?? Infinity;
    far.say(ready({ session_id: `session-${sessions}` }));
    const reader = new WebmReader();
    let [seq, segment, samples, firstMs] = [0, 0, 0, NaN];
    const start = () =>
      far.say({ type: "speech_start", seq: ++seq, segment_id: segment, offset_ms: segment * 1000, channel: 0 });
    for (let frames = 1; ; frames++) {
      const frame = await far.receive();
      if (frames > limit) return;
      if (typeof frame === "string") {
        if (JSON.parse(frame).type === "flush") far.say({ type: "flushed", seq: ++seq, id: JSON.parse(frame).id });
        else break;
        continue;
      }
      for (const packet of reader.read(frame)) {
        if (samples === 0) {
          samples = -reader.preSkip;
          firstMs = (packet[1] * 256 + packet[2]) * PACKET_MS - (preSkip - reader.preSkip) / PER_MS;
          start();
        }
        samples += opusSamples(packet);
        if (samples < (segment + 1) * 1000 * PER_MS) continue;
        const offset = { segment_id: segment, offset_ms: segment * 1000, channel: 0, duration_ms: 1000 };
        const text = String(firstMs + segment * 1000);
        far.say({ type: "final_segment", seq: ++seq, ...offset, text, silence_duration_ms: 0 });
        segment++;
        start();
      }
      far.say({ type: "ack", received_samples: Math.max(0, samples) });
    }
    const total_audio_duration_sec = samples / PER_MS / 1000;
    const totals = { total_segments: segment, total_audio_duration_sec, connection_duration_sec: 1 };
    far.say({ type: "done", seq: ++seq, ...totals });
    await far.receive();
  });
  return { WebSocket, sessions: () => sessions };
}

for (const breaks of [[null], [1, 1, 1], [5, 9, 2, 30], [30, 2, 1], [0, 0, 7]]) {
  test(`nothing is lost and nothing comes twice, broken after ${breaks.join(", ") || "no"} frames`, async () => {
    const { bytes, preSkip } = recording();
    const server = serverOf(breaks, preSkip);
    const client = new StreamClient(URL_OF_SERVER, {
      dtype: "container",
      WebSocket: server.WebSocket,
      reconnect: { firstWaitSec: 0.001, longestWaitSec: 0.001 },
    });
    /** @type {[number, string][]} */
    const finals = [];
    client.addEventListener("final_segment", ({ detail }) => finals.push([detail.offset_ms, detail.text]));
    await client.connect();
    for (let at = 0; at < bytes.length; at += 777) {
      await client.send(bytes.subarray(at, at + 777));
      if (at % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal((await client.flush()).id, 1);
    const done = await client.end();
    const expected = Array.from({ length: SECONDS }, (_, second) => [second * 1000, String(second * 1000)]);
    assert.deepEqual(finals, expected);
    assert.equal(done.total_segments, SECONDS);
    assert.ok(Math.abs(done.total_audio_duration_sec - SECONDS) < 0.3);
    assert.equal(server.sessions() > 1, breaks[0] !== null);
  });
}
