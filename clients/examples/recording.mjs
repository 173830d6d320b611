// Captions of a recording, in Node: it is sent as fast as the server takes it, and finals are printed as they come.
//
//   node recording.mjs talk.wav                                    Node 22 or later
//   node --experimental-websocket recording.mjs talk.webm          Node 20
//
// WAV, WebM and Ogg say themselves what is in them. In a project of yours: import ... from "@stream-server/client".

import { createReadStream } from "node:fs";
import { StreamClient, StreamError } from "../browser/stream_browser/client/index.js";

const [path] = process.argv.slice(2);
if (!path) {
  console.error("usage: node recording.mjs RECORDING");
  process.exit(2);
}

const server = process.env.SERVER ?? "http://127.0.0.1:8000";
const client = new StreamClient(`${server.replace(/^http/, "ws")}/ws`, {
  api_key: process.env.STREAM_API_KEY, // a page never has one: it asks its own server for a token
  dtype: path.endsWith(".wav") ? "int16" : "container",
  partials: false,
});

client.addEventListener("final_segment", ({ detail }) => {
  console.log(`${(detail.offset_ms / 1000).toFixed(2).padStart(7)} s  ${detail.text}`);
});

try {
  await client.connect();
  for await (const chunk of createReadStream(path)) {
    await client.send(chunk); // waits while the server does not keep up
  }
  const done = await client.end();
  console.error(`${done.total_segments} segments in ${done.total_audio_duration_sec.toFixed(1)} s of audio`);
} catch (error) {
  if (!(error instanceof StreamError)) throw error;
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
}
