// Recordings made here as Chromium's MediaRecorder makes them: segment and clusters of unknown size, SimpleBlocks.
// That decoders hear the right samples in what comes out is tested in Python, with the server's decoder.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FRAME_BYTES } from "../stream_browser/client/backlog.js";
import { WebmBacklog } from "../stream_browser/client/webm.js";

const UNKNOWN = [0x01, 255, 255, 255, 255, 255, 255, 255];
const PRE_SKIP = 312;
const PACKET_MS = 60;

/** @typedef {{ id: number, body: number[] }} Element */

/** @param {number[]} id @param {number[]} body */
const element = (id, body) => [...id, 0x40 | (body.length >> 8), body.length & 255, ...body];

/** @param {string} text */
const ascii = (text) => [...text].map((letter) => letter.charCodeAt(0));

/** @param {number} preSkip */
const opusHead = (preSkip) => [
  ...ascii("OpusHead"), 1, 1, preSkip & 255, preSkip >> 8, 0x80, 0xbb, 0, 0, 0, 0, 0,
];

const DELAY = element([0x56, 0xaa], [0x63, 0x2e, 0xa0]);

/** @param {number[]} codecPrivate @param {number[]} [more] elements */
const track = (codecPrivate, more = []) =>
  element([0xae], [
    ...element([0xd7], [1]), ...element([0x83], [2]), ...element([0x86], ascii("A_OPUS")),
    ...more, ...element([0x63, 0xa2], codecPrivate),
  ]);

/** @param {number[]} tracks */
const header = (tracks) => [
  ...element([0x1a, 0x45, 0xdf, 0xa3], element([0x42, 0x82], ascii("webm"))),
  ...[0x18, 0x53, 0x80, 0x67], ...UNKNOWN,
  ...element([0x15, 0x49, 0xa9, 0x66], element([0x4d, 0x80], ascii("test"))),
  ...element([0x16, 0x54, 0xae, 0x6b], tracks),
];

/** @param {number} number @param {number} [size] @returns {number[]} SILK, wide band, one frame of 60 ms */
const packet = (number, size = 30) => [11 << 3, number & 255, number >> 8, ...Array(size - 3).fill(7)];

/** @param {number} time @param {number[]} content @param {number} [flags] */
const block = (time, content, flags = 0x80) => element([0xa3], [0x81, time >> 8, time & 255, flags, ...content]);

/** @param {number} time */
const cluster = (time) => [
  ...[0x1f, 0x43, 0xb6, 0x75], ...UNKNOWN, ...element([0xe7], [time >> 16, (time >> 8) & 255, time & 255]),
];

/** @param {number} count packets @param {number} [size] of each */
function recording(count, size) {
  const bytes = header(track(opusHead(PRE_SKIP), DELAY));
  for (let at = 0; at < count; at++) {
    if (at % 5 === 0) bytes.push(...cluster(60_000 + at * PACKET_MS)); // long after the device was opened
    bytes.push(...block((at % 5) * PACKET_MS, packet(at, size)));
  }
  return Uint8Array.from(bytes);
}

/** @param {WebmBacklog} log @returns {(Uint8Array | string)[]} */
function drain(log) {
  const frames = [];
  for (let frame = log.nextFrame(); frame !== undefined; frame = log.nextFrame()) frames.push(frame);
  return frames;
}

/** @param {(Uint8Array | string)[]} frames */
const bytesOf = (frames) => frames.flatMap((frame) => (typeof frame === "string" ? [] : [...frame]));

