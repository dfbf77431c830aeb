/** Files to and from whoever looks at the page. */

import { element } from "./dom.js";

export function saveFile(name, type, content) {
  const href = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

/** None where the choice was cancelled. @param {string} accept @param {boolean} [multiple] @returns {Promise<File[]>} */
export function chooseFiles(accept, multiple = false) {
  return new Promise((resolve) => {
    const input = element("input", { type: "file", accept, multiple, onchange: () => resolve([...input.files]), oncancel: () => resolve([]) });
    input.click();
  });
}
