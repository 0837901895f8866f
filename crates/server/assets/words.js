// The words that programs need, in the language that the page was sent in.

let words = {};

/** Takes the words that the page carries. */
export function learnWords(page) {
  words = JSON.parse(page.dataset.words);
}

/** A sentence with its braces filled in. */
export function say(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
}

/** A share as a reader reads it; number and sign do not part at a line's end. */
export function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}
