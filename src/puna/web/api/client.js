/**
 * The server's HTTP API: requests with the key, errors as one type, streams line by line. Knows nothing of the page: who
 * makes a client says where a key comes from.
 */

const STORED_KEY = "puna.key";

/** What the server refused, or could not do. */
export class ApiError extends Error {
  /** @param {string} message @param {number} [status] HTTP's; 0: it came in the midst of a stream */
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The server was not reached, or the connection to it broke. */
export class ConnectionLost extends Error {}

/** @typedef {{headers?: Record<string, string>, signal?: AbortSignal}} Options */

export class Client {
  /** @param {(wrong: boolean) => Promise<string>} askForKey `wrong`: there was one; "": there is none */
  constructor(askForKey) {
    this.askForKey = askForKey;
    /** @type {Promise<string> | null} asked for once, however many requests wait for it */
    this.asked = null;
  }

  get key() {
    return localStorage.getItem(STORED_KEY) ?? "";
  }

  set key(value) {
    localStorage.setItem(STORED_KEY, value);
  }

  /**
   * @param {string} method @param {string} path @param {unknown} [body] a text or a form goes as it is, else as JSON
   * @param {Options} [options]
   * @returns {Promise<Response>} one that succeeded; throws ApiError, ConnectionLost, and AbortError for its signal
   */
  async request(method, path, body, options = {}) {
    for (;;) {
      const key = this.key;
      const response = await send(method, path, key, body, options);
      if (response.ok) return response;
      if (response.status !== 401 || !(await this.otherKey(key))) throw await errorOf(response);
    }
  }

  /** @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<any>} */
  async json(method, path, body) {
    const text = await (await this.request(method, path, body)).text();
    return text ? JSON.parse(text) : null;
  }

  /**
   * The objects of a stream, one a line. One that ends within a line, or breaks, throws ConnectionLost.
   * @param {string} path @param {unknown} body @param {Options} options @returns {AsyncGenerator<any>}
   */
  async *lines(path, body, options) {
    const response = await this.request("POST", path, body, options);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((error) => {
          throw options.signal?.aborted ? error : new ConnectionLost();
        });
        if (done) break;
        const lines = (rest + value).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines.filter(Boolean).map((each) => JSON.parse(each))) {
          if (line.error) throw new ApiError(String(line.error));
          yield line;
        }
      }
    } finally {
      reader.cancel().catch(() => {}); // it has ended, or nobody wants the rest
    }
    if (rest) throw new ConnectionLost();
  }

  /** Whether there is another key than the one that was refused. */
  async otherKey(refused) {
    if (this.key !== refused) return true;
    this.asked ??= this.askForKey(Boolean(refused)).finally(() => (this.asked = null));
    const key = await this.asked;
    if (key) this.key = key;
    return Boolean(key);
  }
}

/** @param {string} method @param {string} path @param {string} key @param {any} body @param {Options} options */
async function send(method, path, key, body, { headers, signal }) {
  const all = new Headers(headers);
  if (key) all.set("Authorization", `Bearer ${key}`);
  if (body !== undefined && !(body instanceof FormData)) {
    all.set("Content-Type", "application/json");
    if (typeof body !== "string") body = JSON.stringify(body);
  }
  try {
    return await fetch(path, { method, headers: all, body, signal });
  } catch (error) {
    throw signal?.aborted ? error : new ConnectionLost();
  }
}

async function errorOf(response) {
  const text = await response.text();
  let message = text || response.statusText || `HTTP ${response.status}`;
  try {
    const { error } = JSON.parse(text);
    message = error?.message ?? error ?? message;
  } catch {
    // not JSON: the text is the message
  }
  return new ApiError(message, response.status);
}
