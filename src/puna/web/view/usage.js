/** What an answer cost, how fast it came, what of the history it saw and what the cache gave: a line, and all of it on asking. */

import { duration, number, t } from "../text/language.js";
import { definitions } from "./controls.js";
import { element } from "./dom.js";
import { icon } from "./icons.js";

const NANO = 1e9;

/** @param {AnswerReport} report */
export function usageElement(report) {
  const { answer, prompt, cached, disk, computed, context } = countsOf(report);
  if (!answer && !prompt) return null;
  const { cache, eval_duration: answering, prompt_eval_duration: reading, total_duration: total } = report;
  const summary = [
    tokens(answer),
    answer > 0 && t("{n} tokens/s", { n: speedOf(answer, answering) }),
    cached > 0 && t("{n} % cached", { n: Math.round((100 * cached) / Math.max(1, prompt)) }),
  ];
  const rows = definitions([
    [t("Answer"), answer > 0 && timed(answer, answering)],
    [t("Prompt"), tokens(prompt)],
    [t("From the cache"), cached > 0 && t("{n} tokens, {disk} of them from disk", { n: number(cached), disk: number(disk) })],
    [t("Computed"), computed > 0 && timed(computed, reading)],
    [t("Cache"), String(cache?.reason ?? "")],
    [t("First piece after"), count(report.first_seconds) > 0 && duration(report.first_seconds)],
    [t("Loading the model"), count(report.load_duration) > NANO / 100 && seconds(report.load_duration)],
    [t("Whole request"), seconds(total)],
    [t("Context"), context.limit > 0 && t("{n} of {limit} tokens", { n: number(context.used), limit: number(context.limit) })],
    [t("Ended by"), String(report.done_reason ?? "")],
  ]);
  return element("details.usage", element("summary", { title: t("Usage and speed") }, summary.filter(Boolean).join(" · ")), rows);
}

/** What the reader must know about an answer, above it. @param {AnswerReport} report */
export function notesOf(report) {
  const dropped = count(report.context?.dropped_messages);
  const lost = { n: number(dropped), tokens: number(count(report.context?.dropped_tokens)), limit: number(contextUse(report).limit) };
  const notes = [
    dropped > 0 && t("Earlier messages left out: {n} ({tokens} tokens). They did not fit into the context of {limit} tokens.", lost),
    report.done_reason === "length" && t("The answer ended at its limit of tokens."),
    report.thought_cut && t("The thought was ended at its limit."),
    ...[report.warnings, report.cache?.warnings].flatMap((each) => (Array.isArray(each) ? each.map(String) : [])),
  ];
  return notes.filter(Boolean).map((text) => element("p.note", icon("warning"), element("span", text)));
}

/** How much of the context is used; a limit of 0: not known. @param {AnswerReport | null} [report] */
export function contextUse(report) {
  return { used: count(report?.context?.prompt_tokens) + count(report?.eval_count), limit: count(report?.context?.limit) };
}

function countsOf(report) {
  const [answer, prompt] = [count(report.eval_count), count(report.prompt_eval_count)];
  const cached = count(report.cache?.cached_tokens);
  return { answer, prompt, cached, disk: count(report.cache?.disk_tokens), computed: prompt - cached, context: contextUse(report) };
}

function tokens(n) {
  return t("{n} tokens", { n: number(n) });
}

function timed(n, nanoseconds) {
  const values = { n: number(n), time: seconds(nanoseconds), speed: speedOf(n, nanoseconds) };
  return t("{n} tokens in {time}, {speed} tokens/s", values);
}

function speedOf(n, nanoseconds) {
  const speed = (n * NANO) / Math.max(1, count(nanoseconds));
  return number(speed, speed < 20 ? 1 : 0);
}

function seconds(nanoseconds) {
  return duration(count(nanoseconds) / NANO);
}

/** An imported report may hold anything. */
function count(value) {
  return Number.isFinite(value) ? value : 0;
}
