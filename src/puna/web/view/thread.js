/** The shown branch of the open conversation. What has not changed stays in the page; while it grows its end stays in sight. */

import { t } from "../text/language.js";
import { dress } from "./controls.js";
import { byId, element, fill } from "./dom.js";
import { messageView } from "./message.js";
import { announce } from "./notices.js";

const NEAR = 80; // pixels from its end within which the page follows it

export class Thread {
  /** @param {Session} session @param {(text: string) => void} suggest puts a text into the composer */
  constructor(session, suggest) {
    this.session = session;
    this.suggest = suggest;
    this.scroller = byId("scroller");
    this.toEnd = dress(byId("to-end"), "down", t("To the end"));
    this.views = new Map();
    /** @type {Set<string>} messages that changed since the last frame */
    this.changed = new Set();
    this.shown = "";
    this.follows = true;
    session.on("thread", () => this.show());
    session.on("message", (event) => this.change(event.detail));
    this.scroller.addEventListener("scroll", () => this.watch(), { passive: true });
    // What is unfolded at the end is seen whole.
    byId("thread").addEventListener("toggle", () => this.follows && this.scrollToEnd(), { capture: true });
    this.toEnd.onclick = () => this.scrollToEnd();
  }

  show() {
    const { current, path } = this.session;
    if (this.shown !== current.id) this.views.clear();
    this.shown = current.id;
    const elements = path.map((message) => {
      const view = this.views.get(message.id) ?? messageView(this.session, message);
      this.views.set(message.id, view);
      view.update(); // its branches, whether it is the last
      return view.element;
    });
    fill(byId("thread"), path.length ? elements : this.welcome());
    this.scrollToEnd();
  }

  welcome() {
    const questions = [t("What is Puna?"), t("How do I use Puna from Python?"), t("Who are you?")];
    return element(
      "div.welcome",
      element("img.mark", { src: "/web/icon.svg", alt: "" }),
      element("h1", t("What would you like to know?")),
      element("p", t("Models run on this machine. What you write stays here.")),
      element("div.suggestions", questions.map((text) => element("button", { onclick: () => this.suggest(text) }, text))),
    );
  }

  /** @param {Message} message */
  change(message) {
    if (!this.changed.size) requestAnimationFrame(() => this.paint());
    this.changed.add(message.id);
    if (message.conversation === this.session.current.id && message.state === "done") announce(t("The answer is complete."));
  }

  paint() {
    for (const id of this.changed) this.views.get(id)?.update();
    this.changed.clear();
    if (this.follows) this.scrollToEnd();
  }

  watch() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    this.toEnd.hidden = this.follows;
  }

  scrollToEnd() {
    this.follows = true;
    this.toEnd.hidden = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}
