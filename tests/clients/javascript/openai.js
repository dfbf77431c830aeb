// The npm package `openai` against the server whose URL is the first argument, with the model that knows tools which is
// the second; throws at the first thing that is wrong.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "unused", maxRetries: 0 });
const chat = { model: "cria", temperature: 0, messages: [{ role: "user", content: "hi" }] };
const add = {
  name: "add",
  description: "Add two numbers.",
  parameters: {
    type: "object",
    properties: { a: { type: "integer", maximum: 99 }, b: { type: "integer", maximum: 99 } },
    required: ["a", "b"],
    additionalProperties: false,
  },
};

const whole = await client.chat.completions.create(chat);
const text = whole.choices[0].message.content;
assert(text);

const stream = await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } });
let streamed = "";
let usage = null;
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(streamed, text);
assert.equal(usage.completion_tokens, whole.usage.completion_tokens);

const called = await client.chat.completions
  .stream({ ...chat, model: process.argv[3], tools: [{ type: "function", function: add }], tool_choice: "required" })
  .finalChatCompletion();
const [call] = called.choices[0].message.tool_calls;
assert.equal(call.function.name, "add");
assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)).sort(), ["a", "b"]);

const response = await client.responses.create({ model: "cria", input: "hi", temperature: 0 });
assert.equal(response.output_text, text);
const events = [];
for await (const event of client.responses.stream({ model: "cria", input: "hi", temperature: 0 })) {
  events.push(event.type);
}
assert.equal(events[0], "response.created");
assert.equal(events.at(-1), "response.completed");

const completion = await client.completions.create({ model: "cria", prompt: "How are", max_tokens: 5 });
assert(completion.choices[0].text);

const embedded = await client.embeddings.create({ model: "cria", input: ["hi", "hello"] }); // asks for base64
assert.equal(embedded.data.length, 2);
assert(Math.abs(Math.hypot(...embedded.data[0].embedding) - 1) < 1e-5);

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.ok(models.includes("cria:latest"));
await assert.rejects(client.models.retrieve("a/b"), OpenAI.NotFoundError);