/** What a session was sent: how much is skipped, and the time and number of each packet. @param {number[]} bytes */
function parse(bytes) {
  /** @type {{ preSkip: number, hasDelay: boolean, packets: { time: number, number: number }[] }} */
  const found = { preSkip: -1, hasDelay: false, packets: [] };
  let base = 0;
  for (let at = 0; at < bytes.length; ) {
    const idLength = Math.clz32(bytes[at]) - 23;
    const id = parseInt(bytes.slice(at, at + idLength).map((byte) => byte.toString(16).padStart(2, "0")).join(""), 16);
    const sizeLength = Math.clz32(bytes[at + idLength]) - 23;
    const [first, ...rest] = bytes.slice(at + idLength, at + idLength + sizeLength);
    const size = rest.reduce((value, byte) => value * 256 + byte, first & (255 >> sizeLength));
    at += idLength + sizeLength;
    if ([0x18538067, 0x1654ae6b, 0xae, 0x1f43b675].includes(id)) continue;
    const body = bytes.slice(at, at + size);
    assert.equal(body.length, size, "an element is cut");
    if (id === 0x63a2) found.preSkip = body[10] + 256 * body[11];
    if (id === 0x56aa) found.hasDelay = true;
    if (id === 0xe7) base = body.reduce((value, byte) => value * 256 + byte);
    if (id === 0xa3) found.packets.push({ time: base + body[1] * 256 + body[2], number: body[5] + 256 * body[6] });
    at += size;
  }
  return found;
}

/** @param {number} from @param {number} to */
const numbered = (from, to) =>
  Array.from({ length: to - from }, (_, at) => ({ time: at * PACKET_MS, number: from + at }));

test("a first session has all packets, at times from 0, and skips what the recording says", () => {
  const log = new WebmBacklog(1e6);
  log.append(recording(23));
  assert.equal(log.unsentBytes, 23 * 30);
  assert.equal(log.nextSample, 0);
  const sent = parse(bytesOf(drain(log)));
  assert.deepEqual(sent.packets, numbered(0, 23));
  assert.equal(sent.preSkip, PRE_SKIP);
  assert.equal(sent.hasDelay, false); // decoders would believe it and not `pre-skip`
  assert.equal(log.unsentBytes, 0);
  assert.equal(log.endSample, Math.ceil(23 * PACKET_MS - PRE_SKIP / 48));
  assert.ok(log.isRestartable);
});

test("a recording may be cut anywhere", () => {
  const whole = recording(12);
  for (const size of [1, 2, 3, 7, 64, 1000]) {
    const log = new WebmBacklog(1e6);
    const frames = [];
    for (let at = 0; at < whole.length; at += size) {
      log.append(whole.slice(at, at + size));
      frames.push(...drain(log));
    }
    assert.deepEqual(parse(bytesOf(frames)).packets, numbered(0, 12), `pieces of ${size}`);
  }
});

test("another session begins with its own header a little before the position, and skips up to it", () => {
  const log = new WebmBacklog(1e6);
  log.append(recording(50));
  drain(log);
  assert.equal(log.rewind(2000), 2000);
  assert.equal(log.nextSample, 2000);
  const from = 22; // the packet of 1366.5 ms: 640 ms before the position, and the skipped samples behind it
  log.append(Uint8Array.from([...cluster(99_000), ...block(0, packet(50))]));
  const sent = parse(bytesOf(drain(log)));
  assert.deepEqual(sent.packets, numbered(from, 51));
  assert.equal(sent.preSkip, 2000 * 48 + PRE_SKIP - from * PACKET_MS * 48);
});

test("a position is taken back and forth, to the very beginning and to the very end", () => {
  const log = new WebmBacklog(1e6);
  log.append(recording(30));
  drain(log);
  for (const position of [0, 1, 1200, log.endSample, 7]) {
    assert.equal(log.rewind(position), position);
    const sent = parse(bytesOf(drain(log)));
    const first = sent.packets[0].number;
    assert.equal(first * PACKET_MS * 48 + sent.preSkip, position * 48 + PRE_SKIP);
    assert.equal(sent.packets.at(-1)?.number, 29);
    assert.equal(log.nextSample, Math.max(position, Math.floor(30 * PACKET_MS - PRE_SKIP / 48)));
  }
  assert.equal(log.rewind(log.endSample + 1), undefined);
});

