/**
 * What the address of the page asks for: `/?overlay&lines=2&size=56&language=en#key=...`. Pure; it reads no address.
 *
 * `key` and `token` may stand in the query, but belong behind the `#`: that part is never sent to a server.
 */

export const SOURCES = /** @type {const} */ (["microphone", "display", "file"]);

/** @typedef {(typeof SOURCES)[number]} SourceKind */

/**
 * @typedef {object} Parameters
 * @property {"own" | "mirror" | null} overlay captions of its own, or those of another page of this browser; null: none
 * @property {number} lines at most so many lines of captions in the overlay
 * @property {number} size of the overlay's text, in pixels
 * @property {boolean} diarize whether the overlay's own captions tell speakers apart
 * @property {SourceKind | null} source
 * @property {string | null} language
 * @property {string | null} model
 * @property {string | null} token
 * @property {string | null} key
 * @property {string[]} problems what was wrong, for people to read
 */

/**
 * @param {string} query with or without its "?"
 * @param {string} [fragment] with or without its "#"
 * @returns {Parameters}
 */
export function readParameters(query, fragment = "") {
  const asked = new URLSearchParams(query);
  const hidden = new URLSearchParams(fragment.replace(/^#/, ""));
  const problems = /** @type {string[]} */ ([]);

  /** @param {string} name @param {number} usual @param {number} least @param {number} most */
  const number = (name, usual, least, most) => {
    const text = asked.get(name);
    if (text === null) return usual;
    const value = Number(text);
    if (text.trim() !== "" && value >= least && value <= most) return value;
    problems.push(`${name} is a number from ${least} to ${most}, not "${text}".`);
    return usual;
  };

  const overlay = asked.get("overlay");
  if (overlay && overlay !== "mirror") problems.push(`overlay has no value, or "mirror", not "${overlay}".`);
  const source = asked.get("source");
  const known = SOURCES.find((kind) => kind === source) ?? null;
  if (source && !known) problems.push(`source is one of ${SOURCES.join(", ")}, not "${source}".`);
  return {
    overlay: overlay === null ? null : overlay === "mirror" ? "mirror" : "own",
    lines: Math.round(number("lines", 2, 1, 8)),
    size: number("size", 48, 12, 300),
    diarize: asked.has("diarize"),
    source: known,
    language: asked.get("language"),
    model: asked.get("model"),
    token: hidden.get("token") ?? asked.get("token"),
    key: hidden.get("key") ?? asked.get("key"),
    problems,
  };
}
