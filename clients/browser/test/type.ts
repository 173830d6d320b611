// The types that a page gets: what is an error here has to be one there. Only checked (`npm run check`), never run.

import {
  CaptureError,
  openMicrophone,
  StreamClient,
  StreamError,
  type ConnectionChange,
  type SessionEvent,
  type StreamOptions,
} from "../stream_browser/client/index.js";

const options: StreamOptions = { dtype: "int16", token: async () => "x", reconnect: { giveUpSec: 3 } };
const client = new StreamClient("/ws", options);

client.addEventListener("partial", ({ detail }) => [...detail.text].slice(0, detail.stable_chars));
client.addEventListener("final_segment", ({ detail }) => detail.words?.map(({ start_ms }) => start_ms.toFixed()));
client.addEventListener("connection", ({ detail }) => {
  const change: ConnectionChange = detail;
  return change.state === "lost" && change.retryInSec;
});
client.addEventListener("error", ({ detail }: { detail: StreamError }) => console.log(detail.code, detail.retryAfter));
// @ts-expect-error: there is no such event
client.addEventListener("partials", () => {});
// @ts-expect-error: a final has a text, a start has none
client.addEventListener("speech_start", ({ detail }) => detail.text);
// @ts-expect-error: a typing mistake
new StreamClient("/ws", { langauge: "en" });
// @ts-expect-error: the client's own business
new StreamClient("/ws", { resume_token: "r" });
// @ts-expect-error: of the wrong type
void client.configure({ partials: "no" });

export async function page() {
  const microphone = await openMicrophone();
  const { session_id, config } = await new StreamClient("/ws", { ...microphone.format, language: "en" }).connect();
  microphone.start((audio) => client.send(audio));
  void client.send(new Int16Array(3));
  for await (const event of client) {
    const every: SessionEvent = event;
    if (event.type === "final_segment") console.log(event.confidence, every);
    // @ts-expect-error: only finals have it
    else console.log(event.confidence);
  }
  try {
    const [{ id }, { total_segments }] = [await client.flush(), await client.end()];
    console.log(session_id, config.sample_rate, id, total_segments);
  } catch (error) {
    if (error instanceof CaptureError || error instanceof StreamError) console.log(error.code);
  }
}
