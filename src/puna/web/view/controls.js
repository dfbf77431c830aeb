/** Buttons, fields, forms and lists that look the same everywhere. */

import { t } from "../text/language.js";
import { element, fill } from "./dom.js";
import { icon } from "./icons.js";

const COPIED_MS = 1500;

/**
 * With an icon and a name, which is seen unless its kind is "icon-button".
 * @param {string} name of the icon @param {string} label @param {(event: any) => unknown} onclick @param {string} [kind] its classes
 */
export function button(name, label, onclick, kind = "icon-button") {
  return dress(element("button", { type: "button", class: kind, onclick }), name, label);
}

/** Give a button that icon and name. */
export function dress(made, name, label) {
  fill(made, icon(name), element("span", label));
  made.title = label;
  return made;
}

/** Says for a moment that it has copied. @param {() => string} text @param {string} [kind] */
export function copyButton(text, kind) {
  const made = button("copy", t("Copy"), async () => {
    await navigator.clipboard.writeText(text());
    dress(made, "check", t("Copied"));
    setTimeout(() => dress(made, "copy", t("Copy")), COPIED_MS);
  }, kind);
  return made;
}

/** @param {string} name as `element` takes it @param {() => unknown} submit @param {...any} content */
export function form(name, submit, ...content) {
  const onsubmit = (event) => {
    event.preventDefault();
    return submit();
  };
  return element(name, { onsubmit }, content);
}

/** The last row of a form: what sends it, and before it other buttons. @param {string} label @param {...any} others */
export function submitRow(label, ...others) {
  return element("div.buttons", others, element("button.solid", label));
}

/** @param {string} text @param {HTMLElement} input @param {string} [hint] */
export function field(text, input, hint = "") {
  return element("label", element("span", text), input, hint && element("small", hint));
}

/** @param {string} text @param {string[][]} choices value and name @param {string} value @param {(chosen: string) => void} choose */
export function choice(text, choices, value, choose) {
  const options = choices.map(([key, name]) => element("option", { value: key, selected: key === value }, name));
  return field(text, element("select", { onchange: (event) => choose(event.target.value) }, options));
}

/** Names and values; what has no value is left out. @param {any[][]} rows @param {string} [kind] */
export function definitions(rows, kind = "") {
  const shown = rows.filter(([, value]) => value);
  return element("dl", { class: kind || null }, shown.map(([name, value]) => element("div", element("dt", name), element("dd", value))));
}

/** @param {string} title @param {...any} content */
export function section(title, ...content) {
  return element("section", element("h3", title), content);
}

/** One of a list: its name, what is known of it, what can be done with it. @param {any} name @param {unknown[]} facts @param {...any} actions */
export function row(name, facts, ...actions) {
  return element("div.row", element("div", element("strong", name), element("span.facts", facts.filter(Boolean).join(" · "))), actions);
}
