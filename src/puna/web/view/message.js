/** One message as the page shows it: what was asked, or an answer with thoughts, calls, usage; and what can be done with it. */

import { MarkdownView } from "../markdown/render.js";
import { number, shortName, t } from "../text/language.js";
import { sourcesElement } from "./collections.js";
import { button, copyButton, form, submitRow } from "./controls.js";
import { element, fill } from "./dom.js";
import { icon } from "./icons.js";
import { notesOf, usageElement } from "./usage.js";

/** `update` shows what has changed of the message. @param {Session} session @param {Message} message */
export function messageView(session, message) {
  const View = { user: QuestionView, assistant: AnswerView, tool: ResultView }[message.role];
  const view = new View(session, message);
  view.update();
  return view;
}

class QuestionView {
  constructor(session, message) {
    this.session = session;
    this.message = message;
    this.element = element("article.message.question", { "aria-label": t("You") });
  }

  update() {
    const { session, message } = this;
    fill(
      this.element,
      message.images.length > 0 && element("div.images", imagesOf(message.images)),
      element("footer.actions", branchButtons(session, message), copyButton(() => message.content), button("edit", t("Edit"), () => this.edit())),
      message.content && element("div.bubble", message.content),
    );
  }

  edit() {
    const { session, message } = this;
    const lines = message.content.split("\n").length;
    const area = element("textarea", { value: message.content, rows: Math.min(12, lines + 1), "aria-label": t("Edit") });
    const submit = () => area.value.trim() && session.send(area.value, message.images, message.parent);
    const cancel = element("button", { type: "button", onclick: () => this.update() }, t("Cancel"));
    const editing = form("form.editing", submit, area, submitRow(t("Ask anew"), cancel));
    area.onkeydown = (event) => {
      if (event.key === "Escape") this.update();
      if (isEnter(event)) {
        event.preventDefault();
        editing.requestSubmit();
      }
    };
    fill(this.element, editing);
    area.focus();
  }
}

class AnswerView {
  constructor(session, message) {
    this.session = session;
    this.message = message;
    this.notes = element("div.notes");
    this.thinkingText = element("div.markdown");
    this.thinkingLabel = element("span");
    this.thinking = element("details.thinking", element("summary", icon("brain"), this.thinkingLabel), this.thinkingText);
    this.text = element("div.markdown");
    this.calls = element("div.calls");
    this.waiting = element("div.waiting", element("i"), element("i"), element("i"));
    this.failure = element("div.failure");
    this.actions = element("footer.actions");
    const name = shortName(message.model);
    const parts = [this.notes, this.thinking, this.text, this.calls, this.waiting, this.failure, this.actions];
    this.element = element("article.message.answer", { "aria-label": name }, element("header", name), parts);
    this.markdown = new MarkdownView(this.text);
    this.thoughts = new MarkdownView(this.thinkingText);
  }

  update() {
    const { message, session } = this;
    const writing = message.state === "writing";
    this.element.classList.toggle("writing", writing);
    this.element.setAttribute("aria-busy", String(writing));
    this.showThinking(writing && !message.content);
    this.markdown.update(message.content);
    this.waiting.hidden = !writing || message.content !== "" || message.calls.length > 0;
    this.showFailure();
    if (writing) return;
    fill(this.notes, message.report && notesOf(message.report));
    fill(this.calls, message.calls.length > 0 && this.callsElement());
    fill(
      this.actions,
      branchButtons(session, message),
      copyButton(() => message.content),
      button("redo", t("Regenerate"), () => session.ask([], message.parent)),
      message.report && [sourcesElement(message.report.sources), usageElement(message.report)],
    );
  }

  showThinking(goesOn) {
    const { thinking } = this.message;
    this.thinking.hidden = !thinking;
    this.thinking.classList.toggle("going", goesOn);
    this.thinkingLabel.textContent = t(goesOn ? "Thinking …" : "Thoughts");
    this.thoughts.update(thinking);
  }

  showFailure() {
    const { error, id, state } = this.message;
    const lost = this.session.runs.get(id)?.lost;
    const failed = state === "failed";
    const text = lost ? t("The connection broke; taking the answer up again …") : failed ? error : t("Stopped.");
    this.failure.hidden = !lost && !failed && state !== "stopped";
    this.failure.classList.toggle("failed", failed);
    fill(this.failure, failed && icon("warning"), element("span", text));
  }

  /** The calls, and where nothing follows them a place for their results. */
  callsElement() {
    const { message, session } = this;
    const isLast = session.current.leaf === message.id;
    const areas = message.calls.map((call) => {
      const label = t("Result of {name}", { name: call.function.name });
      return element("textarea", { rows: 2, "aria-label": label, placeholder: label });
    });
    const cards = message.calls.map(({ function: { name, arguments: given } }, at) =>
      element("div.call", element("div.call-head", icon("tool"), element("strong", name)), source(JSON.stringify(given, null, 2)), isLast && areas[at]),
    );
    const submit = () => session.answerTools(message, areas.map((area) => area.value));
    return form("form", submit, cards, isLast && submitRow(t("Give the results")));
  }
}

class ResultView {
  constructor(session, message) {
    const label = t("Result of {name}", { name: message.tool });
    const folded = element("details", element("summary", icon("tool"), element("span", label)), source(message.content));
    this.element = element("article.message.result", { "aria-label": label }, folded);
  }

  update() {} // it does not change
}

/** @param {string[]} images base64 @param {(image: any, at: number) => any} [dressed] */
export function imagesOf(images, dressed = (image) => image) {
  return images.map((image, at) => dressed(element("img", { src: `data:;base64,${image}`, alt: t("Image {n}", { n: at + 1 }) }), at));
}

/** Whether it is the key that sends. While Chinese or Japanese is being composed Enter chooses a word. */
export function isEnter(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}

/** What scrolls by itself, by keyboard too. */
function source(text) {
  return element("pre", { tabindex: "0" }, text);
}

/** `‹ 2/3 ›` where there are other branches. */
function branchButtons(session, message) {
  const siblings = session.tree.below(message.parent);
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(message);
  const step = (side, label, to) => {
    const made = button(side, label, () => session.select(siblings[to]));
    made.disabled = !siblings[to];
    return made;
  };
  const place = element("span", `${number(at + 1)}/${number(siblings.length)}`);
  return element("span.branches", step("left", t("Earlier branch"), at - 1), place, step("right", t("Later branch"), at + 1));
}
