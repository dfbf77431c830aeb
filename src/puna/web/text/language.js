/** The words of the page in the browser's language, and numbers, sizes and dates as it writes them. */

import { CHINESE } from "./words.js";

const STORED = "puna.language";

/** Which language was chosen; "": the browser's. It is the page's from the next load on. */
export const preferred = {
  get language() {
    return localStorage.getItem(STORED) ?? "";
  },
  set language(chosen) {
    localStorage.setItem(STORED, chosen);
  },
};

const first = preferred.language || navigator.languages.find((each) => /^(en|zh)\b/i.test(each)) || "en";
const isChinese = /^zh/i.test(first);
const locale = isChinese ? "zh-CN" : "en";
document.documentElement.lang = locale;

/**
 * An English text in the page's language, with values in place of `{name}`.
 * @param {string} english @param {Record<string, string | number>} [values]
 */
export function t(english, values = {}) {
  const text = isChinese ? (CHINESE[english] ?? english) : english;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** @param {number} value @param {number} [digits] after the point, at most */
export function number(value, digits = 0) {
  return value.toLocaleString(locale, { maximumFractionDigits: digits });
}

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(bytes || 1) / 10), 4);
  const value = bytes / 1024 ** power;
  return `${number(value, power && value < 10 ? 1 : 0)} ${units[power]}`;
}

export function duration(seconds) {
  if (seconds < 0.0995) return t("{n} ms", { n: number(seconds * 1000, seconds < 0.01 ? 1 : 0) });
  if (seconds < 60) return t("{n} s", { n: number(seconds, seconds < 10 ? 1 : 0) });
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? t("{n} min", { n: minutes }) : t("{n} h", { n: number(minutes / 60, 1) });
}

/** @param {number | string} time milliseconds since 1970, or as the API writes it */
export function moment(time) {
  return new Date(time).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
}

/** The heading under which something of that moment is listed. @param {number} time milliseconds since 1970 */
export function day(time) {
  const DAY = 86_400_000;
  const today = new Date().setHours(0, 0, 0, 0);
  if (time >= today) return t("Today");
  if (time >= today - DAY) return t("Yesterday");
  if (time >= today - 7 * DAY) return t("Previous 7 days");
  return new Date(time).toLocaleString(locale, { month: "long", year: "numeric" });
}

/** A model's name without the tag that goes without saying. */
export function shortName(model) {
  return model.replace(/:latest$/, "");
}
