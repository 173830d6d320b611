// How large the package's runtime is in a page, gzipped: minified as a bundler does it, and as the files are served here,
// comments included. `npm run size`.

import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const CLIENT = new URL("../stream_browser/client/", import.meta.url);
/** The worklet is no part of the bundle: the browser loads it by its address. */
const ENTRIES = ["index.js", "capture-worklet.js"];

/** Bytes of everything, gzipped. */
export async function size() {
  const names = (await readdir(CLIENT)).filter((name) => name.endsWith(".js"));
  const texts = await Promise.all(names.map((name) => readFile(new URL(name, CLIENT))));
  const entryPoints = ENTRIES.map((name) => fileURLToPath(new URL(name, CLIENT)));
  const { outputFiles } = await build({ entryPoints, outdir: "/", bundle: true, minify: true, format: "esm", write: false });
  return { minified: gzipped(outputFiles.map(({ contents }) => contents)), asServed: gzipped(texts) };
}

/** @param {Uint8Array[]} files */
function gzipped(files) {
  return files.reduce((sum, file) => sum + gzipSync(file, { level: 9 }).length, 0);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { minified, asServed } = await size();
  console.log(`minified and gzipped: ${minified} bytes; as the files are, gzipped one by one: ${asServed} bytes`);
}
