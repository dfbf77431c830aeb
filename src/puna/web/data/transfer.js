/** Conversations as files: all of one or several as JSON, to be read again; the shown branch as Markdown, for people. */

import { defaultSettings, newConversation, newMessage, Tree } from "./conversations.js";

const FORMAT = "puna-conversations";
const VERSION = 1;
const ROLES = ["user", "assistant", "tool"];
const STATES = ["done", "failed"]; // what was stopped, or still written, is stopped

/** What is wrong with a file. */
export class WrongFile extends Error {}

/** @param {Whole[]} all */
export function toJson(all) {
  const conversations = all.map(({ conversation, messages }) => ({ ...conversation, messages }));
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1);
}

/** @param {Whole} whole */
export function toMarkdown({ conversation, messages }) {
  const path = new Tree(messages).path(conversation.leaf);
  const parts = path.map((each) => `## ${each.role}${each.role === "assistant" ? ` (${each.model})` : ""}\n\n${each.content}\n`);
  return [`# ${conversation.title}\n`, ...parts].join("\n");
}

/**
 * The conversations of a file, under new ids: reading one twice replaces nothing. Only what is known is taken.
 * @param {string} content @returns {Whole[]} throws WrongFile
 */
export function fromJson(content) {
  const file = parsed(content);
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) throw new WrongFile(`format: "${FORMAT}"`);
  if (file.version > VERSION) throw new WrongFile(`version: ${file.version}`);
  return file.conversations.map(readConversation);
}

function readConversation(from) {
  if (!Array.isArray(from?.messages)) throw new WrongFile("messages");
  const ids = new Map(from.messages.map((each) => [each?.id, crypto.randomUUID()]));
  const made = newConversation("");
  const conversation = { ...known(made, from), id: made.id, settings: readSettings(from.settings), leaf: ids.get(from.leaf) ?? null };
  return { conversation, messages: from.messages.map((each) => readMessage(conversation, each, ids)) };
}

function readMessage(conversation, from, ids) {
  if (!ROLES.includes(from?.role)) throw new WrongFile(`role: ${from?.role}`);
  const taken = known(newMessage(conversation, null, from.role, {}), from);
  return {
    ...taken,
    id: ids.get(from.id),
    conversation: conversation.id,
    parent: ids.get(from.parent) ?? null,
    calls: taken.calls.filter((call) => typeof call?.function?.name === "string"),
    images: taken.images.filter((image) => /^[A-Za-z0-9+/]+=*$/.test(image)),
    state: STATES.includes(from.state) ? from.state : "stopped",
    report: from.report && typeof from.report === "object" ? from.report : null,
  };
}

function readSettings(from) {
  const taken = known(defaultSettings(), from);
  const history = from?.history === "error" || Number.isFinite(from?.history) ? from.history : "";
  const tools = taken.tools && Array.isArray(parsed(taken.tools)) ? taken.tools : "";
  return { ...taken, history, tools };
}

/** What a file says of those fields, where it is of their kind. @template T @param {T} fields @returns {T} */
function known(fields, from) {
  const taken = Object.entries(fields).map(([name, value]) => [name, kind(from?.[name]) === kind(value) ? from[name] : value]);
  return Object.fromEntries(taken);
}

function kind(value) {
  return Array.isArray(value) ? "list" : value === null ? "null" : typeof value;
}

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch (error) {
    throw new WrongFile(String(error));
  }
}
