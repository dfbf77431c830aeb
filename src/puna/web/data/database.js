/** Conversations and their messages in the browser's database (IndexedDB). Knows nothing of what is in them. */

const NAME = "puna";
const VERSION = 1;
const STORES = ["conversations", "messages", "requests"]; // requests: bodies of answers that are being written, by message

export class Database {
  /** @param {IDBDatabase} db */
  constructor(db) {
    this.db = db;
  }

  static async open() {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      const [, messages] = STORES.map((name) => request.result.createObjectStore(name, name === "requests" ? {} : { keyPath: "id" }));
      messages.createIndex("conversation", "conversation");
      messages.createIndex("state", "state");
    };
    const db = await settled(request);
    db.onversionchange = () => db.close(); // a newer page in another tab wants to change it
    return new Database(db);
  }

  /** A store, to be read. */
  read(name) {
    return this.db.transaction(name).objectStore(name);
  }

  /** Change all of it or nothing. @param {(conversations: IDBObjectStore, messages: IDBObjectStore, requests: IDBObjectStore) => void} change */
  async write(change) {
    const transaction = this.db.transaction(STORES, "readwrite");
    const [conversations, messages, requests] = STORES.map((name) => transaction.objectStore(name));
    change(conversations, messages, requests);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }

  /** The one changed last first. @returns {Promise<Conversation[]>} */
  async conversations() {
    const all = await settled(this.read("conversations").getAll());
    return all.sort((one, other) => other.updated - one.updated);
  }

  /** @param {string} conversation its id @returns {Promise<Message[]>} */
  messages(conversation) {
    return settled(this.read("messages").index("conversation").getAll(conversation));
  }

  /** Messages in that state, of every conversation. @param {string} state @returns {Promise<Message[]>} */
  inState(state) {
    return settled(this.read("messages").index("state").getAll(state));
  }

  /** What a message was asked for with. @param {string} message its id @returns {Promise<string | undefined>} */
  request(message) {
    return settled(this.read("requests").get(message));
  }

  /**
   * The request of a message that is no longer being written goes.
   * @param {Conversation[]} all @param {Message[]} written @param {Record<string, string>} [asked] requests by message
   */
  save(all, written, asked = {}) {
    return this.write((conversations, messages, requests) => {
      for (const each of all) conversations.put(each);
      for (const each of written) {
        messages.put(each);
        if (!each.ask) requests.delete(each.id);
      }
      for (const [id, body] of Object.entries(asked)) requests.put(body, id);
    });
  }

  /** With its messages. */
  async remove(id) {
    const ids = (await this.messages(id)).map((each) => each.id);
    await this.write((conversations, messages, requests) => {
      conversations.delete(id);
      for (const each of ids) {
        messages.delete(each);
        requests.delete(each);
      }
    });
  }

  /** Ids of the conversations in which all of the words are written. @param {string} text @returns {Promise<Set<string>>} */
  async search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const missing = new Map((await this.conversations()).map((each) => [each.id, without(words, each.title)]));
    const request = this.read("messages").openCursor();
    await new Promise((resolve, reject) => {
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return resolve(null);
        const { conversation, content } = cursor.value;
        missing.set(conversation, without(missing.get(conversation) ?? words, content));
        return cursor.continue();
      };
    });
    return new Set([...missing.keys()].filter((id) => !missing.get(id).length));
  }
}

/** The words that are not in a text. */
function without(words, text) {
  const lower = text.toLowerCase();
  return words.filter((word) => !lower.includes(word));
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
