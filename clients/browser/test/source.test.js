// The sources with a browser played by the test. With a real one they are tested in Python.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { CaptureError } from "../stream_browser/client/capture-error.js";
import { openDisplay } from "../stream_browser/client/display.js";
import { openFile } from "../stream_browser/client/file.js";
import { LiveSource } from "../stream_browser/client/live-source.js";
import { listMicrophones, openMicrophone } from "../stream_browser/client/microphone.js";
import { Recorder } from "../stream_browser/client/recorder.js";

/** @type {[string, PropertyDescriptor | undefined][]} */
const replaced = [];

/** @param {Record<string, unknown>} globals */
function play(globals) {
  for (const [name, value] of Object.entries(globals)) {
    replaced.push([name, Object.getOwnPropertyDescriptor(globalThis, name)]);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
}

afterEach(() => {
  for (const [name, descriptor] of replaced.splice(0).reverse()) {
    if (descriptor) Object.defineProperty(globalThis, name, descriptor);
    else Reflect.deleteProperty(globalThis, name);
  }
});

/** @param {object} mediaDevices */
const secure = (mediaDevices) => play({ isSecureContext: true, navigator: { mediaDevices } });

/** @param {string} name */
const refusing = (name) => async () => {
  throw new DOMException("as the browser says it", name);
};

for (const [name, code, advice] of [
  ["NotAllowedError", "PERMISSION_DENIED", /blocked.*icon beside the address.*privacy settings/],
  ["SecurityError", "PERMISSION_DENIED", /allow="microphone"/],
  ["NotFoundError", "NO_DEVICE", /Connect one/],
  ["OverconstrainedError", "NO_DEVICE", /choose another/],
  ["NotReadableError", "IN_USE", /another program/],
  ["AbortError", "IN_USE", /plug it in again/],
  ["InvalidStateError", "CANCELLED", /left/],
  ["SomethingNewError", "UNSUPPORTED", /as the browser says it/],
]) {
  test(`a microphone that fails with ${name} says what to do`, async () => {
    secure({ getUserMedia: refusing(String(name)) });
    await assert.rejects(openMicrophone(), (error) => {
      assert.ok(error instanceof CaptureError);
      assert.equal(error.code, code);
      assert.match(error.message, /** @type {RegExp} */ (advice));
      assert.ok(error.cause instanceof DOMException);
      return true;
    });
  });
}

for (const [name, code] of [
  ["NotAllowedError", "PERMISSION_DENIED"],
  ["InvalidStateError", "PERMISSION_DENIED"],
  ["NotFoundError", "NO_DEVICE"],
  ["NotReadableError", "IN_USE"],
  ["AbortError", "IN_USE"],
  ["OverconstrainedError", "UNSUPPORTED"],
]) {
  test(`sharing that fails with ${name} is ${code}`, async () => {
    secure({ getDisplayMedia: refusing(name) });
    await assert.rejects(openDisplay(), { name: "CaptureError", code });
  });
}

test("a page that is not secure is told so, and a browser that cannot is", async () => {
  play({ isSecureContext: false, navigator: {} });
  await assert.rejects(openMicrophone(), { code: "INSECURE", message: /https:/ });
  secure({});
  await assert.rejects(openMicrophone(), { code: "UNSUPPORTED" });
  await assert.rejects(openDisplay(), { code: "UNSUPPORTED", message: /Chrome and Edge/ });
});

test("the microphone is asked for as speech recognition wants it, and as the caller does", async () => {
  /** @type {any} */ let asked;
  secure({ getUserMedia: (/** @type {object} */ request) => ((asked = request), refusing("AbortError")()) });
  await assert.rejects(openMicrophone({ deviceId: "m1", constraints: { autoGainControl: false } }));
  assert.deepEqual(asked.audio, {
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: false,
    channelCount: 1,
    deviceId: { exact: "m1" },
  });
});

test("a prompt that is answered after the caller gave up leaves no device open", async () => {
  const track = { stopped: 0, stop: () => track.stopped++ };
  const giveUp = new AbortController();
  secure({ getUserMedia: async () => (giveUp.abort(), { getTracks: () => [track] }) });
  await assert.rejects(openMicrophone({ signal: giveUp.signal }), { code: "CANCELLED" });
  assert.equal(track.stopped, 1);
  secure({ getUserMedia: () => assert.fail("nobody is asked any more") });
  await assert.rejects(openMicrophone({ signal: giveUp.signal }), { code: "CANCELLED" });
});

test("a tab that is shared without its sound is let go, with the words to look for", async () => {
  const track = { stopped: 0, stop: () => track.stopped++ };
  secure({ getDisplayMedia: async () => ({ getAudioTracks: () => [], getTracks: () => [track] }) });
  await assert.rejects(openDisplay(), { code: "NO_DEVICE", message: /tick "Also share tab audio"/ });
  assert.equal(track.stopped, 1);
});

test("microphones without a name get one, and those that the page may not know of are left out", async () => {
  /** @param {string} kind @param {string} deviceId */
  const device = (kind, deviceId, label = "") => ({ kind, deviceId, label });
  secure({ enumerateDevices: async () => [device("audioinput", "")] });
  assert.deepEqual(await listMicrophones(), []);
  const devices = [device("audiooutput", "o"), device("audioinput", "a", "Headset"), device("audioinput", "b")];
  secure({ enumerateDevices: async () => devices });
  assert.deepEqual(await listMicrophones(), [
    { deviceId: "a", label: "Headset" },
    { deviceId: "b", label: "Microphone 2" },
  ]);
});

/** A live source whose frames and end come from the test. */
function liveSource(rate = 48_000) {
  const state = { released: 0, stopped: 0, frame: (/** @type {ArrayBuffer} */ _pcm) => {} };
  const capture = /** @type {any} */ ({
    context: { sampleRate: rate },
    format: { sample_rate: rate, dtype: "int16", channels: 1 },
    start: (/** @type {any} */ _node, /** @type {(pcm: ArrayBuffer) => void} */ onFrame) => (state.frame = onFrame),
    stop: async () => state.stopped++,
  });
  const node = /** @type {any} */ ({});
  return { state, source: new LiveSource("Test", capture, { node, release: () => state.released++ }) };
}

test("a live source gives each frame to the sink and to the tap without a copy", () => {
  const { source, state } = liveSource(44_100);
  assert.deepEqual(source.format, { sample_rate: 44_100, dtype: "int16", channels: 1 });
  /** @type {unknown[]} */ const seen = [];
  source.start((audio) => void seen.push(audio));
  const [first, second] = [new ArrayBuffer(8), new ArrayBuffer(8)];
  state.frame(first);
  source.tap = (pcm, rate) => seen.push(pcm.buffer, rate);
  state.frame(second);
  assert.equal(seen[0], first);
  assert.equal(seen[1], second);
  assert.equal(seen[2], 44_100);
  assert.equal(seen[3], second);
  assert.throws(() => source.start(() => {}), /only once/);
});

test("a live source that is stopped twice is stopped once", async () => {
  const { source, state } = liveSource();
  source.start(() => {});
  await Promise.all([source.stop(), source.stop()]);
  assert.deepEqual([state.stopped, state.released], [1, 1]);
});

for (const how of ["throws", "rejects"]) {
  test(`a sink that ${how} ends the source with its error`, async () => {
    const { source, state } = liveSource();
    const fail = () => {
      throw new Error("the stream is over");
    };
    source.start(how === "throws" ? fail : async () => fail());
    state.frame(new ArrayBuffer(2));
    await assert.rejects(source.ended, /the stream is over/);
  });
}

test("a file is sent as it is, piece by piece, as fast as it is taken", async () => {
  const bytes = Uint8Array.from({ length: 150_000 }, (_, at) => at % 251);
  const source = await openFile(new File([bytes], "talk.mp3"), { realTime: false });
  assert.deepEqual([source.label, source.format], ["talk.mp3", { dtype: "container" }]);
  /** @type {ArrayBuffer[]} */ const pieces = [];
  let isTaking = false;
  source.start(async (piece) => {
    assert.equal(isTaking, false);
    isTaking = true;
    await new Promise((resolve) => setImmediate(resolve));
    isTaking = false;
    pieces.push(piece);
  });
  await source.ended;
  assert.deepEqual(Buffer.concat(pieces.map((piece) => Buffer.from(piece))), Buffer.from(bytes));
  assert.ok(pieces.length > 1 && pieces.every(({ byteLength }) => byteLength <= 65_536));
});

test("a file that is stopped is sent no further, one that cannot be sent or read says so", async () => {
  const file = new File([new Uint8Array(500_000)], "long.wav");
  const stopped = await openFile(file, { realTime: false });
  let pieces = 0;
  stopped.start(async () => void (++pieces === 2 && stopped.stop()));
  await stopped.ended;
  assert.equal(pieces, 2);

  const unwanted = await openFile(file, { realTime: false });
  unwanted.start(() => Promise.reject(new Error("the stream is over")));
  await assert.rejects(unwanted.ended, /the stream is over/);

  const slice = () => ({ arrayBuffer: refusing("NotReadableError") });
  const gone = Object.assign(new File(["abc"], "gone.wav"), { slice });
  const unread = await openFile(gone, { realTime: false });
  unread.start(() => assert.fail("there is nothing"));
  await assert.rejects(unread.ended, { code: "BAD_FILE", message: /gone.wav can no longer be read/ });

  await assert.rejects(openFile(new File([], "empty.wav")), { code: "BAD_FILE", message: /empty.wav is empty/ });
});

/** A browser's recorder, whose blobs come from the test. */
class MediaRecorder extends EventTarget {
  static types = ["audio/webm;codecs=opus"];
  static isTypeSupported = (/** @type {string} */ type) => MediaRecorder.types.includes(type);
  state = "inactive";
  /** @type {any} */ ondataavailable = null;
  /** @type {any} */ onerror = null;

  /** @param {object} stream @param {object} options */
  constructor(stream, options) {
    super();
    this.stream = stream;
    this.options = options;
    last = this;
  }

  start() {
    this.state = "recording";
  }

  stop() {
    this.state = "inactive";
    this.give("the last", 0);
    this.dispatchEvent(new Event("stop"));
  }

  /** @param {string} text @param {number} ms that reading it takes */
  give(text, ms) {
    const bytes = new TextEncoder().encode(text).buffer;
    const arrayBuffer = () => new Promise((resolve) => setTimeout(() => resolve(bytes), ms));
    this.ondataavailable({ data: { size: text.length, arrayBuffer } });
  }
}
/** @type {MediaRecorder} */
let last;

test("what is recorded comes in order, to the last piece, and without empty ones", async () => {
  play({ MediaRecorder });
  const recorder = new Recorder(/** @type {any} */ ({}));
  assert.deepEqual(last.options, { mimeType: "audio/webm;codecs=opus", audioBitsPerSecond: 32_000 });
  /** @type {string[]} */ const given = [];
  recorder.start(async (audio) => void given.push(new TextDecoder().decode(audio)), assert.fail);
  last.give("the first", 20);
  last.give("", 0);
  last.give("the second", 0);
  await recorder.stop();
  assert.deepEqual(given, ["the first", "the second", "the last"]);
});

test("a recorder that has stopped with its device can still be stopped", async () => {
  play({ MediaRecorder });
  const recorder = new Recorder(/** @type {any} */ ({}));
  /** @type {number[]} */ const given = [];
  recorder.start(async (audio) => void given.push(audio.byteLength), assert.fail);
  last.stop();
  await recorder.stop();
  assert.deepEqual(given, [8]);
});

test("a browser without Opus is told what to do", () => {
  play({ MediaRecorder: class extends MediaRecorder { static isTypeSupported = () => false; } });
  assert.throws(() => new Recorder(/** @type {any} */ ({})), { code: "UNSUPPORTED", message: /"Opus for narrow/ });
  play({ MediaRecorder: undefined });
  assert.throws(() => new Recorder(/** @type {any} */ ({})), { code: "UNSUPPORTED" });
});
