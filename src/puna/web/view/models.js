/** The models of the server: in memory, on disk, and new ones, with what the planner says before they are pulled. */

import { pull } from "../api/pull.js";
import { duration, moment, number, shortName, size, t } from "../text/language.js";
import { button, form, row, section } from "./controls.js";
import { deletes, openDialog } from "./dialogs.js";
import { element, fill } from "./dom.js";
import { notice, problem } from "./notices.js";
import { planElement } from "./plan.js";

const LOOK_MS = 3000; // between two looks at what runs, while the dialog is open
const FOREVER = 10 * 365 * 86_400; // seconds

/** Pulls go on while the dialog is closed. */
export class Models {
  /** @param {Session} session */
  constructor(session) {
    this.session = session;
    this.runningList = element("div");
    this.localList = element("div");
    this.pulls = element("div");
    this.verdict = element("div.verdict", { "aria-live": "polite" });
    const label = t("Name of a model");
    this.name = element("input", { placeholder: label, "aria-label": label, required: true, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
    this.form = form("form.line", () => this.check(this.name.value.trim()), this.name, element("button", t("Check")));
    session.on("model", () => this.showLocal());
  }

  async open() {
    const hint = element("p.hint", t("As in Ollama's library, or hf.co/user/repository, or modelscope.cn/user/repository."));
    const content = [
      section(t("Get a model"), this.form, hint, this.verdict, this.pulls),
      section(t("In memory"), this.runningList),
      section(t("On this machine"), this.localList),
    ];
    const { dialog, closed } = openDialog(t("Models"), content, "side");
    dialog.id = "models";
    this.showLocal();
    this.showRunning();
    const timer = setInterval(() => this.showRunning(), LOOK_MS);
    this.session.loadModels();
    await closed;
    clearInterval(timer);
  }

  async showRunning() {
    const { client } = this.session;
    const { models } = await client.json("GET", "/api/ps");
    const rows = models.map(({ name, size: bytes, context_length: context, expires_at: end }) => {
      const left = (Date.parse(end) - Date.now()) / 1000;
      const stays = left > FOREVER ? t("stays loaded") : t("unloaded in {time}", { time: duration(Math.max(0, left)) });
      const facts = [size(bytes), t("context of {n} tokens", { n: number(context) }), stays];
      return row(shortName(name), facts, button("eject", t("Unload {model}", { model: name }), async () => {
        await client.json("POST", "/api/generate", { model: name, keep_alive: 0 });
        await this.showRunning();
      }));
    });
    fill(this.runningList, rows.length ? rows : element("p.nothing", t("No model is loaded.")));
  }

  showLocal() {
    const rows = this.session.models.map(({ name, size: bytes, details, capabilities = [], modified_at: modified }) => {
      const facts = [size(bytes), details?.family, details?.parameter_size, details?.quantization_level, moment(modified)];
      const badges = capabilities.filter((each) => each !== "completion").map((each) => element("span.badge", each));
      return row([shortName(name), badges], facts, button("trash", t("Delete {model}", { model: name }), () => this.remove(name)));
    });
    fill(this.localList, rows.length ? rows : element("p.nothing", t("No models yet.")));
  }

  async remove(name) {
    if (!(await deletes(name))) return;
    await this.session.client.json("DELETE", "/api/delete", { model: name });
    await this.session.loadModels();
  }

  /** What the planner says, and then the button that pulls. */
  async check(name) {
    fill(this.verdict, element("p.hint", t("Looking at it …")));
    const plan = this.session.client.json("POST", "/api/plan", { model: name });
    const said = await plan.then(planElement).catch((error) => element("p.fits-not", error.message)); // it may be pulled all the same
    const download = button("download", t("Download"), () => {
      fill(this.verdict);
      this.name.value = "";
      return this.pull(name);
    }, "solid");
    fill(this.verdict, element("h4", name), said, download);
    download.focus();
  }

  async pull(name) {
    const abort = new AbortController();
    const progress = element("progress", { "aria-label": t("Download of {model}", { model: name }) });
    const status = element("span.facts", t("Starts …"));
    const stop = button("close", t("Cancel the download of {model}", { model: name }), () => abort.abort());
    const shown = element("div.row.pulling", element("div", element("strong", name), progress, status), stop);
    this.pulls.append(shown);
    const began = performance.now();
    let first = -1;
    try {
      for await (const { status: told, completed, total } of pull(this.session.client, name, abort.signal)) {
        if (first < 0 && total) first = completed; // what was there already is not speed
        if (total) Object.assign(progress, { max: total, value: completed });
        const speed = ((completed - first) * 1000) / (performance.now() - began);
        const part = t("{part} of {whole}", { part: size(completed), whole: size(total) });
        status.textContent = completed < total ? `${part} · ${size(Math.max(0, speed))}/s` : told;
      }
      notice(t("{model} is there.", { model: name }));
    } catch (error) {
      if (!abort.signal.aborted) problem(error);
    }
    shown.remove();
    await this.session.loadModels();
  }
}
