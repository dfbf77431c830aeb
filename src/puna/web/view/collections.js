/** Documents on the server from which a conversation's questions are answered. */

import { number, t } from "../text/language.js";
import { button, form, row } from "./controls.js";
import { deletes, openDialog } from "./dialogs.js";
import { element, fill } from "./dom.js";
import { chooseFiles } from "./files.js";
import { notice, problem } from "./notices.js";

const STORES = "/v1/vector_stores";
const LOOK_MS = 700;

export class Collections {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.list = element("div");
  }

  async open() {
    const label = t("Name of a collection");
    const name = element("input", { placeholder: label, "aria-label": label, required: true, autocomplete: "off" });
    const hint = element("p.hint", t("Questions are answered from the chosen one. Dropped files go into it."));
    const { dialog, closed } = openDialog(t("Collections"), [hint, this.list, form("form.line", () => this.create(name.value), name, element("button", t("New collection")))], "side");
    dialog.id = "collections";
    await this.show();
    await closed;
  }

  async show() {
    const { client, current } = this.session;
    const { collection } = current.settings;
    const data = [];
    for (let more = true; more; ) {
      const page = await client.json("GET", `${STORES}?after=${data.at(-1)?.id ?? ""}`);
      data.push(...page.data);
      more = page.has_more;
    }
    if (collection && !data.some(({ id }) => id === collection)) return this.choose(collection); // it is deleted
    fill(this.list, data.length ? data.map((each) => this.row(each)) : element("p.nothing", t("No collections yet.")));
  }

  row({ id, name, file_counts: { total, in_progress: waiting } }) {
    const facts = [t("{n} files", { n: number(total) }), waiting > 0 && t("being read: {n}", { n: number(waiting) })];
    const ask = button("check", t("Answer from {name}", { name }), () => this.choose(id));
    ask.setAttribute("aria-pressed", String(this.session.current.settings.collection === id));
    const add = button("upload", t("Add files to {name}", { name }), async () => this.add(id, await chooseFiles("", true)));
    return row(name, facts, ask, add, button("trash", t("Delete {model}", { model: name }), () => this.remove(id, name)));
  }

  /** One more, and choose it. */
  async create(name) {
    const { id } = await this.session.client.json("POST", STORES, { name });
    await this.choose(id);
    return id;
  }

  /** Answer from it; the one that is chosen already: from none. */
  async choose(id) {
    const { session } = this;
    const { settings } = session.current;
    settings.collection = settings.collection === id ? "" : id;
    await session.keep();
    session.tell("model");
    await this.show();
  }

  async remove(id, name) {
    if (!(await deletes(name))) return;
    await this.session.client.json("DELETE", `${STORES}/${id}`);
    await this.show();
  }

  /** Into the chosen one, or a new one. @param {File[]} files */
  async take(files) {
    await this.add(this.session.current.settings.collection || (await this.create(files[0].name)), files);
  }

  async add(id, files) {
    for (const file of files) await this.index(id, file).catch(problem);
  }

  async index(id, file) {
    const { client } = this.session;
    const sent = new FormData();
    sent.append("purpose", "assistants");
    sent.append("file", file);
    const { id: file_id } = await client.json("POST", "/v1/files", sent);
    const inside = `${STORES}/${id}/files`;
    let state = await client.json("POST", inside, { file_id });
    while (state.status === "in_progress") {
      await this.show();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      state = await client.json("GET", `${inside}/${file_id}`);
    }
    await this.show();
    if (state.last_error) notice(`${file.name}: ${state.last_error.message}`, "problem");
    else notice(t("{name} can be asked about.", { name: file.name }));
  }
}

/** What an answer was made from, by the numbers that it names. @param {any} sources an imported report may hold anything */
export function sourcesElement(sources) {
  if (!Array.isArray(sources) || !sources.length) return null;
  const entries = sources.map(({ number: value, filename, heading, place, text }) => {
    const where = [heading, place].filter(Boolean).join(" · ");
    return element("li", { value }, element("strong", String(filename)), " ", element("span.facts", where), element("p", String(text)));
  });
  return element("details.sources", element("summary", t("Sources: {n}", { n: sources.length })), element("ol", entries));
}
