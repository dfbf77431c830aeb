/** Code with its comments, strings, numbers and keywords told apart: enough for the eye, in any language. */

import { element } from "../view/dom.js";

const LONGEST = 100_000; // characters; what is longer is shown as it is
// Of C, C++, Go, Java, JavaScript, Python, Rust, shells, TypeScript and their like, as one.
const KEYWORDS = new Set(
  "and as assert async await auto bool break case catch char class const constexpr continue crate def default defer del delete do double done elif else enum esac except export extends extern False false fi final finally float fn for from func function global go goto if impl implements import in instanceof int interface is lambda let local long loop match mod move mut namespace new nil None nonlocal not null nullptr operator or package pass private protected pub public raise range readonly ref return select Self self short signed sizeof static struct super switch template then this throw trait True true try type typedef typename typeof undefined union unsafe unsigned until use using var virtual void where while with yield".split(" "),
);
const SQL = new Set(
  "ADD ALTER AND AS ASC BETWEEN BY CASE CREATE DELETE DESC DISTINCT DROP ELSE END EXISTS FROM GROUP HAVING IN INDEX INNER INSERT INTO IS JOIN KEY LEFT LIKE LIMIT NOT NULL ON OR ORDER OUTER PRIMARY RIGHT SELECT SET TABLE THEN UNION UPDATE VALUES WHEN WHERE WITH".split(" "),
);
const HASH = /^(bash|console|docker\w*|make\w*|modelfile|perl|py\w*|r|rb|ruby|sh|shell|toml|ya?ml|zsh)$/;
const DASHES = /^(haskell|lua|sql)$/;

/** @param {string} text @param {string} language as the fence says; "": not said @returns {(Node | string)[]} */
export function highlight(text, language) {
  const name = language.toLowerCase();
  if (!name || name === "text" || text.length > LONGEST) return [text];
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(pattern(name))) {
    const [[kind, written]] = Object.entries(found.groups ?? {}).filter(([, each]) => each !== undefined);
    const known = name === "sql" ? SQL.has(written.toUpperCase()) : KEYWORDS.has(written);
    if (kind === "keyword" && !known) continue;
    parts.push(text.slice(at, found.index), element(`span.${kind}`, written));
    at = found.index + written.length;
  }
  return [...parts, text.slice(at)];
}

/** What may fail to end is bounded, so that no text takes long. @param {string} name */
function pattern(name) {
  const hash = HASH.test(name);
  const line = hash ? "#.*" : DASHES.test(name) ? "--.*" : "\\/\\/.*";
  const block = hash ? '"""[^]*?(?:"""|$)' : "\\/\\*[^]*?(?:\\*\\/|$)";
  const string = "\"(?:[^\"\\\\\\n]|\\\\.)*\"?|'(?:[^'\\\\\\n]|\\\\.){0,200}'|`(?:[^`\\\\]|\\\\.){0,2000}`";
  return new RegExp(`(?<comment>${block}|${line})|(?<string>${string})|(?<number>\\b\\d[\\w.]*)|(?<keyword>[A-Za-z_]\\w*)`, "g");
}
