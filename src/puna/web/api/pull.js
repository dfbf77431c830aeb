/**
 * Bring a model to the server. Ending it keeps what there is: pulling it again goes on from there.
 * @param {Client} client @param {string} model @param {AbortSignal} signal
 * @returns {AsyncGenerator<{status: string, completed: number, total: number}>} in bytes; total 0: not known yet
 */
export async function* pull(client, model, signal) {
  const files = new Map(); // by digest
  for await (const line of client.lines("/api/pull", { model }, { signal })) {
    if (line.digest) files.set(line.digest, line);
    const sum = (field) => files.values().reduce((all, file) => all + (file[field] ?? 0), 0);
    yield { status: line.status, completed: sum("completed"), total: sum("total") };
  }
}
