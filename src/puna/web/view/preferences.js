/** What is the same for all conversations: theme, language, the key; all of them as one file; the keyboard's shortcuts. */

import { fromJson, toJson, WrongFile } from "../data/transfer.js";
import { preferred, t } from "../text/language.js";
import { button, choice, definitions, section } from "./controls.js";
import { askFor, openDialog } from "./dialogs.js";
import { element } from "./dom.js";
import { chooseFiles, saveFile } from "./files.js";
import { notice } from "./notices.js";

const THEME = "puna.theme"; // `theme.js` reads it
const SHORTCUTS = {
  "Ctrl K": "Search",
  "Ctrl Shift O": "New chat",
  "Ctrl M": "Models",
  "Ctrl B": "Show or hide the sidebar",
  "/": "Ask something",
  "↑": "Edit the last question",
  Esc: "Stop",
};

/** @param {Session} session */
export function openPreferences(session) {
  const theme = choice(t("Theme"), [["", t("As the system")], ["light", t("Light")], ["dark", t("Dark")]], localStorage.getItem(THEME) ?? "", (chosen) => {
    localStorage.setItem(THEME, chosen);
    document.documentElement.dataset.theme = chosen;
  });
  const language = choice("Language · 语言", [["", t("As the browser")], ["en", "English"], ["zh", "中文"]], preferred.language, (chosen) => {
    preferred.language = chosen;
    location.reload();
  });
  const buttons = [
    button("upload", t("Import conversations"), () => importFile(session), ""),
    button("download", t("Export all conversations"), () => exportAll(session), ""),
    button("edit", t(session.client.key ? "Change the API key" : "Set an API key"), () => changeKey(session), ""),
  ];
  const keys = Object.entries(SHORTCUTS).map(([key, word]) => [key.split(" ").map((each) => element("kbd", each)), t(word)]);
  openDialog(t("Preferences"), [
    element("div.grid", theme, language),
    element("div.stack", buttons),
    element("p.hint", t("Conversations, preferences and the key are kept in this browser, and nowhere else.")),
    section(t("Keyboard"), definitions(keys, "shortcuts")),
    element("p.hint", element("a", { href: "/docs", target: "_blank" }, t("API reference"))),
  ]);
}

/** @param {boolean} wrong whether there was one that the server refused */
export function askForKey(wrong, value = "") {
  const text = t(wrong ? "The server does not know this key. Try another one." : "The server's operator makes keys with “puna keys create”. Yours is kept in this browser.");
  return askFor({ title: t("This server needs a key"), label: t("API key"), text, value, action: t("Save"), type: "password" });
}

async function changeKey(session) {
  const key = await askForKey(false, session.client.key);
  if (!key) return;
  session.client.key = key;
  await session.loadModels();
}

async function exportAll(session) {
  saveFile("puna-conversations.json", "application/json", toJson(await session.withMessages(session.conversations)));
}

/** @param {Session} session */
async function importFile(session) {
  for (const file of await chooseFiles(".json,application/json")) {
    try {
      const all = fromJson(await file.text());
      await session.take(all);
      notice(t("Conversations imported: {n}", { n: all.length }));
    } catch (error) {
      if (!(error instanceof WrongFile)) throw error;
      notice(t("{name} holds no conversations of this page: {reason}", { name: file.name, reason: error.message }), "problem");
    }
  }
}