test("what is not sent yet cannot be skipped", () => {
  const log = new WebmBacklog(1e6);
  log.append(recording(10));
  assert.equal(log.rewind(100), undefined);
  assert.equal(log.rewind(0), 0);
});

test("sent packets are forgotten up to a limit, and where they are no longer needed", () => {
  const log = new WebmBacklog(20 * 30);
  log.append(recording(100));
  drain(log);
  assert.equal(log.firstSample, Math.ceil(80 * PACKET_MS - PRE_SKIP / 48));
  assert.equal(log.rewind(log.firstSample - 1), undefined);
  log.forget(5700);
  assert.ok(log.firstSample > 4900 && log.firstSample <= 5700 - 640);
  assert.equal(log.rewind(5700), 5700);
});

test("messages keep their place; those before the position are not sent again, nor is what was answered", () => {
  const log = new WebmBacklog(1e6);
  log.append("a");
  log.append(recording(20));
  log.append("b");
  log.append(Uint8Array.from(block(0, packet(20))));
  log.append("c");
  const kinds = () => drain(log).map((frame) => (typeof frame === "string" ? frame : "audio"));
  assert.deepEqual(kinds(), ["a", "audio", "b", "audio", "c"]);
  log.rewind(1193); // exactly where b is, but for a half
  assert.deepEqual(kinds(), ["audio", "b", "audio", "c"]);
  log.rewind(1194);
  log.settle("c");
  assert.deepEqual(kinds(), ["audio", "audio"]);
  log.append(Uint8Array.from(block(0, packet(21))));
  log.append("d");
  log.settle("b");
  assert.deepEqual(kinds(), ["audio", "d"]);
});

test("a backlog goes out in frames that servers take", () => {
  const log = new WebmBacklog(1e7);
  log.append(recording(700, 1500));
  const frames = drain(log);
  assert.ok(frames.every((frame) => frame.length <= FRAME_BYTES));
  assert.ok(frames.length < 40);
  assert.deepEqual(parse(bytesOf(frames)).packets, numbered(0, 700));
});

test("times in a cluster of small packets fit into 16 bits", () => {
  const log = new WebmBacklog(1e7);
  log.append(recording(1500, 4));
  assert.deepEqual(parse(bytesOf(drain(log))).packets, numbered(0, 1500));
});

test("what is no WebM with Opus alone is passed on as it is, and cannot be restarted", () => {
  const vorbis = header(track([...ascii("vorbis"), ...Array(20).fill(0)]));
  const two = header([...track(opusHead(0)), ...element([0xae], element([0x86], ascii("V_VP8")))]);
  for (const [name, bytes] of Object.entries({ ogg: ascii("OggS...................."), vorbis, two })) {
    const log = new WebmBacklog(1e6);
    const input = [...bytes, ...cluster(0), ...block(0, packet(0)), ...Array(100_000).fill(5)];
    log.append(Uint8Array.from(input.slice(0, 17)));
    log.append(Uint8Array.from(input.slice(17)));
    log.append("end");
    assert.equal(log.isRestartable, false, name);
    const frames = drain(log);
    assert.equal(frames.pop(), "end", name);
    assert.ok(frames.every((frame) => frame.length <= FRAME_BYTES));
    assert.deepEqual(bytesOf(frames), input, name);
    assert.equal(log.rewind(0), undefined, name);
    assert.equal(log.unsentBytes, 0, name);
  }
});

test("packets before what is not understood are still sent", () => {
  const log = new WebmBacklog(1e6);
  const laced = block(60, packet(1), 0x86);
  log.append(Uint8Array.from([...recording(1), ...laced]));
  assert.equal(log.isRestartable, false);
  const frames = /** @type {Uint8Array[]} */ (drain(log));
  assert.deepEqual(parse([...frames[0]]).packets, numbered(0, 1));
  assert.deepEqual([...frames[1]], laced);
});
