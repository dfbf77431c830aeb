/** Puts the page together: the client, what is kept, the views, the address (`#conversation`) and the keyboard. */

import { ApiError, Client, ConnectionLost } from "./api/client.js";
import { Session } from "./session.js";
import { shortName, t } from "./text/language.js";
import { Collections } from "./view/collections.js";
import { Composer } from "./view/composer.js";
import { dress } from "./view/controls.js";
import { byId, element, fill } from "./view/dom.js";
import { Models } from "./view/models.js";
import { problem } from "./view/notices.js";
import { askForKey, openPreferences } from "./view/preferences.js";
import { openSettings } from "./view/settings.js";
import { openConversationMenu, Sidebar } from "./view/sidebar.js";
import { Thread } from "./view/thread.js";

const NARROW = matchMedia("(max-width: 48rem)");
const asked = location.hash.slice(1); // `list` changes the address before it was followed

// What fails is told. That the server refused, or was not reached, is no mistake of the page.
addEventListener("unhandledrejection", (event) => {
  problem(event.reason);
  if (event.reason instanceof ApiError || event.reason instanceof ConnectionLost) event.preventDefault();
});

const session = new Session(new Client(askForKey));
const composer = new Composer(session, new Collections(session));
const models = new Models(session);
new Thread(session, (text) => composer.write(text));
new Sidebar(session);
dressPage();
addEventListener("keydown", key);
addEventListener("hashchange", () => session.open(location.hash.slice(1)));
session.on("thread", () => document.body.classList.remove("sidebar-shown"));
session.on("list", showAddress);
session.on("model", showModels);
start();

async function start() {
  await session.start();
  await session.open(asked);
  await session.loadModels();
  performance.mark("ready");
  document.body.dataset.ready = "true";
}

/** Words, icons and actions of what stands in the page itself. */
function dressPage() {
  /** @type {Record<string, [icon: string, label: string, act: () => unknown]>} */
  const actions = {
    "new-chat": ["add", t("New chat"), newChat],
    "open-models": ["cube", t("Models"), () => models.open()],
    "open-preferences": ["sliders", t("Preferences"), () => openPreferences(session)],
    "open-settings": ["settings", t("Settings of this conversation"), () => openSettings(session)],
    "open-sidebar": ["menu", t("Show or hide the sidebar"), toggleSidebar],
    "conversation-menu": ["more", t("More about this conversation"), () => openConversationMenu(byId("conversation-menu"), session, session.current)],
  };
  for (const [id, [name, label, act]] of Object.entries(actions)) dress(byId(id), name, label).onclick = act;
  byId("search").placeholder = t("Search");
  byId("skip").textContent = t("Go to the composer");
  byId("small-print").textContent = t("Models make mistakes. What matters is worth checking.");
  byId("shade").onclick = toggleSidebar;
  byId("model").onchange = ({ target }) => session.chooseModel(target.value);
  const labels = { search: t("Search"), sidebar: t("Conversations"), model: t("Model") };
  for (const [id, label] of Object.entries(labels)) byId(id).setAttribute("aria-label", label);
}

function newChat() {
  session.open(null);
  composer.area.focus();
}

function showAddress() {
  const { current, isKept } = session;
  const wanted = isKept ? `#${current.id}` : "";
  if (location.hash !== wanted) history.replaceState(null, "", wanted || location.pathname);
  document.title = isKept ? `${current.title} · Puna` : "Puna";
  byId("conversation-menu").hidden = !isKept;
}

function showModels() {
  const model = shortName(session.current.model);
  const names = new Set([model, ...session.chatModels].filter(Boolean)); // the chosen one may be deleted since
  const options = [...names].map((name) => element("option", { value: name, selected: name === model }, name));
  fill(byId("model"), options);
  byId("model").hidden = !options.length;
}

function key(event) {
  if (document.querySelector("dialog[open], [popover]:popover-open")) return;
  const writes = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
  const command = event.ctrlKey || event.metaKey ? (event.shiftKey ? "ctrl+shift+" : "ctrl+") : "";
  const act = {
    "ctrl+k": search,
    "ctrl+shift+o": newChat,
    "ctrl+m": () => models.open(),
    "ctrl+b": toggleSidebar,
    "/": !writes && (() => composer.area.focus()),
    escape: session.busy && (() => session.stop()),
  }[command + event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
}

function search() {
  document.body.classList.remove("sidebar-hidden");
  document.body.classList.add("sidebar-shown");
  byId("search").focus();
}

/** On a narrow page it lies over the conversation, on a wide one beside it. */
function toggleSidebar() {
  document.body.classList.toggle(NARROW.matches ? "sidebar-shown" : "sidebar-hidden");
}
