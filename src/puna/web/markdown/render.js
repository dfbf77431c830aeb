/**
 * Markdown as elements of the page. What a model writes is hostile: everything is made by `createElement` and text, only
 * http, https and mailto are links, pictures are links too (fetching one would tell its host what was said).
 */

import { t } from "../text/language.js";
import { copyButton } from "../view/controls.js";
import { element } from "../view/dom.js";
import { icon } from "../view/icons.js";
import { parsePieces } from "./blocks.js";
import { parseInline } from "./inline.js";
import { mathElement } from "./maths.js";

const SCHEMES = new Set(["http:", "https:", "mailto:"]);
const TAGS = { strong: "strong", emphasis: "em", strike: "s" };

/** A growing text as elements: blocks that have not changed stay what they are, with what is selected in them. */
export class MarkdownView {
  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.parent = parent;
    /** @type {{source: string, element: Element}[]} */
    this.shown = [];
    this.source = "";
  }

  /** @param {string} source all of the text */
  update(source) {
    if (source === this.source) return;
    this.source = source;
    const pieces = parsePieces(source);
    let same = 0;
    while (same < pieces.length && this.shown[same]?.source === pieces[same].source) same += 1;
    for (const old of this.shown.splice(same)) old.element.remove();
    for (const piece of pieces.slice(same)) {
      const made = blockElement(piece.block);
      this.parent.append(made);
      this.shown.push({ source: piece.source, element: made });
    }
  }
}

/** @param {Block} block */
function blockElement(block) {
  switch (block.type) {
    case "paragraph": return element("p", inline(block.text));
    // The page's own headings are above these.
    case "heading": return element(`h${Math.min(block.level + 2, 6)}.level-${block.level}`, inline(block.text));
    case "code": return codeElement(block);
    case "math": return element("div.maths", { tabindex: "0", role: "group" }, mathElement(block.text, true));
    case "quote": return element("blockquote", block.blocks.map(blockElement));
    case "list": return listElement(block);
    case "table": return tableElement(block);
    default: return element("hr");
  }
}

function codeElement({ language, text }) {
  const head = element("div.code-head", element("span", language || t("Code")), copyButton(() => text, "copy"));
  return element("div.code", head, element("pre", { tabindex: "0" }, element("code", text)));
}

function listElement({ ordered, start, tight, items }) {
  const made = items.map(({ checked, blocks }) => {
    const task = checked !== null;
    const box = task && element("input", { type: "checkbox", disabled: true, checked, "aria-label": t(checked ? "done" : "not done") });
    const content = blocks.map((block) => (tight && block.type === "paragraph" ? inline(block.text) : blockElement(block)));
    return element("li", { class: task ? "task" : null }, box, content);
  });
  return ordered ? element("ol", { start: start === 1 ? null : start }, made) : element("ul", made);
}

function tableElement({ align, header, rows }) {
  const row = (tag, cells) => element("tr", cells.map((cell, column) => element(tag, { class: align[column] || null }, inline(cell))));
  const body = element("tbody", rows.map((cells) => row("td", cells)));
  // A wide table scrolls by itself, by keyboard too.
  return element("div.table", { tabindex: "0", role: "group", "aria-label": t("Table") }, element("table", element("thead", row("th", header)), body));
}

function inline(text) {
  return parseInline(text).map(inlineNode);
}

/** @param {Inline} node */
function inlineNode(node) {
  if (typeof node === "string") return node;
  switch (node.type) {
    case "code": return element("code", node.text);
    case "math": return mathElement(node.text, false);
    case "break": return element("br");
    case "link":
    case "image": return linkElement(node);
    default: return element(TAGS[node.type], node.children.map(inlineNode));
  }
}

function linkElement({ type, href: address, children: inner }) {
  const children = [type === "image" && [icon("attach"), " "], inner.map(inlineNode)];
  const href = safeAddress(address);
  if (!href) return element("span", children, address && ` (${address})`);
  return element("a", { href, target: "_blank", rel: "noopener noreferrer nofollow", title: address }, children, !inner.length && address);
}

/** The address where it is one that may be followed, else "". Relative ones lead nowhere here. */
function safeAddress(address) {
  const url = URL.parse(address);
  return url && SCHEMES.has(url.protocol) ? url.href : "";
}
