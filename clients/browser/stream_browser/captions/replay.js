/**
 * Plays the audio of one final at a time. It does not know where the audio comes from.
 */

export class Replay {
  #audio = new Audio();
  #address = "";
  #playing = -1;
  #onChange;

  /** @param {(id: number) => void} onChange which final is heard now; -1 for none */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#audio.addEventListener("ended", () => this.stop());
    this.#audio.addEventListener("error", () => this.stop());
  }

  /** Play it, or stop it where it plays. @param {number} id @param {Blob} clip */
  toggle(id, clip) {
    const isPlaying = this.#playing === id;
    this.stop();
    if (isPlaying) return;
    this.#address = URL.createObjectURL(clip);
    this.#playing = id;
    this.#audio.src = this.#address;
    this.#audio.play().catch(() => this.#playing === id && this.stop());
    this.#onChange(id);
  }

  stop() {
    if (this.#playing < 0) return;
    this.#playing = -1;
    this.#audio.pause();
    this.#audio.removeAttribute("src");
    URL.revokeObjectURL(this.#address);
    this.#onChange(-1);
  }
}
