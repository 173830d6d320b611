// The golden conversations, played with the client over real WebSockets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Player } from "./support/vector-player.js";
import { vectors } from "./support/vector-language.js";

const HEADER = "a browser sends no header with a key";
const NEVER = "this client never sends that";
const SKIPPED = new Map([
  ["auth", HEADER],
  ["auth_failed_header", HEADER],
  ["end_then_more", "this client sends nothing after the end"],
  ["invalid_init_end_first", NEVER],
  ["invalid_init_not_json", NEVER],
  ["invalid_init_not_object", NEVER],
  ["invalid_init_unknown_type", NEVER],
  ["json_frames", "this client sends binary frames"],
  ["protocol_error_audio_first", NEVER],
  ["protocol_error_bad_base64", NEVER],
  ["protocol_error_message_first", NEVER],
  ["protocol_error_missing_field", NEVER],
  ["protocol_error_not_json", NEVER],
  ["protocol_error_second_init", NEVER],
  ["protocol_error_unknown_type", NEVER],
  ["resume_container", "this client begins a container anew, without asking for the old session"],
  ["resume_unknown", "this client resumes only sessions that it had"],
  ["resume_wrong_token", "this client resumes with the token that it got"],
  ["session_replaced", "this client resumes only when its own connection broke"],
]);

const all = vectors();

for (const [name, steps] of all) {
  const skip = SKIPPED.get(name) ?? false;
  test(name, { skip, timeout: 10_000 }, () => new Player().play(steps));
}

test("what is skipped exists, and most is not", () => {
  const names = new Set(all.map(([name]) => name));
  assert.deepEqual([...SKIPPED.keys()].filter((name) => !names.has(name)), []);
  assert.ok(names.size - SKIPPED.size >= 50, `${names.size} conversations`);
});
