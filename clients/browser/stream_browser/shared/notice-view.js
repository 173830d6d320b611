/**
 * A problem and its next step, in the place where everybody looks. It does not know what problems there are.
 */

/**
 * @typedef {object} Notice
 * @property {string} title
 * @property {string} text
 * @property {string} label of the button; empty for none
 * @property {() => void} onStep what the button does
 */

export class NoticeView {
  #root;
  #title;
  #text;
  #step;
  /** @type {() => void} */
  #onStep = () => {};

  /** @param {HTMLElement} root with a strong, a span, and two buttons: the step, and to close it */
  constructor(root) {
    this.#root = root;
    this.#title = /** @type {HTMLElement} */ (root.querySelector("strong"));
    this.#text = /** @type {HTMLElement} */ (root.querySelector("span"));
    const [step, close] = root.querySelectorAll("button");
    this.#step = step;
    step.addEventListener("click", () => {
      this.hide();
      this.#onStep();
    });
    close.addEventListener("click", () => this.hide());
  }

  /** @param {Notice} notice */
  show({ title, text, label, onStep }) {
    this.#onStep = onStep;
    this.#title.textContent = title;
    this.#text.textContent = text;
    this.#step.textContent = label;
    this.#step.hidden = !label;
    this.#root.hidden = false;
  }

  hide() {
    this.#root.hidden = true;
  }
}
