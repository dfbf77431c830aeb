/**
 * Maths as models write it: TeX -> MathML, which browsers set by themselves. What is not understood whole is shown as its
 * source, nothing of it left out.
 */

import { element } from "../view/dom.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const LONGEST = 4000; // characters
const DEEPEST = 40; // groups within each other

const TOKEN = /\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[^\s]/gsu;

const table = (pairs) => new Map([...pairs.matchAll(/(\S+) (\S+)/g)].map(([, name, mark]) => [name, mark]));
const list = (words) => new Set(words.split(" "));

const LETTERS = table(
  "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ tau τ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω hbar ℏ ell ℓ partial ∂ nabla ∇ infty ∞ emptyset ∅ varnothing ∅ dots … ldots … cdots ⋯ vdots ⋮ ddots ⋱ prime ′ degree °",
);
const OPERATORS = table(
  "times × div ÷ cdot ⋅ pm ± mp ∓ ast ∗ oplus ⊕ otimes ⊗ le ≤ leq ≤ ge ≥ geq ≥ ll ≪ gg ≫ ne ≠ neq ≠ equiv ≡ approx ≈ sim ∼ cong ≅ propto ∝ in ∈ notin ∉ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖ forall ∀ exists ∃ neg ¬ lnot ¬ land ∧ wedge ∧ lor ∨ vee ∨ to → rightarrow → leftarrow ← leftrightarrow ↔ Rightarrow ⇒ implies ⟹ iff ⟺ Leftrightarrow ⇔ mapsto ↦ mid ∣ parallel ∥ perp ⊥ langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ vert | | ‖ lbrace { rbrace } { { } } % % $ $ # # & & _ _",
);
const LARGE = table("sum ∑ prod ∏ int ∫ iint ∬ oint ∮ bigcup ⋃ bigcap ⋂");
const ACCENTS = table("hat ^ widehat ^ bar ¯ overline ¯ vec → tilde ~ widetilde ~ dot ˙ ddot ¨");
const UNDER = table("underline _");
const BLACKBOARD = table("R ℝ N ℕ Z ℤ Q ℚ C ℂ");
const SPACES = table(", 0.17em : 0.22em ; 0.28em ! -0.17em quad 1em qquad 2em").set(" ", "0.28em");
const BELOW = list("lim limsup liminf max min sup inf argmax argmin"); // functions whose limits stand below
const FUNCTIONS = list("sin cos tan cot arcsin arccos arctan tanh log ln lg exp det dim ker deg arg Pr").union(BELOW);
const STYLES = list("mathrm mathbf boldsymbol mathbb bm operatorname mathit mathcal mathsf mathtt text textbf textit textrm mbox");
const IGNORED = list("displaystyle textstyle limits nolimits big Big bigg Bigg bigl bigr Bigl Bigr");
const FENCES = { matrix: "", pmatrix: "()", bmatrix: "[]", Bmatrix: "{}", vmatrix: "||", cases: "{", aligned: "", align: "", array: "" };

class NotUnderstood extends Error {}

/** @param {string} source @param {boolean} display on lines of its own @returns {Element} */
export function mathElement(source, display) {
  try {
    if (source.length > LONGEST) throw new NotUnderstood();
    return made("math", { title: source, display: display ? "block" : "inline" }, new Parser(source, display).row());
  } catch (error) {
    if (!(error instanceof NotUnderstood)) throw error;
    return element("span.tex", source);
  }
}

class Parser {
  constructor(source, display) {
    this.source = source;
    this.tokens = [...source.matchAll(TOKEN)];
    this.at = 0;
    this.depth = 0;
    this.display = display;
  }

  /** The next token; "" at the end. */
  get next() {
    return this.tokens[this.at]?.[0] ?? "";
  }

  take() {
    if (!this.next) throw new NotUnderstood();
    return this.tokens[this.at++][0];
  }

  /** Whether the next is that one; then it is passed. */
  passes(token) {
    const is = this.next === token;
    if (is) this.at += 1;
    return is;
  }

  /** All before one of these. @param {...string} ends */
  row(...ends) {
    if (++this.depth > DEEPEST) throw new NotUnderstood();
    const atoms = [];
    while (this.next && !ends.includes(this.next)) atoms.push(this.scripted());
    this.depth -= 1;
    return made("mrow", ...atoms);
  }

  /** All before that one, and it. */
  until(end) {
    const row = this.row(end);
    if (!this.passes(end)) throw new NotUnderstood();
    return row;
  }

