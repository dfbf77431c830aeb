/**
 * What the page does: the conversation that is open, answers that are being written (in any conversation), and what changes
 * them. Tells the views by events; knows nothing of how they look.
 *
 *     list     the conversations changed        thread   the open conversation, or its shown branch
 *     message  one message (`detail`)           run      an answer began or ended
 *     model    the model of the open conversation, or what there is to choose from
 */

import { end, follow } from "./api/answer.js";
import { ConnectionLost } from "./api/client.js";
import { extend, newConversation, newMessage, requestBody, titleOf, Tree } from "./data/conversations.js";
import { Database } from "./data/database.js";
import { shortName, t } from "./text/language.js";

const STORED_MODEL = "puna.model";
const SAVE_MS = 300; // between two savings of an answer that grows
const LAST_LINE_MS = 2000; // that a stopped answer has for its last line
const TOO_OLD_MS = 15 * 60_000; // the server keeps no answer so long

export class Session extends EventTarget {
  /** @param {Client} client */
  constructor(client) {
    super();
    this.client = client;
    /** @type {Database} there once it has started */
    this.database = null;
    /** @type {Conversation[]} */
    this.conversations = [];
    /** @type {Model[]} */
    this.models = [];
    /** @type {Map<string, Promise<any>>} what /api/show says */
    this.shown = new Map();
    /** @type {Map<string | null, Run>} by the message that is being written */
    this.runs = new Map();
    /** @type {Map<string | null, Message>} the objects that grow, not their copies in the database */
    this.growing = new Map();
    this.current = newConversation(localStorage.getItem(STORED_MODEL) ?? "");
    this.tree = new Tree([]);
  }

  /** What was kept, and the answers that were being written when the page went away. */
  async start() {
    this.database = await Database.open();
    this.conversations = await this.database.conversations();
    this.tell("list");
    for (const message of await this.database.inState("writing")) this.takeUp(message);
  }

  /** @param {string} type @param {Message} [detail] */
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Call it whenever one of these happens. @param {string} types separated by blanks @param {(event: any) => unknown} listener */
  on(types, listener) {
    for (const type of types.split(" ")) this.addEventListener(type, listener);
  }

  // Models

  async loadModels() {
    this.models = (await this.client.json("GET", "/api/tags")).models;
    this.shown.clear();
    const names = this.chatModels;
    if (!this.isKept && !names.includes(shortName(this.current.model))) this.current.model = names[0] ?? "";
    this.tell("model");
  }

  /** The names of those that answer; others make vectors only. */
  get chatModels() {
    const answering = this.models.filter((model) => model.capabilities?.includes("completion") ?? true);
    return answering.map((model) => shortName(model.name));
  }

  /** What /api/show says of the open conversation's model; null: nothing, and whoever asks it something sees why. */
  async describe() {
    const { model } = this.current;
    if (!model) return null;
    if (!this.shown.has(model)) this.shown.set(model, this.client.json("POST", "/api/show", { model }));
    return this.shown.get(model)?.catch(() => this.shown.delete(model) && null);
  }

  async chooseModel(name) {
    this.current.model = name;
    localStorage.setItem(STORED_MODEL, name);
    this.tell("model");
    await this.keep();
  }

  // Conversations

  /** Whether the open conversation is among those that are kept: a new one is from its first message on. */
  get isKept() {
    return this.conversations.includes(this.current);
  }

  get path() {
    return this.tree.path(this.current.leaf);
  }

  /** @param {string | null} id null: a new one */
  async open(id) {
    const found = this.conversations.find((each) => each.id === id);
    const messages = found ? await this.database.messages(found.id) : [];
    this.current = found ?? newConversation(localStorage.getItem(STORED_MODEL) || this.current.model);
    this.tree = new Tree(messages.map((each) => this.growing.get(each.id) ?? each));
    for (const changed of ["list", "thread", "model"]) this.tell(changed);
  }

  /** @param {Conversation} conversation @param {string} title */
  async rename(conversation, title) {
    conversation.title = title;
    await this.database.save([conversation], []);
    this.tell("list");
  }

  async remove(id) {
    const running = [...this.runs].filter(([, run]) => run.conversation === id);
    await Promise.all(running.map(([message]) => this.stop(message)));
    await this.database.remove(id);
    this.conversations = this.conversations.filter((each) => each.id !== id);
    if (this.current.id === id) await this.open(null);
    else this.tell("list");
  }

  /** Keep them, and open the first. @param {Whole[]} all */
  async take(all) {
    await this.database.save(all.map((each) => each.conversation), all.flatMap((each) => each.messages));
    this.conversations = await this.database.conversations();
    await this.open(all.at(0)?.conversation.id ?? null);
  }

