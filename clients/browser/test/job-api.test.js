import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError, JobApi } from "../stream_browser/jobs/job-api.js";

/** @typedef {{ url: string, method: string, key: string | null }} Asked */

/**
 * Answers requests in place of a server.
 * @param {import("node:test").TestContext} t
 * @param {(asked: Asked) => Response} answer
 */
function served(t, answer) {
  /** @type {Asked[]} */
  const asked = [];
  t.mock.method(globalThis, "fetch", async (/** @type {URL} */ url, /** @type {RequestInit} */ { method, headers }) => {
    const one = { url: String(url), method: method ?? "", key: new Headers(headers).get("Authorization") };
    asked.push(one);
    return answer(one);
  });
  return asked;
}

const BASE = "https://example.com/speech/jobs";
const REFUSAL = { error: { code: "UNAUTHORIZED", message: "the API key is missing" } };
const refused = () => Response.json(REFUSAL, { status: 401 });

test("addresses are relative to the page", async (t) => {
  const asked = served(t, () => Response.json({ data: [], next_cursor: null }));
  const api = new JobApi({ base: BASE, key: "", askKey: async () => null });
  await api.list("");
  await api.list("a b");
  await api.cancel("j/1");
  assert.deepEqual(asked, [
    { url: "https://example.com/speech/v1/transcriptions?limit=20", method: "GET", key: null },
    { url: "https://example.com/speech/v1/transcriptions?limit=20&cursor=a%20b", method: "GET", key: null },
    { url: "https://example.com/speech/v1/transcription-jobs/j%2F1/cancel", method: "POST", key: null },
  ]);
});

test("a key is asked for once, for all that wait for it, until one is good", async (t) => {
  /** @type {string[]} */
  const questions = [];
  const answers = ["wrong", "right"];
  served(t, ({ key }) => (key === "Bearer right" ? Response.json({ id: "j", data: [] }) : refused()));
  const api = new JobApi({
    base: BASE,
    key: "",
    askKey: async (before) => {
      questions.push(before);
      await new Promise(setImmediate);
      return answers.shift() ?? null;
    },
  });
  await Promise.all([api.read("j"), api.models(), api.read("j")]);
  assert.deepEqual(questions, ["", "wrong"]);
  await api.models();
  assert.equal(questions.length, 2);
});

test("who has no key is told what the server says", async (t) => {
  served(t, refused);
  const api = new JobApi({ base: BASE, key: "", askKey: async () => null });
  await assert.rejects(api.models(), { name: "ApiError", code: "UNAUTHORIZED", message: "the API key is missing" });
});

test("what the server refuses comes with its reason, and when to try again", async (t) => {
  const body = { error: { code: "RATE_LIMITED", message: "too many requests" } };
  served(t, () => Response.json(body, { status: 429, headers: { "Retry-After": "7" } }));
  const api = new JobApi({ base: BASE, key: "", askKey: async () => null });
  await assert.rejects(api.read("j"), { code: "RATE_LIMITED", status: 429, retryAfterSec: 7 });
});

test("what is no answer of the server is an error as well", async (t) => {
  const api = new JobApi({ base: BASE, key: "", askKey: async () => null });
  const mock = t.mock.method(globalThis, "fetch", async () => new Response("<h1>Bad gateway</h1>", { status: 502 }));
  await assert.rejects(api.read("j"), { code: "INTERNAL", message: "the server answered with status 502" });
  mock.mock.mockImplementation(async () => {
    throw new TypeError("fetch failed");
  });
  await assert.rejects(api.read("j"), (error) => error instanceof ApiError && error.code === "NETWORK");
});
