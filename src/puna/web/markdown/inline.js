/**
 * Markdown within a line: text -> texts and plain values. Emphasis as CommonMark means it, links, code, maths, bare
 * addresses; a line break is one. Knows nothing of the page, nor which addresses are safe.
 *
 * Takes time linear in the text, whatever it is: what may fail to end is bounded.
 */

const DEEPEST = 50; // marks of emphasis that wait for their end; more of them are text
const LONGEST_RUN = 3; // of marks; a longer one is a line that was drawn
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", "#39": "'", "#x27": "'" };
const EMPHASIS = { 1: "emphasis", 2: "strong" };

const TOKEN = [
  /\\\((?<math>[^]{1,2000}?)\\\)|\\\[(?<math>[^]{1,2000}?)\\\]|\$\$(?<math>[^$]{1,2000})\$\$/,
  /(?<!\$)\$(?![\s$])(?<math>(?:\\[^]|[^\\$]){1,2000}?)(?<!\s)\$(?!\d)/, // as pandoc: prices are none
  /(?<break>\\?\n|<[bB][rR]\s{0,9}\/?>)/,
  /\\(?<escaped>[!-/:-@[-`{-~])|&(?<entity>amp|lt|gt|quot|apos|nbsp|#39|#x27);/,
  /(?<!`)(?<ticks>`+)(?!`)(?<code>[^]{1,5000}?)(?<!`)\k<ticks>(?!`)/,
  /<(?<address>(?:https?:\/\/|mailto:)[^\s<>]+)>|<(?<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/,
  /(?<![\w/])(?<bare>https?:\/\/(?:[^\s<>()`"'，。；：！？、（）【】《》「」]|\([^\s<>()]*\)){1,4000}(?<![.,;:!?*_~]))/,
  /(?<bracket>!?\[)|(?<run>\*+|_+|(?<!~)~~(?!~))/,
].map((each) => each.source).join("|");
const TARGET = /\(\s{0,9}(?:<([^<>\n]{0,4000})>|((?:[^\s()]|\([^\s()]*\)){0,4000}))(?:\s{1,9}["'(][^\n]{0,300}?["')])?\s{0,9}\)/y;

/** @param {string} text @param {number} [depth] links and pictures around it @returns {Inline[]} */
export function parseInline(text, depth = 0) {
  return new Line(text, depth).nodes;
}

class Line {
  constructor(text, depth) {
    this.text = text;
    this.depth = depth;
    this.ends = bracketEnds(text);
    /** What is open, the innermost last; below all of it the line. */
    this.open = [{ mark: "", count: 0, closes: false, nodes: [] }];
    const tokens = new RegExp(TOKEN, "g");
    let end = 0;
    for (let found = tokens.exec(text); found; found = tokens.exec(text)) {
      this.add(text.slice(end, found.index));
      this.take(found, tokens);
      end = tokens.lastIndex;
    }
    this.add(text.slice(end));
    while (this.open.length > 1) this.giveUp();
  }

  get nodes() {
    return this.open.at(-1)?.nodes ?? [];
  }

  /** @param {Inline[]} nodes */
  add(...nodes) {
    this.nodes.push(...nodes.filter(Boolean));
  }

  take(found, tokens) {
    const { math, code, escaped, entity, address, mail, bare, bracket, run } = found.groups;
    if (math) this.add({ type: "math", text: math.trim() });
    else if (code) this.add({ type: "code", text: code.replaceAll("\n", " ").replace(/^ (?=.*\S)(.*) $/, "$1") });
    else if (address || mail) this.link(address ?? `mailto:${mail}`, [address ?? mail]);
    else if (bare) this.link(bare, [bare]);
    else if (bracket) tokens.lastIndex = this.bracket(bracket, tokens.lastIndex);
    else if (run) this.run(run, found.index);
    else if (found.groups.break) this.break();
    else this.add(escaped ?? ENTITIES[entity]);
  }

  link(href, children, type = "link") {
    this.add(this.depth ? children[0] : { type, href, children });
  }

  break() {
    const last = this.nodes.pop();
    this.add(typeof last === "string" ? last.trimEnd() : last, { type: "break" });
  }

  /** `[text](address "title")`, or an image; where it ends. */
  bracket(bracket, from) {
    const isImage = bracket[0] === "!";
    const end = this.ends.get(from - 1);
    TARGET.lastIndex = end + 1;
    const target = end && this.depth < (isImage ? 2 : 1) && TARGET.exec(this.text); // no link within a link
    if (!target) {
      this.add(bracket);
      return from;
    }
    const [whole, pointed, plain] = target;
    const children = parseInline(this.text.slice(from, end), isImage ? 2 : 1);
    this.add({ type: isImage ? "image" : "link", href: pointed ?? plain, children });
    return end + 1 + whole.length;
  }

  /** Marks that end emphasis, begin it, or are text. */
  run(run, at) {
    const [mark] = run;
    const [before, after] = [this.text[at - 1] ?? " ", this.text[at + run.length] ?? " "];
    const within = mark === "_" && isWord(before) && isWord(after); // snake_case is none
    const usable = run.length <= LONGEST_RUN && !within;
    const [opens, closes] = [usable && flanks(before, after), usable && flanks(after, before)];
    let count = run.length;
    while (closes && count) {
      const opener = this.open.findLastIndex((each) => each.mark === mark && (each.count === count || !(opens || each.closes)));
      if (opener < 0) break;
      while (this.open.length > opener + 1) this.giveUp();
      count -= this.wrap(count);
    }
    if (opens && count && this.open.length < DEEPEST) this.open.push({ mark, count, closes, nodes: [] });
    else this.add(mark.repeat(count));
  }

  /** Make emphasis of what is in the innermost; how many of its marks that took. */
  wrap(count) {
    const opener = this.open.pop();
    const length = Math.min(count, opener.count, 2);
    const node = { type: opener.mark === "~" ? "strike" : EMPHASIS[length], children: opener.nodes };
    opener.count -= length;
    if (opener.count) this.open.push({ ...opener, nodes: [node] });
    else this.add(node);
    return length;
  }

  /** The innermost never ended: its marks are text. */
  giveUp() {
    const { mark, count, nodes } = this.open.pop();
    this.add(mark.repeat(count));
    for (const node of nodes) this.add(node);
  }
}

/** Where each bracket that opens is closed. */
function bracketEnds(text) {
  const [ends, open] = [new Map(), []];
  for (const { 0: mark, index } of text.matchAll(/\\[^]|[[\]]/g)) {
    if (mark === "[") open.push(index);
    else if (mark === "]" && open.length) ends.set(open.pop(), index);
  }
  return ends;
}

/** Whether marks may open between these two. Chinese and Japanese set no blanks around what they stress. */
function flanks(before, after) {
  return !/\s/.test(after) && (!isPunctuation(after) || /[\s\u3040-\u30ff\u3400-\u9fff]/.test(before) || isPunctuation(before));
}

function isPunctuation(mark) {
  return /[\p{P}\p{S}]/u.test(mark);
}

function isWord(mark) {
  return /[\p{L}\p{N}]/u.test(mark);
}
