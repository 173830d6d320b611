import assert from "node:assert/strict";
import { test } from "node:test";

import { LiveApi } from "../stream_browser/captions/live-api.js";

const BASE = "https://example.com/speech/";
const MODELS = { data: [{ id: "m", languages: ["en"], description: "" }] };

/**
 * A server that takes these keys; "" is nobody's. `live` may open sessions, `other` may not.
 * @param {import("node:test").TestContext} t
 * @param {{ keys: string[] }} server
 */
function served(t, server) {
  t.mock.method(globalThis, "fetch", async (/** @type {URL} */ url, /** @type {RequestInit} */ { headers }) => {
    const key = new Headers(headers).get("Authorization")?.replace("Bearer ", "") ?? "";
    const refusal = (/** @type {number} */ status) => Response.json({ error: { message: "no" } }, { status });
    if (server.keys.length && !server.keys.includes(key)) return refusal(401);
    if (String(url).endsWith("v1/models")) return Response.json(MODELS);
    if (!server.keys.length) return refusal(409);
    return key === "live" ? Response.json({ token: "t" }) : refusal(403);
  });
}

/** @param {string} key @param {string[]} answers */
function asking(key, answers) {
  /** @type {string[]} */
  const questions = [];
  const askKey = async (/** @type {string} */ refused) => {
    questions.push(refused);
    return answers.shift() ?? null;
  };
  return { api: new LiveApi({ base: BASE, key, askKey }), questions };
}

test("a key that is not for live sessions is asked for another", async (t) => {
  served(t, { keys: ["live", "other"] });
  const { api, questions } = asking("other", ["live"]);
  assert.equal(await api.token(), "t");
  assert.deepEqual(questions, ["other"]);
});

test("a server that was open may have got its first key meanwhile", async (t) => {
  const server = { keys: /** @type {string[]} */ ([]) };
  served(t, server);
  const { api, questions } = asking("", ["live"]);
  assert.equal(await api.token(), "");
  server.keys = ["live"];
  assert.equal(await api.token(), "", "nobody has said so yet");
  api.forgetOpen(); // the connection was refused
  assert.equal(await api.token(), "t");
  assert.deepEqual(questions, [""]);
});

test("who gives no key gets no further", async (t) => {
  served(t, { keys: ["live"] });
  await assert.rejects(asking("", []).api.token(), { code: "AUTH_FAILED" });
});
