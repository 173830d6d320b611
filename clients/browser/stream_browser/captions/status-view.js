/**
 * What is told about the connection: the chip, the line below it, the counter while it is lost, and how late captions
 * are. It decides nothing.
 */

const READ_MS = 10_000; // how long good news stays

export class StatusView {
  #parts;
  #onRead;
  /** @type {import("./connection-state.js").ConnectionState | null} */
  #connection = null;
  #warning = "";
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #reading;

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.chip
   * @param {HTMLElement} parts.line a status for screen readers
   * @param {HTMLElement} parts.counter changes every second
   * @param {HTMLElement} parts.latency
   * @param {() => void} onRead what stood in the line has been read
   */
  constructor(parts, onRead) {
    this.#parts = parts;
    this.#onRead = onRead;
  }

  /** @param {import("./connection-state.js").ConnectionState} connection */
  showConnection(connection) {
    this.#connection = connection;
    this.#parts.chip.dataset.state = connection.name;
    clearInterval(this.#ticking);
    clearTimeout(this.#reading);
    if (connection.name === "reconnecting") this.#ticking = setInterval(() => this.#update(), 1000);
    this.#update();
    const isGoodNews = connection.name === "open" && connection.words(0).line;
    if (isGoodNews) this.#reading = setTimeout(this.#onRead, READ_MS);
    if (connection.name !== "open" && connection.name !== "reconnecting") this.#setText(this.#parts.latency, "");
  }

  /** @param {string} words empty where there is no warning any more */
  showWarning(words) {
    this.#warning = words;
    this.#update();
  }

  /** @param {{ lateMs: number, serverMs: number }} latency medians of the last captions */
  showLatency({ lateMs, serverMs }) {
    const { latency } = this.#parts;
    const late = (lateMs / 1000).toFixed(1);
    const words =
      `Words appear about ${late} s after they were spoken, of which the server takes ${Math.round(serverMs)} ms: ` +
      "medians of the last captions, measured in this page.";
    this.#setText(latency, `${late} s behind`);
    if (latency.title !== words) latency.title = words;
  }

  #update() {
    const { chip, line, counter } = this.#parts;
    const words = this.#connection?.words(performance.now());
    this.#setText(/** @type {HTMLElement} */ (chip.lastElementChild), words?.chip ?? "");
    this.#setText(line, words?.line || this.#warning);
    this.#setText(counter, words?.counter ?? "");
  }

  /** @param {HTMLElement} element @param {string} text */
  #setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }
}