  /** @param {Conversation[]} conversations @returns {Promise<Whole[]>} */
  withMessages(conversations) {
    return Promise.all(
      conversations.map(async (conversation) => ({ conversation, messages: await this.database.messages(conversation.id) })),
    );
  }

  /** Save the open conversation, where it is one that is kept. */
  async keep() {
    if (this.isKept) await this.database.save([this.current], []);
  }

  // Messages

  async send(content, images, parent = this.current.leaf) {
    await this.ask([newMessage(this.current, parent, "user", { content, images })]);
  }

  /** @param {Message} message that calls tools @param {string[]} results of its calls, in their order */
  async answerTools(message, results) {
    /** @type {Message[]} */
    const told = [];
    for (const [at, content] of results.entries()) {
      const call = message.calls[at];
      const own = { content, tool: call.function.name, call: call.id ?? "" };
      told.push(newMessage(this.current, told.at(-1)?.id ?? message.id, "tool", own));
    }
    await this.ask(told);
  }

  /** Add messages, and have the model answer the last of them. @param {Message[]} messages @param {string | null} [parent] */
  async ask(messages, parent = messages.at(-1)?.id ?? null) {
    const { current, tree } = this;
    for (const each of messages) tree.add(each);
    const body = requestBody(current, tree.path(parent)); // raises before anything is kept
    const answer = newMessage(current, parent, "assistant", { state: "writing", ask: { key: crypto.randomUUID(), lines: 0 } });
    tree.add(answer);
    current.leaf = answer.id;
    current.title ||= titleOf(messages.find((each) => each.role === "user")?.content ?? "") || t("New chat");
    current.updated = Date.now();
    this.conversations = [current, ...this.conversations.filter((each) => each !== current)];
    await this.database.save([current], [...messages, answer], { [answer.id]: body }); // before it is asked for: a reload takes it up
    const running = this.run(answer, body);
    this.tell("list");
    this.tell("thread");
    await running;
  }

  /** Show the branch of that message. @param {Message} message */
  async select(message) {
    this.current.leaf = this.tree.leafBelow(message.id);
    await this.keep();
    this.tell("thread");
  }

  // Answers

  /** Whether the open conversation's shown answer is being written. */
  get busy() {
    return this.runs.has(this.current.leaf);
  }

  /** @param {Message} message being written when it was last saved */
  async takeUp(message) {
    this.growing.set(message.id, message); // whoever opens its conversation meanwhile sees this one
    const body = await this.database.request(message.id);
    if (body && message.ask && Date.now() - message.created < TOO_OLD_MS) return this.run(message, body);
    return this.finish(message, { state: "failed", error: t("The answer was cut off, and cannot be taken up any more.") });
  }

  /** Follow an answer to its end, whatever that is. @param {Message} message @param {string} body */
  async run(message, body) {
    const { ask } = message;
    if (!ask) return;
    const run = { conversation: message.conversation, abort: new AbortController(), lost: false };
    this.runs.set(message.id, run);
    this.growing.set(message.id, message);
    this.tell("run");
    const [began, fresh] = [performance.now(), ask.lines === 0];
    const saving = setInterval(() => this.database.save([], [message]), SAVE_MS);
    const onConnection = (lost) => {
      run.lost = lost;
      this.tell("message", message);
    };
    let ended = {};
    try {
      for await (const line of follow(this.client, ask, body, run.abort.signal, onConnection)) {
        if (fresh && !message.report) message.report = { first_seconds: (performance.now() - began) / 1000 };
        extend(message, line);
        this.tell("message", message);
      }
    } catch (error) {
      ended = run.abort.signal.aborted ? { state: "stopped" } : { state: "failed", error: reasonOf(error) };
    }
    clearInterval(saving);
    await this.finish(message, ended);
  }

  /** @param {Message} message @param {Partial<Message>} ended how */
  async finish(message, ended) {
    Object.assign(message, ended, { ask: null });
    this.runs.delete(message.id);
    this.growing.delete(message.id);
    await this.database.save([], [message]);
    this.tell("message", message);
    this.tell("run");
  }

  /** End an answer; what there is of it stays. */
  async stop(id = this.current.leaf) {
    const [run, message] = [this.runs.get(id), this.growing.get(id)];
    if (!run || !message?.ask) return;
    setTimeout(() => run.abort.abort(), LAST_LINE_MS);
    await end(this.client, message.ask.key).catch(() => run.abort.abort()); // not reached: at least it is not followed
  }
}

/** What went wrong, in words. */
export function reasonOf(error) {
  if (error instanceof ConnectionLost) return t("No connection to the server.");
  return error instanceof Error ? error.message : String(error);
}
