/** What the planner says about a model that is not here yet: whether it fits this machine, how fast it will be. */

import { number, size, t } from "../text/language.js";
import { definitions } from "./controls.js";
import { element } from "./dom.js";

/** @param {any} plan as /api/plan gives it */
export function planElement({ file_bytes: bytes, plans: [here] }) {
  const { memory, room, speed, context } = here;
  const rows = definitions([
    [t("Download"), size(bytes)],
    [t("Memory"), t("{part} of {whole}", { part: size(memory.total), whole: size(room) })],
    [t("Writes"), speed?.decode && t("{n} tokens/s", { n: number(speed.decode, speed.decode < 20 ? 1 : 0) })],
    [t("Reads"), speed && t("{n} tokens/s", { n: number(speed.prefill) })],
    [t("Context"), t("{n} tokens", { n: number(context) })],
  ]);
  return [verdictElement(here), rows];
}

function verdictElement({ verdict, options: [option] }) {
  if (verdict === "fits") return element("p.fits", t("It fits this machine."));
  if (verdict !== "fits with" || !option) return element("p.fits-not", t("It does not fit this machine."));
  return element("p.fits", t("It fits this machine with {change}.", { change: changeOf(option) }));
}

function changeOf({ what, value }) {
  if (what === "kv_type") return t("a {type} KV cache", { type: value });
  return what === "context" ? t("a context of {n} tokens", { n: number(Number(value)) }) : t("{type} weights", { type: value });
}
