/** Short messages at the edge of the page, read out by screen readers; they go by themselves. */

import { reasonOf } from "../session.js";
import { byId, element } from "./dom.js";

const SHOWN_MS = 6000;

/** @param {string} text @param {"info" | "problem"} [kind] */
export function notice(text, kind = "info") {
  const shown = element(`div.notice.${kind}`, text);
  // An open dialog is above everything but what is in it.
  (document.querySelector("dialog[open] .dialog-notices") ?? byId("notices")).append(shown);
  setTimeout(() => shown.remove(), SHOWN_MS);
}

/** Say it, without showing it. */
export function announce(text) {
  byId("status").textContent = text;
}

export function problem(error) {
  notice(reasonOf(error), "problem");
}
