/** The list of conversations: by day, searched, renamed, exported, removed. */

import { toJson, toMarkdown } from "../data/transfer.js";
import { day, t } from "../text/language.js";
import { button } from "./controls.js";
import { askFor, deletes } from "./dialogs.js";
import { byId, element, fill } from "./dom.js";
import { saveFile } from "./files.js";
import { openMenu } from "./menu.js";

const TYPING_MS = 150; // after the last letter of a search

export class Sidebar {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    /** @type {Set<string> | null} ids; null: all */
    this.found = null;
    let timer = 0;
    byId("search").oninput = ({ target }) => {
      clearTimeout(timer);
      timer = setTimeout(() => this.find(target.value.trim()), TYPING_MS);
    };
    session.on("list run", () => this.show());
  }

  async find(text) {
    this.found = text ? await this.session.database.search(text) : null;
    this.show();
  }

  show() {
    const shown = this.session.conversations.filter((each) => this.found?.has(each.id) ?? true);
    const groups = [...Map.groupBy(shown, (each) => day(each.updated))];
    const sections = groups.map(([name, all]) => element("section", element("h2", name), element("ul", all.map((each) => this.entry(each)))));
    const nothing = element("p.nothing", t(this.found ? "Nothing found." : "Your conversations appear here."));
    fill(byId("conversations"), shown.length ? sections : nothing);
  }

  /** @param {Conversation} conversation */
  entry(conversation) {
    const { session } = this;
    const { id, title } = conversation;
    const writes = [...session.runs.values()].some((run) => run.conversation === id);
    const current = conversation === session.current ? "page" : null;
    const link = element("a", { href: `#${id}`, "aria-current": current, title }, title);
    const more = button("more", t("More about “{title}”", { title }), () => openConversationMenu(more, session, conversation));
    more.setAttribute("aria-haspopup", "menu");
    return element("li", { class: writes ? "writes" : null }, link, more);
  }
}

/** What can be done with a conversation. @param {HTMLElement} opener @param {Session} session @param {Conversation} conversation */
export function openConversationMenu(opener, session, conversation) {
  const { id, title } = conversation;
  const save = async (ending, type, write) => {
    const [whole] = await session.withMessages([conversation]);
    saveFile(`${title.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 60)}.${ending}`, type, write(whole));
  };
  openMenu(opener, [
    ["edit", t("Rename"), () => rename(session, conversation)],
    ["download", t("Export as JSON"), () => save("json", "application/json", (whole) => toJson([whole]))],
    ["download", t("Export as Markdown"), () => save("md", "text/markdown", toMarkdown)],
    ["trash", t("Delete"), async () => (await deletes(title)) && session.remove(id), "danger"],
  ]);
}

async function rename(session, conversation) {
  const title = await askFor({ title: t("Rename"), label: t("Title"), value: conversation.title, action: t("Rename") });
  if (title) await session.rename(conversation, title);
}