  /** An atom with what stands above and below it. */
  scripted() {
    const name = this.next.slice(1);
    const base = "^_'".includes(this.next) ? made("mrow") : this.atom();
    let [below, above] = [null, null];
    for (;;) {
      if (!below && this.passes("_")) below = this.argument();
      else if (!above && this.passes("^")) above = this.argument();
      else if (this.passes("'")) above = made("mrow", ...[above, made("mo", { lspace: "0" }, "′")].filter(Boolean));
      else if (!this.passes("\\limits") && !this.passes("\\nolimits")) break;
    }
    const large = this.display && (BELOW.has(name) || (LARGE.has(name) && !name.includes("int")));
    const [under, over, both] = large ? ["munder", "mover", "munderover"] : ["msub", "msup", "msubsup"];
    if (below && above) return made(both, base, below, above);
    return below ? made(under, base, below) : above ? made(over, base, above) : base;
  }

  argument() {
    return this.passes("{") ? this.until("}") : this.atom();
  }

  /** What is in braces, as it is written. */
  words() {
    if (!this.passes("{")) throw new NotUnderstood();
    const from = this.tokens[this.at]?.index;
    for (let depth = 1; depth > 0; ) {
      const token = this.take();
      depth += token === "{" ? 1 : token === "}" ? -1 : 0;
    }
    return this.source.slice(from, this.tokens[this.at - 1].index);
  }

  atom() {
    if (this.next === "{") return this.argument();
    const token = this.take();
    if ("}&^_".includes(token)) throw new NotUnderstood();
    if (token === "~") return space("0.28em");
    if (token[0] === "\\") return this.command(token.slice(1));
    if (/^\d/.test(token)) return made("mn", token);
    return made(/\p{L}/u.test(token) ? "mi" : "mo", token === "-" ? "−" : token);
  }

  command(name) {
    if (LETTERS.has(name)) return made("mi", LETTERS.get(name));
    const operator = OPERATORS.get(name) ?? LARGE.get(name);
    if (operator) return made("mo", operator);
    if (ACCENTS.has(name)) return made("mover", { accent: "true" }, this.argument(), made("mo", ACCENTS.get(name)));
    if (UNDER.has(name)) return made("munder", this.argument(), made("mo", UNDER.get(name)));
    if (FUNCTIONS.has(name)) return upright(name);
    if (STYLES.has(name)) return this.styled(name);
    if (IGNORED.has(name)) return made("mrow");
    if (SPACES.has(name)) return space(SPACES.get(name));
    switch (name) {
      case "frac":
      case "dfrac":
      case "tfrac": return made("mfrac", this.argument(), this.argument());
      case "binom": return fenced("(", made("mfrac", { linethickness: "0" }, this.argument(), this.argument()), ")");
      case "sqrt": return this.root();
      case "left": return fenced(this.fence(), this.until("\\right"), this.fence());
      case "begin": return this.environment();
      case "boxed": return this.argument();
      default: throw new NotUnderstood();
    }
  }

  styled(name) {
    if (["mathbf", "boldsymbol", "bm"].includes(name)) return made("mrow", { class: "bold" }, this.argument());
    const words = this.next === "{" ? this.words() : this.take();
    if (name === "mathbb") return made("mi", [...words].map((each) => BLACKBOARD.get(each) ?? each).join(""));
    if (/^text|^mbox/.test(name)) return made("mtext", words.replaceAll(" ", "\u00a0"));
    if (words.includes("\\")) throw new NotUnderstood();
    return upright(words);
  }

  root() {
    if (!this.passes("[")) return made("msqrt", this.argument());
    const degree = this.until("]");
    return made("mroot", this.argument(), degree);
  }

  fence() {
    const token = this.take();
    return token === "." ? "" : (OPERATORS.get(token.slice(1)) ?? token.replace("\\", ""));
  }

  environment() {
    const name = this.words().replace("*", "");
    if (!(name in FENCES)) throw new NotUnderstood();
    if (name === "array") this.words(); // how its columns are set
    const lines = [];
    do {
      if (this.next === "\\end") break; // after the last line's end
      const cells = [];
      do cells.push(made("mtd", this.row("&", "\\\\", "\\end")));
      while (this.passes("&"));
      lines.push(made("mtr", ...cells));
    } while (this.passes("\\\\"));
    if (!this.passes("\\end")) throw new NotUnderstood();
    this.words();
    const kind = name === "cases" ? "cases" : name.startsWith("align") ? "aligned" : "grid";
    const [open = "", close = ""] = FENCES[name];
    return fenced(open, made("mtable", { class: kind }, ...lines), close);
  }
}

/** @param {string} tag @param {...any} content attributes, which may be left out, and children */
function made(tag, ...content) {
  const node = document.createElementNS(MATHML, tag);
  const attributes = content[0]?.constructor === Object ? content.shift() : {};
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...content);
  return node;
}

function fenced(open, inner, close) {
  const [before, after] = [open, close].map((mark) => made("mo", { stretchy: "true" }, mark));
  return made("mrow", before, inner, after);
}

function upright(text) {
  return made("mi", { mathvariant: "normal" }, text);
}

function space(width) {
  return made("mspace", { width });
}
