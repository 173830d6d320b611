// A DOM event target that knows by name what its events are, for who checks types. It does nothing else.

/** @typedef {import("./option.js").StreamEventMap} StreamEventMap */

export class TypedTarget extends EventTarget {
  /**
   * @protected
   * @param {keyof StreamEventMap} type
   * @param {unknown} detail
   */
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /**
   * @template {keyof StreamEventMap} Type
   * @param {Type} type
   * @param {((event: StreamEventMap[Type]) => void) | EventListenerObject | null} listener
   * @param {boolean | AddEventListenerOptions} [options]
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListener | null} */ (listener), options);
  }

  /**
   * @template {keyof StreamEventMap} Type
   * @param {Type} type
   * @param {((event: StreamEventMap[Type]) => void) | EventListenerObject | null} listener
   * @param {boolean | EventListenerOptions} [options]
   */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, /** @type {EventListener | null} */ (listener), options);
  }
}
