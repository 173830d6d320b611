// What is published: its names, its size, and types that are those of the protocol.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import * as client from "../stream_browser/client/index.js";
import { size } from "../script/size.js";
import { TYPES, types } from "../script/types.js";

const ROOT = new URL("../", import.meta.url);

/** @param {string} name */
async function json(name) {
  return JSON.parse(await readFile(new URL(name, ROOT), "utf8"));
}

test("the public names", () => {
  const classes = ["CaptureError", "StreamClient", "StreamError"];
  const functions = ["listMicrophones", "openDisplay", "openFile", "openMicrophone"];
  assert.deepEqual(Object.keys(client).sort(), [...classes, ...functions]);
});

test("message.d.ts is what the schemas say; else run `npm run types`", async () => {
  assert.equal(await readFile(TYPES, "utf8"), await types());
});

test("no dependencies, and no registry in the lock file", async () => {
  const { dependencies, peerDependencies, version } = await json("package.json");
  assert.deepEqual([dependencies, peerDependencies], [undefined, undefined]);
  const lock = await json("package-lock.json");
  assert.equal(lock.version, version);
  for (const [name, { resolved }] of Object.entries(lock.packages)) assert.equal(resolved, undefined, name);
});

test("the runtime is small: less than 15 kB, minified and gzipped", async () => {
  const { minified } = await size();
  assert.ok(minified > 1000 && minified < 15_000, `${minified} bytes`);
});
