/**
 * The audio of finals, kept to be heard again: WAV files in blobs, which the browser may move to the disk. Bounded by
 * time and by size: the oldest go first. It does not play them.
 */

const MOST_SEC = 3600;
const MOST_BYTES = 384 * 2 ** 20;

export class ClipStore {
  /** @type {Map<number, { blob: Blob, seconds: number }>} by number of the final, the oldest first */
  #clips = new Map();
  #seconds = 0;
  #bytes = 0;
  #mostSec;
  #mostBytes;
  #onDrop;

  /**
   * @param {{ mostSec?: number, mostBytes?: number, onDrop?: (id: number) => void }} [options] onDrop: told which
   *   final's audio has gone
   */
  constructor({ mostSec = MOST_SEC, mostBytes = MOST_BYTES, onDrop = () => {} } = {}) {
    this.#mostSec = mostSec;
    this.#mostBytes = mostBytes;
    this.#onDrop = onDrop;
  }

  /**
   * @param {number} id
   * @param {Int16Array} pcm one channel
   * @param {number} sampleRate
   */
  add(id, pcm, sampleRate) {
    const blob = wav(pcm, sampleRate);
    const seconds = pcm.length / sampleRate;
    this.#clips.set(id, { blob, seconds });
    this.#seconds += seconds;
    this.#bytes += blob.size;
    for (const oldest of this.#clips.keys()) {
      if (this.#seconds <= this.#mostSec && this.#bytes <= this.#mostBytes) break;
      this.#drop(oldest);
    }
  }

  /** @param {number} id @returns {Blob | null} */
  get(id) {
    return this.#clips.get(id)?.blob ?? null;
  }

  clear() {
    this.#clips.clear();
    this.#seconds = this.#bytes = 0;
  }

  /** @param {number} id */
  #drop(id) {
    const { blob, seconds } = /** @type {{ blob: Blob, seconds: number }} */ (this.#clips.get(id));
    this.#clips.delete(id);
    this.#seconds -= seconds;
    this.#bytes -= blob.size;
    this.#onDrop(id);
  }
}

/** A WAV file of 16-bit samples. @param {Int16Array} pcm @param {number} sampleRate */
function wav(pcm, sampleRate) {
  const header = new DataView(new ArrayBuffer(44));
  const tags = /** @type {const} */ ([[0, "RIFF"], [8, "WAVE"], [12, "fmt "], [36, "data"]]);
  for (const [at, tag] of tags) [...tag].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  header.setUint32(4, 36 + pcm.byteLength, true);
  header.setUint32(16, 16, true); // of the format chunk
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true);
  header.setUint32(24, sampleRate, true);
  header.setUint32(28, sampleRate * 2, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  header.setUint32(40, pcm.byteLength, true);
  return new Blob([header, /** @type {Int16Array<ArrayBuffer>} */ (pcm)], { type: "audio/wav" });
}
