/**
 * The three choices beside the button: source, language, model. Languages are those of the chosen model. It remembers
 * nothing itself, and does not start anything.
 */

import { element } from "./element.js";
import { namedLanguages } from "../shared/language-name.js";

/** @typedef {import("./live-api.js").Model} Model */
/** @typedef {{ source: import("./parameter.js").SourceKind, language: string, model: string }} Chosen */

const AUTOMATIC = { code: "auto", name: "Automatic" };

export class ChoiceView {
  #source = element("#source", HTMLSelectElement);
  #language = element("#language", HTMLSelectElement);
  #model = element("#model", HTMLSelectElement);
  /** @type {Model[]} */
  #models = [];
  #wanted;

  /**
   * @param {Chosen} chosen before
   * @param {(chosen: Chosen) => void} onChange
   */
  constructor(chosen, onChange) {
    this.#wanted = chosen;
    this.#source.value = chosen.source;
    this.#showLanguages();
    for (const select of [this.#source, this.#language, this.#model]) {
      select.addEventListener("change", () => {
        if (select === this.#model) this.#showLanguages();
        this.#wanted = this.chosen;
        onChange(this.chosen);
      });
    }
  }

  /** @returns {Chosen} */
  get chosen() {
    const source = /** @type {Chosen["source"]} */ (this.#source.value);
    return { source, language: this.#language.value, model: this.#model.value };
  }

  /** @param {Model[]} models as the server lists them */
  offer(models) {
    this.#models = models;
    const options = models.map(({ id }) => new Option(id.split("/").pop(), id));
    if (!options.length) return;
    this.#model.replaceChildren(...options);
    this.#model.value = models.some(({ id }) => id === this.#wanted.model) ? this.#wanted.model : models[0].id;
    this.#model.title = models.map(({ description }) => description).join(" ");
    this.#showLanguages();
  }

  /** While captions run nothing can be chosen. @param {boolean} isLocked */
  lock(isLocked) {
    for (const select of [this.#source, this.#language, this.#model]) select.disabled = isLocked;
  }

  /** What was wanted stays wanted, also while another model does not speak it. */
  #showLanguages() {
    const model = this.#models.find(({ id }) => id === this.#model.value);
    const codes = model?.languages ?? [this.#wanted.language];
    const offered = [AUTOMATIC, ...namedLanguages(codes)];
    this.#language.replaceChildren(...offered.map(({ code, name }) => new Option(name, code)));
    const isOffered = offered.some(({ code }) => code === this.#wanted.language);
    this.#language.value = isOffered ? this.#wanted.language : AUTOMATIC.code;
  }
}
