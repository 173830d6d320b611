/**
 * Files that are dropped, pasted or chosen, folders included. It does not know what becomes of them.
 */

/** A folder may hold a library; more than this was hardly meant. */
const MOST_OF_FOLDERS = 500;

/**
 * @param {object} parts
 * @param {HTMLElement} parts.zone shows that files may be dropped, by `data-over`
 * @param {HTMLButtonElement} parts.button
 * @param {HTMLInputElement} parts.input
 * @param {(files: File[]) => void} onFiles
 * @param {(address: string) => void} onAddress an address was pasted or dropped
 */
export function takeFiles({ zone, button, input }, onFiles, onAddress) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    give([...(input.files ?? [])]);
    input.value = ""; // the same file may be chosen again
  });

  // The whole window takes files: one that is dropped beside the zone would otherwise replace the page.
  let depth = 0;
  addEventListener("dragenter", (event) => {
    if (!carries(event.dataTransfer)) return;
    depth += 1;
    zone.dataset.over = "";
  });
  addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (depth === 0) delete zone.dataset.over;
  });
  addEventListener("dragover", (event) => {
    if (carries(event.dataTransfer)) event.preventDefault();
  });
  addEventListener("drop", async (event) => {
    depth = 0;
    delete zone.dataset.over;
    if (!carries(event.dataTransfer)) return;
    event.preventDefault();
    give(await filesOf(/** @type {DataTransfer} */ (event.dataTransfer)));
  });
  addEventListener("paste", (event) => {
    const { target, clipboardData } = event;
    if (!clipboardData) return;
    const isTyping = target instanceof Element && target.closest("input, textarea");
    const text = clipboardData.getData("text/plain").trim();
    if (clipboardData.files.length > 0) give([...clipboardData.files]);
    else if (!isTyping && /^(https?|s3):\/\/\S+$/.test(text)) onAddress(text);
    else return;
    event.preventDefault();
  });

  /** @param {File[]} files */
  function give(files) {
    if (files.length > 0) onFiles(files);
  }
}

/** @param {DataTransfer | null} transfer */
function carries(transfer) {
  return transfer?.types.includes("Files") ?? false;
}

/**
 * The files, and those in folders. Entries have to be taken before the event is over.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  /** @type {File[]} */
  const files = [];
  for (const entry of entries) if (entry) await walk(entry, files);
  return files;
}

/**
 * @param {FileSystemEntry} entry
 * @param {File[]} files
 */
async function walk(entry, files) {
  if (files.length >= MOST_OF_FOLDERS || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    const file = /** @type {FileSystemFileEntry} */ (entry);
    files.push(await new Promise((resolve, reject) => file.file(resolve, reject)));
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const children = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (children.length === 0) return; // a reader gives its entries in parts
    for (const child of children) await walk(child, files);
  }
}
