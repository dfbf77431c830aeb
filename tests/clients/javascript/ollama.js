// The npm package `ollama` against the server whose URL is the first argument, with the model that knows tools which is
// the second; throws at the first thing that is wrong.

import assert from "node:assert/strict";
import { Ollama } from "ollama";

const client = new Ollama({ host: process.argv[2] });
const chat = { model: "cria", options: { temperature: 0 }, messages: [{ role: "user", content: "hi" }] };

const whole = await client.chat(chat);
assert(whole.message.content);
assert(whole.eval_count > 0 && whole.total_duration > 0);

let streamed = "";
for await (const part of await client.chat({ ...chat, stream: true })) streamed += part.message.content;
assert.equal(streamed, whole.message.content);

const format = {
  type: "object",
  properties: { legs: { type: "integer", minimum: 2, maximum: 4 } },
  required: ["legs"],
  additionalProperties: false,
};
assert.equal(typeof JSON.parse((await client.chat({ ...chat, format })).message.content).legs, "number");

const add = { name: "add", description: "Add.", parameters: { type: "object", properties: { a: { type: "integer" } } } };
const told = await client.chat({
  ...chat,
  model: process.argv[3],
  options: { temperature: 0, num_predict: 30 },
  messages: [
    ...chat.messages,
    { role: "assistant", content: "", tool_calls: [{ function: { name: "add", arguments: { a: 1 } } }] },
    { role: "tool", content: "1", tool_name: "add" },
  ],
  tools: [{ type: "function", function: add }],
});
assert(told.done);

assert((await client.generate({ model: "cria", prompt: "hi", options: { temperature: 0 } })).response);
assert.equal((await client.embed({ model: "cria", input: ["a", "b"] })).embeddings.length, 2);
assert.equal((await client.embeddings({ model: "cria", prompt: "a" })).embedding.length, 256);
assert.ok((await client.list()).models.some((model) => model.name === "cria:latest"));
assert((await client.show({ model: "cria" })).model_info);
assert((await client.ps()).models.length > 0);
assert.match((await client.version()).version, /^\d+(\.\d+)*$/);
assert.equal((await client.pull({ model: "cria" })).status, "success");
await assert.rejects(client.chat({ ...chat, model: "nope" }), /model 'nope' not found/);
assert.equal((await client.copy({ source: "cria", destination: "mine" })).status, "success");
assert.equal((await client.delete({ model: "mine" })).status, "success");
await assert.rejects(client.copy({ source: "nope", destination: "mine" }), /not found/);
