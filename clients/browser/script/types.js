// Writes the types of the protocol's messages, made from its schemas: `npm run types`. A test checks that they are
// current.

import { readFile, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { compile } from "json-schema-to-typescript";

const SCHEMAS = new URL("../../../protocol/schemas/", import.meta.url);
/** Where they are kept. */
export const TYPES = new URL("../stream_browser/client/message.d.ts", import.meta.url);

const BANNER = `/* Messages of the protocol: of a client (\`ClientMessage\`) and of the server (\`StreamEvent\`).
 * Generated from protocol/schemas by \`npm run types\`; do not edit. */
`;

/** The text of message.d.ts. */
export async function types() {
  const parts = [
    await typesOf("message.json", "ClientMessage"),
    await typesOf("event.json", "StreamEvent"), // not `Event`, which is the DOM's
  ];
  return [BANNER, ...parts].join("\n");
}

/** @param {string} file @param {string} name of the union of its messages */
async function typesOf(file, name) {
  const schema = JSON.parse(await readFile(new URL(file, SCHEMAS), "utf8"), (key, value) =>
    key === "additionalProperties" ? undefined : value, // a server ignores what it does not know; a type need not
  );
  return compile({ ...schema, title: name, description: schema.description.replaceAll("`", "") }, name, {
    additionalProperties: false,
    bannerComment: "",
    style: { printWidth: 120 },
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await writeFile(TYPES, await types());
