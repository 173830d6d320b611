// Audio as a caller hands it over: how it is laid out, and its bytes.

/** @typedef {Omit<import("./option.js").StreamOptions, keyof import("./option.js").ClientOptions>} InitFields */

const OPUS_RATE = 48_000;

/** The bytes of audio, which stay when the caller's change. @param {ArrayBuffer | ArrayBufferView} audio */
export function copy(audio) {
  if (ArrayBuffer.isView(audio)) return new Uint8Array(audio.buffer, audio.byteOffset, audio.byteLength).slice();
  if (typeof audio?.byteLength !== "number") throw new TypeError("send() takes an ArrayBuffer or a view of one");
  return new Uint8Array(audio.slice(0));
}

/**
 * The fields of the init message. Of a container a server takes no rate; it counts as its decoder does.
 * @param {InitFields} init
 */
export function withDefaults({ dtype, sample_rate, channels, ...fields }) {
  dtype ??= "int16";
  const rate = dtype === "container" ? OPUS_RATE : (sample_rate ?? 16_000);
  return { ...fields, dtype, sample_rate: rate, channels: channels ?? 1 };
}

/**
 * Of one sample of all channels: the names of `dtype` say how many bits.
 * @param {ReturnType<typeof withDefaults>} init
 */
export function sampleBytes({ dtype, channels }) {
  return Math.max(channels, 1) * (dtype.includes("32") ? 4 : dtype.includes("16") ? 2 : 1);
}

/** Whether this has a header, which a server counts in no sample. @param {Uint8Array} bytes */
export function isWav(bytes) {
  return /^RIFF|^RF64/.test(String.fromCharCode(...bytes.subarray(0, 4)));
}
