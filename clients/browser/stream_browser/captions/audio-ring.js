/**
 * The last seconds of what was captured, from which the audio of a final is cut. Of fixed size: what is too old is
 * overwritten. It knows samples, not segments.
 */

const MEMORY_SEC = 120; // a segment of 60 s, and a final that comes a minute late because the connection was gone

export class AudioRing {
  #frames; // samples of all channels together: so many fit
  #samples;
  #written = 0; // frames since the start

  /**
   * @param {number} sampleRate
   * @param {number} channels interleaved
   */
  constructor(sampleRate, channels) {
    this.sampleRate = sampleRate;
    this.channels = channels;
    this.#frames = sampleRate * MEMORY_SEC;
    this.#samples = new Int16Array(this.#frames * channels);
  }

  /** How much audio has come, in milliseconds. */
  get positionMs() {
    return (this.#written * 1000) / this.sampleRate;
  }

  /**
   * Audio that follows what is there. It is copied.
   *
   * @param {Int16Array} pcm whole frames
   */
  write(pcm) {
    const size = this.#samples.length;
    const kept = pcm.length > size ? pcm.subarray(pcm.length - size) : pcm;
    const skipped = (pcm.length - kept.length) / this.channels;
    const at = ((this.#written + skipped) * this.channels) % size;
    const fits = Math.min(size - at, kept.length);
    this.#samples.set(kept.subarray(0, fits), at);
    this.#samples.set(kept.subarray(fits), 0);
    this.#written += pcm.length / this.channels;
  }

  /**
   * One channel between two moments, as far as it is still there.
   *
   * @param {number} startMs
   * @param {number} endMs
   * @param {number} channel
   * @returns {Int16Array | null} null where the beginning is gone, or nothing has come yet
   */
  cut(startMs, endMs, channel) {
    const start = Math.max(0, Math.floor((startMs * this.sampleRate) / 1000));
    const end = Math.min(this.#written, Math.ceil((endMs * this.sampleRate) / 1000));
    if (end <= start || start < this.#written - this.#frames) return null;
    const pcm = new Int16Array(end - start);
    const size = this.#samples.length;
    let at = (start * this.channels + channel) % size;
    for (let index = 0; index < pcm.length; index++) {
      pcm[index] = this.#samples[at];
      at += this.channels;
      if (at >= size) at -= size;
    }
    return pcm;
  }
}
