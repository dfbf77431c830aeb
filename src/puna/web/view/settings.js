/** The system prompt and the parameters of the open conversation; what is left empty is the model's own. */

import { t } from "../text/language.js";
import { choice, field } from "./controls.js";
import { openDialog } from "./dialogs.js";
import { element } from "./dom.js";

/** @type {any[][]} name, word, least, step, most */
const NUMBERS = [
  ["temperature", "Temperature", 0, 0.05, 2],
  ["top_p", "Top P", 0, 0.01, 1],
  ["top_k", "Top K", 0, 1],
  ["min_p", "Min P", 0, 0.01, 1],
  ["repeat_penalty", "Repeat penalty", 0, 0.01],
  ["num_predict", "Longest answer (tokens)", -1, 1],
  ["num_ctx", "Context (tokens)", 1, 1],
  ["seed", "Seed", 0, 1],
];

/** @param {Session} session */
export async function openSettings(session) {
  const { settings } = session.current;
  const described = await session.describe();
  const own = parametersOf(described?.parameters ?? "");
  const oninput = (event) => (settings.system = event.target.value);
  const system = element("textarea", { rows: "4", value: settings.system, placeholder: described?.system || t("the model's own"), oninput });
  const numbers = NUMBERS.map((each) => numberField(settings.options, own, each));
  const content = [
    field(t("System prompt"), system),
    element("div.grid", numbers, thinkField(settings), historyField(settings)),
    stopField(settings.options),
    toolsField(settings),
  ];
  await openDialog(t("Settings of this conversation"), content, "side").closed;
  await session.keep();
  session.tell("model");
}

function numberField(options, own, known) {
  const [name, word, min, step, max] = known;
  const onchange = ({ target }) => {
    if (target.value !== "" && target.reportValidity()) options[name] = Number(target.value);
    else delete options[name];
  };
  const placeholder = own[name] ?? t("the model's own");
  return field(t(word), element("input", { type: "number", inputmode: "decimal", min, max, step, name, value: options[name] ?? "", placeholder, onchange }));
}

function thinkField(settings) {
  const choices = { "": t("As the model likes"), on: t("Yes"), off: t("No"), low: t("A little"), medium: t("Some"), high: t("A lot") };
  return choice(t("Think first"), Object.entries(choices), settings.think, (chosen) => (settings.think = chosen));
}

function historyField(settings) {
  const rounds = [1, 2, 5, 10, 20].map((n) => [String(n), t("Keep {n} rounds", { n })]);
  const choices = [["", t("Drop the oldest rounds")], ...rounds, ["error", t("Refuse the question")]];
  return choice(t("When the context is full"), choices, String(settings.history), (chosen) => {
    settings.history = Number(chosen) || chosen;
  });
}

function stopField(options) {
  const onchange = ({ target }) => {
    const given = target.value.split("|").map((each) => each.trim()).filter(Boolean);
    if (given.length) options.stop = given;
    else delete options.stop;
  };
  const value = [options.stop ?? []].flat().join(" | ");
  return field(t("Stop strings"), element("input", { value, placeholder: "### | END", spellcheck: "false", onchange }), t("several are separated by a bar"));
}

function toolsField(settings) {
  const oninput = () => {
    const text = area.value.trim();
    const wrong = text && !isList(text);
    area.setCustomValidity(wrong ? t("This is not a JSON list.") : "");
    if (!wrong) settings.tools = text;
  };
  const placeholder = '[{"type": "function", "function": {"name": "…", "description": "…", "parameters": {…}}}]';
  const area = element("textarea.mono", { rows: "5", value: settings.tools, spellcheck: "false", placeholder, oninput, onchange: () => area.reportValidity() });
  return field(t("Tools"), area, t("What the model may call, as in the API. Calls are shown; you give their results."));
}

function isList(text) {
  try {
    return Array.isArray(JSON.parse(text));
  } catch {
    return false;
  }
}

/** The model's own parameters, as /api/show writes them. @param {string} lines @returns {Record<string, string>} */
function parametersOf(lines) {
  return Object.fromEntries(lines.split("\n").map((line) => line.trim().split(/\s+/)).filter((pair) => pair.length === 2));
}
