/** Gives a text to the visitor as a file. It does not know what is in it. */

/**
 * @param {string} name of the file
 * @param {string} type its media type
 * @param {string} text
 */
export function offerFile(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser may begin to save it a little later
}
