/**
 * Markdown's blocks: source text -> a tree of plain values. CommonMark with GitHub's tables and task lists, as far as
 * models write them, and display maths. Markup that is none is text; HTML is text always.
 *
 * Knows nothing of inline markup (`inline.js`) or of the page (`render.js`). Takes time linear in the text, whatever it is.
 */

const DEEPEST = 12; // quotes and lists within each other; what is nested deeper is text
const LONGEST_MATHS = 100; // lines

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?: +|$)/;
const RULE = /^ {0,3}([-*_]) *(?:\1 *){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const MARKER = /^( {0,3})([-*+]|\d{1,9}[.)])(?:( +)|$)/;
const UNDERLINE = /^ {0,3}(={2,}|-{2,}) *$/; // of one mark it may be the beginning of a list
const TASK = /^\[([ xX])\] +/;
const MATH_ENDS = { "$$": "$$", "\\[": "\\]" };
const ALIGN = { ":-": "left", "-:": "right", ":-:": "center", "-": "" };

/** The outermost blocks, each with its own source: a block whose source is the same as before need not be made anew. */
export function parsePieces(source) {
  return parseLines(source.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"), 0);
}

function parseLines(lines, depth) {
  const pieces = [];
  for (let at = skipBlank(lines, 0); at < lines.length; ) {
    const [block, end] = readBlock(lines, at, depth);
    const next = skipBlank(lines, end);
    pieces.push({ block, source: lines.slice(at, end).join("\n"), gap: next > end && next < lines.length });
    at = next;
  }
  return pieces;
}

function blocksOf(pieces) {
  return pieces.map((piece) => piece.block);
}

/** The block that begins in a line, and the line after its last. */
function readBlock(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return readFence(lines, at);
  if (HEADING.test(line)) return [heading(line), at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  const maths = readMath(lines, at);
  if (maths) return maths;
  if (depth < DEEPEST && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEEPEST && MARKER.test(line)) return readList(lines, at, depth);
  if (line.startsWith("    ")) return readIndented(lines, at);
  if (isTable(lines, at)) return readTable(lines, at);
  return readParagraph(lines, at, depth);
}

function readFence(lines, at) {
  const [, fence, info] = FENCE.exec(lines[at]);
  const closes = (line) => indentOf(line) < 4 && line.trim().length >= fence.length && !line.trim().replaceAll(fence[0], "");
  let end = at + 1;
  while (end < lines.length && !closes(lines[end])) end += 1;
  const text = lines.slice(at + 1, end).map((line) => unindented(line, indentOf(lines[at]))).join("\n");
  return [{ type: "code", language: info.split(" ", 1)[0], text }, Math.min(end + 1, lines.length)];
}

function heading(line) {
  const [opening, marks] = HEADING.exec(line);
  return { type: "heading", level: marks.length, text: line.slice(opening.length).trim().replace(/(^| )#+$/, "").trim() };
}

/** Display maths, where it is closed before a blank line. */
function readMath(lines, at) {
  const first = lines[at].trim();
  const close = MATH_ENDS[first.slice(0, 2)];
  const content = [];
  for (let end = at; close && end < lines.length && end < at + LONGEST_MATHS && !isBlank(lines[end]); end += 1) {
    const line = end === at ? first.slice(2) : lines[end].trim();
    const found = line.indexOf(close);
    content.push(line);
    if (found < 0) continue;
    const text = content.join("\n").slice(0, -2).trim();
    return text && found === line.length - 2 ? [{ type: "math", text }, end + 1] : null; // else: within a line of text
  }
  return null;
}

function readQuote(lines, at, depth) {
  const content = [];
  let end = at;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    // It may go on without its mark.
    if (!QUOTE.test(lines[end]) && (startsBlock(lines, end, depth) || isBlank(content.at(-1)))) break;
    content.push(lines[end].replace(QUOTE, ""));
  }
  return [{ type: "quote", blocks: blocksOf(parseLines(content, depth + 1)) }, end];
}

function readList(lines, at, depth) {
  const first = markerOf(lines[at]);
  const items = [];
  let [tight, end] = [true, at];
  for (let marker = first; marker?.kind === first.kind && !RULE.test(lines[end]); marker = markerOf(lines[end])) {
    if (items.length && isBlank(lines[end - 1])) tight = false;
    const [content, next] = readItem(lines, end, marker, depth);
    const [item, isLoose] = itemOf(content, depth);
    items.push(item);
    if (isLoose) tight = false;
    end = skipBlank(lines, next);
    if (end === lines.length) break;
  }
  while (isBlank(lines[end - 1])) end -= 1;
  return [{ type: "list", ordered: first.ordered, start: first.number, tight, items }, end];
}

/** The lines of an item without their indentation, and the line after it. */
function readItem(lines, at, marker, depth) {
  const content = [lines[at].slice(marker.width)];
  // Models indent what is in a numbered item by two, too.
  const belongs = (line) => indentOf(line) >= Math.min(marker.width, marker.indent + 2);
  let end = at + 1;
  while (end < lines.length) {
    const next = skipBlank(lines, end);
    if (next > end) {
      if (next === lines.length || !belongs(lines[next])) break;
      for (; end < next; end += 1) content.push("");
    }
    const line = lines[end];
    const inside = belongs(line);
    if (!inside && (markerOf(line) || startsBlock(lines, end, depth) || isBlank(content.at(-1)))) break;
    content.push(unindented(line, inside ? marker.width : Infinity));
    end += 1;
  }
  return [content, end];
}

function itemOf(content, depth) {
  const task = TASK.exec(content[0]);
  const pieces = parseLines([content[0].replace(TASK, ""), ...content.slice(1)], depth + 1);
  return [{ checked: task ? task[1] !== " " : null, blocks: blocksOf(pieces) }, pieces.some((piece) => piece.gap)];
}

function markerOf(line) {
  const found = MARKER.exec(line);
  if (!found) return null;
  const [, { length: indent }, mark, { length: space } = " "] = found;
  const ordered = mark.length > 1;
  const width = indent + mark.length + (space > 4 ? 1 : space);
  return { kind: mark.at(-1), ordered, number: ordered ? parseInt(mark, 10) : 1, indent, width };
}

function readIndented(lines, at) {
  let end = at + 1;
  while (end < lines.length && (isBlank(lines[end]) || lines[end].startsWith("    "))) end += 1;
  while (isBlank(lines[end - 1])) end -= 1;
  return [{ type: "code", language: "", text: lines.slice(at, end).map((line) => line.slice(4)).join("\n") }, end];
}

function isTable(lines, at) {
  const [header, delimiters] = [lines[at], lines[at + 1] ?? ""];
  if (!header.includes("|") || !/^[-|: ]+$/.test(delimiters)) return false;
  const cells = cellsOf(delimiters);
  return cells.every((cell) => alignOf(cell) !== undefined) && cellsOf(header).length === cells.length;
}

function readTable(lines, at) {
  const header = cellsOf(lines[at]);
  const rows = [];
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) {
    const cells = cellsOf(lines[end++]);
    rows.push(header.map((_, column) => cells[column] ?? ""));
  }
  return [{ type: "table", align: cellsOf(lines[at + 1]).map(alignOf), header, rows }, end];
}

function cellsOf(line) {
  const cells = [""];
  const text = line.trim().replace(/^\|/, "");
  // A bar is none where it is escaped, or within code.
  for (const [part] of text.matchAll(/\\\||`[^`]{0,1000}`|[^]/g)) {
    if (part === "|") cells.push("");
    else cells[cells.length - 1] += part.replaceAll("\\|", "|");
  }
  if (cells.length > 1 && isBlank(cells.at(-1))) cells.pop();
  return cells.map((cell) => cell.trim());
}

function alignOf(delimiter) {
  return ALIGN[delimiter.replace(/-+/, "-")];
}

function readParagraph(lines, at, depth) {
  const content = [lines[at].trimStart()];
  let end = at + 1;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const underline = UNDERLINE.exec(lines[end]);
    if (underline) return [{ type: "heading", level: underline[1][0] === "=" ? 1 : 2, text: content.join("\n").trim() }, end + 1];
    if (startsBlock(lines, end, depth)) break;
    content.push(lines[end].trimStart());
  }
  return [{ type: "paragraph", text: content.join("\n").trimEnd() }, end];
}

/** Whether a line ends the paragraph before it. */
function startsBlock(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at)) return true;
  if (indentOf(line) < 4 && readMath(lines, at)) return true;
  if (depth >= DEEPEST) return false;
  if (QUOTE.test(line)) return true;
  const marker = markerOf(line); // a number in running text begins no list unless it is 1
  return marker !== null && line.length > marker.width && marker.number === 1;
}

function skipBlank(lines, at) {
  while (at < lines.length && isBlank(lines[at])) at += 1;
  return at;
}

function isBlank(line) {
  return line.trim() === "";
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}

function unindented(line, width) {
  return line.slice(Math.min(indentOf(line), width));
}
