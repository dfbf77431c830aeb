/** Where questions are written: text, pictures for models that see, and the button that sends or stops. */

import { number, shortName, t } from "../text/language.js";
import { button, dress } from "./controls.js";
import { byId, element, fill } from "./dom.js";
import { chooseFiles } from "./files.js";
import { imagesOf, isEnter } from "./message.js";
import { notice, problem } from "./notices.js";
import { contextUse } from "./usage.js";

const HIGHEST = 240; // pixels
const LARGEST_IMAGE = 20 << 20; // bytes

export class Composer {
  /** @param {Session} session @param {Collections} collections of what is dropped and no image */
  constructor(session, collections) {
    this.session = session;
    this.collections = collections;
    /** @type {string[]} base64 */
    this.images = [];
    this.area = element("textarea", { rows: "1", placeholder: t("Ask something"), "aria-label": t("Ask something"), enterkeyhint: "send", autofocus: true });
    this.thumbnails = element("div.thumbnails");
    this.attach = button("attach", t("Add images"), async () => this.take(await chooseFiles("image/*", true)));
    this.documents = button("books", t("Collections"), () => collections.open());
    this.think = button("brain", t("Think first"), () => this.toggleThinking());
    this.meter = element("span.context-meter");
    this.button = element("button.icon-button.send");
    byId("composer").append(this.thumbnails, this.area, element("div.composer-bar", this.attach, this.documents, this.think, this.meter, this.button));
    this.listen();
    this.show();
  }

  listen() {
    const { session, area } = this;
    byId("composer").onsubmit = (event) => {
      event.preventDefault();
      return session.busy ? session.stop() : this.send();
    };
    area.oninput = () => this.grow();
    area.onkeydown = (event) => this.key(event);
    area.onpaste = (event) => this.take(event.clipboardData.files, event);
    document.ondragover = (event) => event.preventDefault();
    document.ondrop = (event) => this.take(event.dataTransfer?.files ?? [], event);
    session.on("run thread model", () => this.show());
  }

  key(event) {
    if (isEnter(event)) {
      event.preventDefault();
      if (!this.session.busy) this.send();
    } else if (event.key === "ArrowUp" && !this.area.value) {
      const edits = [...document.querySelectorAll(".question .actions button:last-child")];
      /** @type {HTMLElement} */ (edits.at(-1))?.click();
      event.preventDefault();
    }
  }

  async send() {
    const [text, images] = [this.area.value.trim(), this.images];
    if (!text && !images.length) return;
    if (!this.session.current.model) return notice(t("There is no model yet: get one under “Models”."), "problem");
    this.images = [];
    this.write("");
    await this.session.send(text, images).catch((error) => {
      problem(error);
      this.write(text);
    });
  }

  write(text) {
    this.area.value = text;
    this.grow();
    this.area.focus();
  }

  grow() {
    this.area.style.height = "auto";
    this.area.style.height = `${Math.min(this.area.scrollHeight, HIGHEST)}px`;
    this.showImages();
  }

  async show() {
    this.showButton();
    const { path, current } = this.session;
    const { used, limit } = contextUse(path.findLast((message) => message.report?.context)?.report);
    const [n, most] = [number(used), number(limit)];
    const told = [element("progress", { max: limit, value: used, "aria-label": t("Context") }), element("span", t("{n} of {limit} tokens", { n, limit: most }))];
    fill(this.meter, limit > 0 && told);
    const abilities = await this.abilities();
    this.think.hidden = !abilities.includes("thinking");
    this.think.setAttribute("aria-pressed", String(!["", "off"].includes(current.settings.think)));
    this.documents.setAttribute("aria-pressed", String(Boolean(current.settings.collection)));
    this.attach.hidden = !abilities.includes("vision");
  }

  showButton() {
    const { busy } = this.session;
    const name = busy ? "stop" : "send";
    if (!this.button.querySelector(`.icon-${name}`)) dress(this.button, name, t(busy ? "Stop" : "Send"));
    this.button.disabled = !busy && !this.area.value.trim() && !this.images.length;
  }

  async toggleThinking() {
    const { settings } = this.session.current;
    settings.think = ["", "off"].includes(settings.think) ? "on" : "off";
    await this.session.keep();
    await this.show();
  }

  /** @returns {Promise<string[]>} */
  async abilities() {
    return (await this.session.describe())?.capabilities ?? [];
  }

  /** Files that were dropped, pasted or chosen. @param {Iterable<File>} given @param {Event} [event] */
  async take(given, event) {
    const files = [...given];
    if (files.length || event?.type === "drop") event?.preventDefault();
    const images = files.filter((file) => file.type.startsWith("image/"));
    const documents = files.filter((file) => !images.includes(file));
    if (documents.length) await this.collections.take(documents);
    if (!images.length) return;
    if (!(await this.abilities()).includes("vision")) {
      notice(t("{model} cannot see images: choose a model that can.", { model: shortName(this.session.current.model) }), "problem");
      return;
    }
    for (const file of images) {
      if (file.size > LARGEST_IMAGE) notice(t("{name} is larger than 20 MiB.", { name: file.name }), "problem");
      else this.images.push(await base64(file));
    }
    this.showImages();
  }

  showImages() {
    const remove = (at) => {
      this.images.splice(at, 1);
      this.showImages();
    };
    fill(this.thumbnails, imagesOf(this.images, (image, at) => element("figure", image, button("close", t("Remove"), () => remove(at)))));
    this.showButton();
  }
}

/** @param {File} file @returns {Promise<string>} */
function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",")[1]);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
