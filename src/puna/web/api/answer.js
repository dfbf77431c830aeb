/**
 * One answer of a model, followed until it ends, over as many connections as it takes. Each is a POST of the same body
 * under the same Idempotency-Key that leaves out the lines there are, so that nothing is generated twice: after a lost
 * connection, after a reload, and when a browser sends a POST again by itself.
 */

import { ApiError, ConnectionLost } from "./client.js";

const PATH = "/api/chat";
const PAUSES = [250, 500, 1000, 2000, 4000, 8000, 8000]; // milliseconds: in all less than the server waits for us

/**
 * @param {Client} client
 * @param {Ask} ask its `lines` counts on
 * @param {string} body of /api/chat, the same each time
 * @param {AbortSignal} signal
 * @param {(lost: boolean) => void} onConnection called when the connection is lost, and when it is back
 * @returns {AsyncGenerator<any>} the lines as objects, the last one with `done`
 */
export async function* follow(client, ask, body, signal, onConnection) {
  const headers = { "Idempotency-Key": ask.key };
  let lost = 0;
  for (;;) {
    try {
      for await (const line of client.lines(ask.lines ? `${PATH}?after=${ask.lines}` : PATH, body, { headers, signal })) {
        if (lost) onConnection(false);
        lost = 0;
        ask.lines += 1;
        yield line;
        if (line.done) return;
      }
      throw new ConnectionLost(); // it ended without its end
    } catch (error) {
      if (!(error instanceof ConnectionLost) || lost >= PAUSES.length) throw error;
      onConnection(true);
      await pause(PAUSES[lost++], signal);
    }
  }
}

/** End an answer on the server; who follows it gets its last line. @param {Client} client @param {string} key */
export async function end(client, key) {
  try {
    await client.request("DELETE", PATH, undefined, { headers: { "Idempotency-Key": key } });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error; // it has ended already
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
