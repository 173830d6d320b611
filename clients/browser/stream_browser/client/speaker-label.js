// What the server calls speakers whose names it does not know: SPEAKER_00, SPEAKER_01, ..., in the order in which they
// are first heard, from the beginning in each session. It does not know who they are.

const LABEL = /^SPEAKER_(\d{2,})$/;

/**
 * The number of the speaker, from 0; -1 for a name, or for nobody.
 * @param {string | null | undefined} speaker
 */
export function speakerNumber(speaker) {
  return Number(LABEL.exec(speaker ?? "")?.[1] ?? -1);
}

/** The labels of one session, behind those of others: so a label means one person only. */
export class SpeakerLabels {
  #others;

  /** How many speakers have been heard, those of the others as well. */
  count;

  /** @param {number} [others] speakers heard before this session */
  constructor(others = 0) {
    this.#others = this.count = others;
  }

  /**
   * The label that a speaker of the session has here; a name stays.
   * @param {string} speaker
   */
  of(speaker) {
    const number = speakerNumber(speaker);
    if (number < 0) return speaker;
    const here = number + this.#others;
    this.count = Math.max(this.count, here + 1);
    return `SPEAKER_${String(here).padStart(2, "0")}`;
  }
}
