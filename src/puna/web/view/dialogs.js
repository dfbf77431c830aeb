/** Dialogs over the page: they keep the focus, Escape closes them. */

import { t } from "../text/language.js";
import { button, field, form, submitRow } from "./controls.js";
import { element } from "./dom.js";

/**
 * Show one. @param {string} title @param {any[]} content @param {string} [kind] its classes
 * @returns {{dialog: HTMLDialogElement, closed: Promise<unknown>}}
 */
export function openDialog(title, content, kind = "") {
  const id = `title-${crypto.randomUUID()}`;
  const dialog = element(
    "dialog",
    { class: kind, "aria-labelledby": id, onpointerdown: (event) => event.target === dialog && dialog.close() }, // beside it
    element("header", element("h2", { id }, title), button("close", t("Close"), () => dialog.close())),
    element("div.dialog-content", content),
    element("div.dialog-notices", { role: "status" }),
  );
  document.body.append(dialog);
  dialog.showModal();
  const closed = new Promise((resolve) => dialog.addEventListener("close", resolve)).finally(() => dialog.remove());
  return { dialog, closed };
}

/** @param {string} question @param {string} action what the button says that does it @returns {Promise<boolean>} */
export async function confirmed(question, action) {
  let yes = false;
  const act = () => {
    yes = true;
    dialog.close();
  };
  const buttons = [
    element("button", { onclick: () => dialog.close() }, t("Cancel")),
    element("button.danger.solid", { autofocus: true, onclick: act }, action),
  ];
  const { dialog, closed } = openDialog(action, [element("p", question), element("div.buttons", buttons)], "small");
  await closed;
  return yes;
}

/** Whether to delete something for good. */
export function deletes(title) {
  return confirmed(t("Delete “{title}”? This cannot be undone.", { title }), t("Delete"));
}

/**
 * @param {{title: string, label: string, text?: string, value?: string, action: string, type?: string}} asked
 * @returns {Promise<string>} "": it was closed
 */
export async function askFor({ title, label, text = "", value = "", action, type = "text" }) {
  let given = "";
  const input = element("input", { type, value, autofocus: true, autocomplete: "off", required: true, spellcheck: "false" });
  const submit = () => {
    given = input.value.trim();
    dialog.close();
  };
  const { dialog, closed } = openDialog(title, [form("form", submit, text && element("p", text), field(label, input), submitRow(action))], "small");
  input.select();
  await closed;
  return given;
}
