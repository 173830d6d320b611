/**
 * Which files are not worth uploading, as far as this can be known beforehand.
 *
 * The server judges by the content and the page by name, size and type: so what is not known to be wrong goes through.
 */

import { problemOf } from "./job-problem.js";

const AUDIO_ENDING = new RegExp(
  "\\.(aac|aif|aiff|amr|au|avi|caf|flac|flv|m4a|m4b|mka|mkv|mov|mp3|mp4|mpeg|mpg|oga|ogg|opus|ts|wav|webm|wma|wv)$",
  "i",
);
const OTHER_TYPE = /^(text|image|font)\/|^application\/(pdf|json|zip|gzip|x-tar|msword|vnd\.(ms-|openxml|oasis).*)/;

/** How the server words its limit, in the message of FILE_TOO_LARGE. */
const LIMIT = /larger than ([\d.]+) MB/;

/**
 * Why a file is refused before it is uploaded; null for one that the server may judge.
 * @param {{ name: string, size: number, type: string }} file
 * @param {number} mostBytes `Infinity` while it is not known
 * @returns {import("./job-problem.js").Problem | null}
 */
export function refusalOf({ name, size, type }, mostBytes) {
  if (size === 0) return problemOf({ code: "EMPTY", message: "The file is empty" });
  if (OTHER_TYPE.test(type) && !AUDIO_ENDING.test(name)) {
    return problemOf({ code: "NOT_AUDIO", message: `This is not a recording (${type})` });
  }
  if (size > mostBytes) {
    const message = `The file has ${megabytes(size)} MB, and this server takes ${megabytes(mostBytes)} MB at most`;
    return problemOf({ code: "FILE_TOO_LARGE", message });
  }
  return null;
}

/**
 * The limit that the server has told by refusing a file.
 * @param {{ code: string, message: string }} fault
 * @returns {number | null} bytes
 */
export function limitTold({ code, message }) {
  const found = code === "FILE_TOO_LARGE" ? LIMIT.exec(message) : null;
  return found ? Number(found[1]) * 1e6 : null;
}

/**
 * A size for people.
 * @param {number} bytes
 */
export function sizeWords(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  if (bytes >= 1e6) return `${megabytes(bytes)} MB`;
  return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}

/** @param {number} bytes */
function megabytes(bytes) {
  const value = bytes / 1e6;
  return value < 10 ? String(Number(value.toFixed(value < 0.1 ? 3 : 1))) : String(Math.round(value));
}
