// The language of golden conversations: files to steps, steps to audio, patterns to events. It plays nothing.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";

const PROTOCOL = new URL("../../../../protocol/", import.meta.url);
export const SAMPLE_BYTES = /** @type {Record<string, number>} */ ({ float32: 4, int16: 2, ulaw: 1, alaw: 1 });

/** An example of each event, by type. */
export const EXAMPLES = new Map(
  Object.values(JSON.parse(readFileSync(new URL("schemas/event.json", PROTOCOL), "utf8")).$defs)
    .filter((/** @type {any} */ definition) => definition.properties?.type)
    .map((/** @type {any} */ definition) => [definition.properties.type.const, definition.examples[0]]),
);

/** The conversations: their names, and their steps. @returns {[name: string, steps: any[]][]} */
export function vectors() {
  const folder = new URL("vectors/", PROTOCOL);
  return readdirSync(folder)
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map((name) => {
      const lines = readFileSync(new URL(name, folder), "utf8").trim().split("\n");
      return [name.slice(0, -".jsonl".length), lines.slice(1).map((line) => JSON.parse(line))];
    });
}

/** The samples of an audio step: what they are does not matter to a client. @param {any} audio */
export function render({ kind, seconds, bytes_b64, dtype = "int16", sample_rate = 16_000, wav }) {
  if (bytes_b64 !== undefined) return Buffer.from(bytes_b64, "base64");
  const channels = Array.isArray(kind) ? kind.length : 1;
  const size = Math.round(seconds * sample_rate) * channels * SAMPLE_BYTES[dtype];
  const samples = Buffer.from(Uint8Array.from({ length: size }, (_, index) => (index * 31 + (index >> 8)) % 251));
  return wav ? Buffer.concat([Buffer.from("RIFF....WAVEfmt ".padEnd(44, ".")), samples]) : samples;
}

/** A value with what is saved in its places. @param {any} value @param {Record<string, any>} saved @returns {any} */
export function resolve(value, saved) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => resolve(item, saved));
  if ("$saved" in value) return saved[value.$saved];
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, saved)]));
}

/** An event that matches a pattern. @param {any} pattern @param {Record<string, any>} saved */
export function fill(pattern, saved) {
  const event = structuredClone(EXAMPLES.get(pattern.type) ?? assert.fail(pattern.type));
  if (pattern.type === "error") delete event.retry_after; // the example is of another code
  for (const [field, wanted] of Object.entries(pattern)) {
    const value = invent(wanted, event[field], saved);
    if (value === undefined) delete event[field];
    else event[field] = value;
  }
  return event;
}

/** @param {any} pattern @param {any} example @param {Record<string, any>} saved @returns {any} */
function invent(pattern, example, saved) {
  if (pattern === null || typeof pattern !== "object") return pattern;
  if (Array.isArray(pattern)) return pattern.map((item, at) => invent(item, example?.[at], saved));
  if (pattern.$absent) return undefined;
  if (pattern.$saved) return saved[pattern.$saved];
  if (pattern.$save) return (saved[pattern.$save] = example ?? pattern.$save);
  if (pattern.$contains) return `something with ${pattern.$contains}`;
  if (pattern.$text) return example ?? "text";
  const range = pattern.$int ?? pattern.$number;
  if (range) return Array.isArray(range) ? range[0] : 1;
  if (pattern.$each) {
    return (example ?? [undefined]).map((/** @type {any} */ item) => invent(pattern.$each, item, saved));
  }
  if (pattern.$any) return example ?? 1;
  const filled = { ...example };
  for (const [key, item] of Object.entries(pattern)) {
    const value = invent(item, example?.[key], saved);
    if (value === undefined) delete filled[key];
    else filled[key] = value;
  }
  return filled;
}
