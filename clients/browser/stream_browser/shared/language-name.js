/**
 * Languages as those who speak them write them. Pure; which there are, the models say.
 */

/**
 * @param {string} code BCP 47
 * @returns {string} the code itself where the browser has no name for it
 */
export function languageName(code) {
  for (const locale of [code, "en"]) {
    try {
      const name = new Intl.DisplayNames([locale], { type: "language", fallback: "none" }).of(code);
      if (name) return name[0].toLocaleUpperCase(locale) + name.slice(1);
    } catch {
      // not a code that this browser knows: the next, or none
    }
  }
  return code;
}

/**
 * In the order of their names, each once.
 *
 * @param {readonly string[]} codes
 * @returns {{ code: string, name: string }[]}
 */
export function namedLanguages(codes) {
  const spoken = [...new Set(codes)].filter((code) => code !== "auto");
  const named = spoken.map((code) => ({ code, name: languageName(code) }));
  return named.sort((one, other) => one.name.localeCompare(other.name));
}
