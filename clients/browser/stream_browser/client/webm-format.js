// WebM with one Opus track, as browsers record it: bytes to packets, and packets to bytes again. It keeps none of them.
//
// Sources: RFC 8794 (EBML: an element is an id, a size and a body), RFC 9559 (Matroska: the elements), RFC 6716 section
// 3.1 (how long an Opus packet is), RFC 7845 section 5.1 (OpusHead).

const EBML = 0x1a45dfa3;
const SEGMENT = 0x18538067;
const CLUSTER = 0x1f43b675;
const TIMESTAMP = 0xe7;
const SIMPLE_BLOCK = 0xa3;
const BLOCK = 0xa1;
const CODEC_PRIVATE = 0x63a2;
const CODEC_DELAY = 0x56aa;
const VOID = 0xec;
const TRACK_ENTRY = 0xae;
// With Tracks and BlockGroup, those whose bodies are elements to look at.
const OPENED = [SEGMENT, 0x1654ae6b, 0xa0, TRACK_ENTRY, CLUSTER];
const LONGEST = 30_000; // bytes of any other element; ten times what a browser makes
const PER_MS = 48; // Opus counts its samples at 48 kHz, whatever was recorded, and so do decoders

/** Samples in a packet, 0 where it is none. @param {Uint8Array} packet */
export function opusSamples(packet) {
  const config = packet[0] >> 3;
  const count = [1, 2, 2, packet[1] & 63][packet[0] & 3];
  if (config < 12) return count * [480, 960, 1920, 2880][config & 3];
  return count * (config < 16 ? [480, 960][config & 1] : [120, 240, 480, 960][config & 3]) || 0;
}

/** Takes a recording as it comes, cut anywhere. */
export class WebmReader {
  /** False from where on this is not such a recording. */
  isUnderstood = true;
  /** Bytes that are in no packet yet, or not understood. */
  rest = new Uint8Array(0);
  /** @type {Uint8Array | undefined} all before the first cluster */ #header;
  #headAt = 0; // where in it OpusHead is
  #at = 0; // in the rest: what was looked at
  #tracks = 0;

  /** @param {Uint8Array} bytes @returns {Uint8Array[]} the packets that are whole with these bytes */
  read(bytes) {
    const data = join([this.rest, bytes]);
    /** @type {Uint8Array[]} */ const packets = [];
    let at = this.#at;
    for (let end; (end = this.#endOf(data, at, packets)) > at; ) at = end;
    this.rest = this.#header ? data.slice(at) : data;
    this.#at = this.#header ? 0 : at;
    return packets;
  }

  /**
   * Where the next element to look at begins; `at` itself where this one is not whole, or not understood.
   *
   * @param {Uint8Array} data @param {number} at @param {Uint8Array[]} packets
   */
  #endOf(data, at, packets) {
    const id = vint(data, at, true);
    const size = id && vint(data, at + id.length, false);
    if (!size) {
      this.isUnderstood = data.length - at < 12; // the two are never longer
      return at;
    }
    const body = at + id.length + size.length;
    const end = body + size.value;
    this.isUnderstood = this.#header !== undefined || at > 0 || id.value === EBML;
    if (id.value === CLUSTER && !this.#header) {
      this.isUnderstood = this.#headAt > 0 && this.#tracks === 1;
      if (this.isUnderstood) this.#header = data.slice(0, at);
    }
    if (id.value === SEGMENT) {
      data.fill(255, body - size.length, body); // of unknown size, as it has another one now
      data[body - size.length] >>= size.length - 1;
    } else if (id.value === TRACK_ENTRY) {
      this.#tracks++;
    }
    if (OPENED.includes(id.value)) return this.isUnderstood ? body : at;
    if (size.value > LONGEST) this.isUnderstood = false;
    if (!this.isUnderstood || end > data.length) return at;
    if (id.value === CODEC_PRIVATE) {
      this.isUnderstood = !this.#headAt && String.fromCharCode(...data.subarray(body, body + 8)) === "OpusHead";
      this.#headAt = body;
    } else if (id.value === CODEC_DELAY) {
      // It says the same as `pre-skip` in OpusHead, which is changed later, and decoders believe it first.
      data.set([VOID, 0x80 | (end - at - 2)], at);
    } else if (id.value === SIMPLE_BLOCK || id.value === BLOCK) {
      const start = body + (vint(data, body, false)?.length ?? 0) + 3; // behind the track, a time, and flags:
      this.isUnderstood = (data[start - 1] & 6) === 0; // several packets in one, which no browser makes
      if (this.isUnderstood && opusSamples(data.subarray(start, end))) packets.push(data.slice(start, end));
    }
    return this.isUnderstood ? end : at;
  }

  /** Samples at the beginning that a decoder throws away. */
  get preSkip() {
    return this.#header ? this.#header[this.#headAt + 10] + 256 * this.#header[this.#headAt + 11] : 0;
  }

  /** The beginning of a recording like this one. @param {number} preSkip */
  header(preSkip) {
    const header = /** @type {Uint8Array} */ (this.#header).slice();
    header.set([preSkip & 255, preSkip >> 8], this.#headAt + 10);
    return header;
  }
}

/**
 * Packets of less than 32 s, for times within a cluster have 16 bits.
 *
 * @param {Uint8Array[]} packets
 * @param {number} start samples since the beginning of the recording
 */
export function webmCluster(packets, start) {
  const base = Math.floor(start / PER_MS);
  let at = start;
  const blocks = packets.map((packet) => {
    const time = Math.floor(at / PER_MS) - base;
    at += opusSamples(packet);
    return element([SIMPLE_BLOCK], Uint8Array.of(0x81, time >> 8, time, 0x80), packet);
  });
  const timestamp = element([TIMESTAMP], Uint8Array.of(base >> 24, base >> 16, base >> 8, base));
  return element([CLUSTER >> 24, CLUSTER >> 16, CLUSTER >> 8, CLUSTER], timestamp, ...blocks);
}

/** @param {Uint8Array[]} parts */
export function join(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {number[]} id @param {Uint8Array[]} parts */
function element(id, ...parts) {
  const body = join(parts);
  return join([Uint8Array.of(...id, 0x10, body.length >> 16, body.length >> 8, body.length), body]);
}

/**
 * An id, which keeps the bit that marks its length, or a size; one that is unknown is very large.
 *
 * @param {Uint8Array} data @param {number} at @param {boolean} isId
 */
function vint(data, at, isId) {
  const length = Math.clz32(data[at]) - 23; // of nothing it is 9, as of 0
  if (length > (isId ? 4 : 8) || at + length > data.length) return undefined;
  let value = isId ? data[at] : data[at] & (0xff >> length);
  for (const byte of data.subarray(at + 1, at + length)) value = value * 256 + byte;
  return { length, value };
}
