// Control messages that are answered, and who waits for the answer. It does not know how they travel: it puts them into
// the backlog, and takes them out when they are answered.

/** @typedef {import("./message.js").Flushed} Flushed */
/** @typedef {import("./message.js").Configured} Configured */
/** @typedef {import("./message.js").Configure} Configure */

/**
 * @template T
 * @typedef {{ promise: Promise<T>, resolve: (answer: T) => void, reject: (error: Error) => void }} Answer
 */
/**
 * @template T
 * @typedef {Answer<T> & { message: string }} Question
 */

/**
 * Flushes, answered by their number, and configurations, answered in order.
 *
 * Nothing in `configured` says which `configure` it answers, and one that is sent again after a break may be answered
 * twice. So only one is under way at a time; and while `#strays` answers to earlier ones may still come, it is sent
 * that many times more, which changes nothing, and has its answer in the last of the answers.
 */
export class Questions {
  #backlog;
  /** @type {Map<number, Question<Flushed>>} */
  #flushes = new Map();
  /** @type {Question<Configured>[]} */
  #configures = []; // the first of them is under way
  #due = 0; // answers until the first has its own
  #strays = 0; // at most; answers to what has had its own
  #askedAt = 0; // a position of the stream
  #number = 0;

  /**
   * The fields that have been configured, for a session that takes over.
   * @type {Omit<Configure, "type">}
   */
  inForce = {};

  /** @param {import("./backlog.js").FrameLog} backlog */
  constructor(backlog) {
    this.#backlog = backlog;
  }

  /** Ask; the answer to come. */
  flush() {
    const id = ++this.#number;
    /** @type {Question<Flushed>} */
    const question = { message: JSON.stringify({ type: "flush", id }), ...awaitAnswer() };
    this.#flushes.set(id, question);
    this.#backlog.append(question.message);
    return question.promise;
  }

  /**
   * Ask, as soon as what was asked before is answered; the answer to come.
   * @param {Omit<Configure, "type">} fields
   */
  configure(fields) {
    /** @type {Question<Configured>} */
    const question = { message: JSON.stringify({ ...fields, type: "configure" }), ...awaitAnswer() };
    this.#configures.push(question);
    this.#askNext();
    return question.promise;
  }

  #askNext() {
    if (this.#configures.length === 0 || this.#due > 0) return;
    this.#due = this.#strays + 1;
    this.#askedAt = this.#backlog.endSample;
    for (let time = 0; time < this.#due; time++) this.#backlog.append(this.#configures[0].message);
  }

  /** The session goes on after a break: what has no answer yet is sent again. */
  resume() {
    this.#strays += this.#due;
  }

  /** A new session, which answers what it is asked. */
  restart() {
    this.#strays = 0;
  }

  /**
   * The server has acknowledged audio up to here: it has answered what was asked before.
   * @param {number} position
   */
  heard(position) {
    if (position > this.#askedAt) this.#strays = 0;
  }

  /**
   * An answer; false where there has been one: asked again after a break, and answered twice.
   * @param {Flushed} event
   */
  flushed(event) {
    const id = Number(event.id);
    const question = this.#flushes.get(id);
    if (question === undefined) return false;
    this.#flushes.delete(id);
    this.#backlog.settle(question.message);
    question.resolve(event);
    return true;
  }

  /**
   * An answer; whose, can be told from how many there were.
   * @param {Configured} event
   */
  configured(event) {
    if (this.#due === 0) return;
    this.#due--;
    const question = this.#configures[0];
    this.#backlog.settle(question.message);
    if (this.#due > 0) return;
    this.#configures.shift();
    const { type: _, ...fields } = JSON.parse(question.message);
    Object.assign(this.inForce, fields);
    question.resolve(event);
    this.#askNext();
  }

  /**
   * There will be no answers.
   * @param {Error} error
   */
  fail(error) {
    for (const { reject } of [...this.#flushes.values(), ...this.#configures]) reject(error);
    this.#flushes.clear();
    this.#configures = [];
  }
}

/**
 * An answer to come.
 * @template T
 * @returns {Answer<T>}
 */
export function awaitAnswer() {
  let [resolve, reject] = [(/** @type {T} */ _) => {}, (/** @type {Error} */ _) => {}];
  /** @type {Promise<T>} */
  const promise = new Promise((...settle) => ([resolve, reject] = settle));
  promise.catch(() => {}); // its caller may have left; then nobody asks
  return { promise, resolve, reject };
}
