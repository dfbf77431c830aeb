/**
 * What a conversation is: messages that each know the one before, so that editing and regenerating make branches and lose
 * nothing. Plain values and pure functions; knows nothing of where they are kept or shown.
 */

const TITLE = 60; // characters

/** @returns {Settings} */
export function defaultSettings() {
  return { system: "", options: {}, think: "", history: "", tools: "", collection: "" };
}

/** @param {string} model @param {Settings} [settings] @returns {Conversation} */
export function newConversation(model, settings = defaultSettings()) {
  const now = Date.now();
  return { id: crypto.randomUUID(), title: "", created: now, updated: now, model, settings, leaf: null };
}

/** @param {Conversation} conversation @param {string | null} parent @param {Message["role"]} role @param {Partial<Message>} own @returns {Message} */
export function newMessage(conversation, parent, role, own) {
  return {
    id: crypto.randomUUID(),
    conversation: conversation.id,
    parent,
    role,
    content: "",
    thinking: "",
    calls: [],
    images: [],
    model: role === "assistant" ? conversation.model : "",
    tool: "",
    call: "",
    created: Date.now(),
    state: "done",
    error: "",
    ask: null,
    report: null,
    ...own,
  };
}

/** The first line of what was asked first. */
export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0];
  return line.length > TITLE ? `${line.slice(0, TITLE - 1).trimEnd()}…` : line;
}

/** All messages of one conversation, as a tree. */
export class Tree {
  /** @param {Message[]} messages */
  constructor(messages) {
    /** @type {Map<string | null, Message>} */
    this.messages = new Map(messages.sort((one, other) => one.created - other.created).map((each) => [each.id, each]));
  }

  /** @param {Message} message */
  add(message) {
    this.messages.set(message.id, message);
  }

  /** From the first to `leaf`. */
  path(leaf) {
    const path = [];
    const { messages } = this;
    for (let at = messages.get(leaf); at && path.length <= messages.size; at = messages.get(at.parent)) path.push(at);
    return path.reverse();
  }

  /** Those with the same message before them, the oldest first. */
  below(parent) {
    return [...this.messages.values()].filter((each) => each.parent === parent);
  }

  /** The end of the branch that goes on newest from there. */
  leafBelow(id) {
    let leaf = id;
    for (let next = id; next; next = this.below(leaf).at(-1)?.id ?? "") leaf = next;
    return leaf;
  }
}

/**
 * The body of /api/chat. Empty answers (stopped before their first word) are left out: models take them for an example.
 * @param {Conversation} conversation @param {Message[]} path @returns {string}
 */
export function requestBody({ model, settings }, path) {
  const { system, options, think, history, tools, collection } = settings;
  const messages = path.filter((each) => each.role !== "assistant" || each.content || each.calls.length).map(wire);
  if (system) messages.unshift({ role: "system", content: system });
  const body = { model, messages, options };
  if (think) Object.assign(body, { think: think === "on" ? true : think === "off" ? false : think });
  if (history !== "") Object.assign(body, { puna: { history } });
  const offered = tools ? JSON.parse(tools) : [];
  if (collection) offered.push({ type: "file_search", vector_store_ids: [collection] });
  if (offered.length) Object.assign(body, { tools: offered });
  return JSON.stringify(body);
}

/** As the API has it, without what is empty. @param {Message} message @returns {Record<string, any>} */
function wire({ role, content, thinking, images, calls, tool, call }) {
  const rest = { thinking, images, tool_calls: calls, tool_name: tool, tool_call_id: call };
  return { role, content, ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value.length)) };
}

/** Take a line of the answer into it. @param {Message} message @param {any} line */
export function extend(message, line) {
  const { message: piece, done, ...report } = line;
  message.content += piece?.content ?? "";
  message.thinking += piece?.thinking ?? "";
  message.calls.push(...(piece?.tool_calls ?? []));
  if (!done) return;
  message.report = { ...message.report, ...report };
  message.state = report.done_reason === "cancelled" ? "stopped" : "done";
  message.ask = null;
}
