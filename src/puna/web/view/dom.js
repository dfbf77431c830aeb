/** Elements of the page, made of values: text is always text, never markup. Knows nothing of what they are for. */

const PROPERTIES = new Set(["checked", "disabled", "hidden", "open", "selected", "value"]);

/**
 * `element("p.hint", { title }, "text", child)`: a tag with classes; attributes (null, false: not there; true: without a
 * value; functions: listeners), which may be left out; children: nodes, texts, lists of them; null, false and "" are none.
 * @param {string} name @param {...any} content @returns {any}
 */
export function element(name, ...content) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  const attributes = content[0]?.constructor === Object ? content.shift() : {};
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function" || PROPERTIES.has(key)) made[key] = value;
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  fill(made, content);
  return made;
}

/** Replace what is in it. @param {Element} parent @param {...any} children */
export function fill(parent, ...children) {
  parent.replaceChildren(...children.flat(9).filter((child) => child || child === 0));
}

/** The page's own element of that id. @param {string} id @returns {any} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}
