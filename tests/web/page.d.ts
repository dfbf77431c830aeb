/**
 * The shapes of what the page's modules hand each other, for editors and `tsc` (`jsconfig.json`); no part of the page.
 */

type Client = import("../../src/puna/web/api/client.js").Client;
type Collections = import("../../src/puna/web/view/collections.js").Collections;
type Session = import("../../src/puna/web/session.js").Session;

interface Settings {
  /** The system prompt; "": the model's own. */
  system: string;
  /** Ollama's; what is not there is the model's own. */
  options: Record<string, any>;
  /** "": as the model likes. */
  think: "" | "on" | "off" | "low" | "medium" | "high";
  /** When it outgrows the context: "": the oldest rounds go; a number: so many stay. */
  history: "" | "error" | number;
  /** JSON, as `tools` of /api/chat; "": none. */
  tools: string;
  /** The id of the collection that questions are answered from; "": none. */
  collection: string;
}

interface Conversation {
  id: string;
  title: string;
  /** Milliseconds since 1970. */
  created: number;
  updated: number;
  model: string;
  settings: Settings;
  /** The last message of the branch that is shown. */
  leaf: string | null;
}

/** A message knows the one before it, so that editing and regenerating make branches and lose nothing. */
interface Message {
  id: string;
  conversation: string;
  parent: string | null;
  role: "user" | "assistant" | "tool";
  content: string;
  thinking: string;
  calls: ToolCall[];
  /** base64 */
  images: string[];
  /** That answered. */
  model: string;
  /** The name of the tool whose result it is, and the id of the call. */
  tool: string;
  call: string;
  created: number;
  state: "writing" | "done" | "stopped" | "failed";
  /** Why it failed. */
  error: string;
  /** How it was asked for, while it is being written. */
  ask: Ask | null;
  report: AnswerReport | null;
}

interface ToolCall {
  id?: string;
  function: { name: string; arguments: Record<string, unknown> };
}

/** `lines`: how many of the answer there are already. */
interface Ask {
  key: string;
  lines: number;
}

/** The last line of an answer, without its message. An imported one may hold anything. */
type AnswerReport = Record<string, any>;

/** A conversation with all of its messages. */
interface Whole {
  conversation: Conversation;
  messages: Message[];
}

/** An answer that is being written. */
interface Run {
  conversation: string;
  abort: AbortController;
  /** Whether the connection is, for now. */
  lost: boolean;
}

/** Of /api/tags. */
interface Model {
  name: string;
  size: number;
  details: Record<string, any>;
  capabilities?: string[];
  modified_at: string;
}

type Block =
  | { type: "paragraph"; text: string }
  | { type: "heading"; level: number; text: string }
  | { type: "code"; language: string; text: string }
  | { type: "math"; text: string }
  | { type: "quote"; blocks: Block[] }
  | { type: "list"; ordered: boolean; start: number; tight: boolean; items: Item[] }
  | { type: "table"; align: ("" | "left" | "center" | "right")[]; header: string[]; rows: string[][] }
  | { type: "rule" };

/** `checked`: null where it is no task. */
interface Item {
  checked: boolean | null;
  blocks: Block[];
}

type Inline =
  | string
  | { type: "code" | "math"; text: string }
  | { type: "break" }
  | { type: "strong" | "emphasis" | "strike"; children: Inline[] }
  | { type: "link" | "image"; href: string; children: Inline[] };
