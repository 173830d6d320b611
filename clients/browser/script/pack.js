// What a package holds besides files of this folder: types that `tsc` does not copy, and the licence. For `prepack`.

import { copyFile } from "node:fs/promises";

const ROOT = new URL("../", import.meta.url);

await copyFile(new URL("stream_browser/client/message.d.ts", ROOT), new URL("types/message.d.ts", ROOT));
await copyFile(new URL("../../LICENSE", ROOT), new URL("LICENSE", ROOT));
