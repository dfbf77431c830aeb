"""cria under another chat template: it is told of tools, and thinks, as far as its answers are held to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from puna.gguf import GGUFWriter, ValueType
from puna.gguf.reader import open_gguf
from puna.store import Store

# A tool whose arguments a grammar leaves little choice of; one of them breaks lines that are not escaped.
ADD = {
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer", "maximum": 9}, "b": {"enum": ["\u2028", "x"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": ADD}]

# Tools and calls as Hermes and Qwen write them.
CALLER = """
{%- if tools %}<|im_start|>system
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
For each call write <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ 'user' if message.role == 'tool' else message.role }}
{% if message.role == 'tool' %}<tool_response>
{{ message.content }}
</tool_response>{% else %}{{ message.content or '' }}{% endif %}
{%- for call in message.tool_calls or [] %}
<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}
"""

# The same with a thought that the prompt opens, as in QwQ, unless it is switched off.
THINKER = (
    CALLER
    + """
{%- if add_generation_prompt %}<think>
{% if enable_thinking is defined and enable_thinking is false %}
</think>

{% endif %}{% endif -%}
"""
)


@contextmanager
def served_variant(http: httpx.Client, path: Path, template: str) -> Iterator[str]:
    """The name under which a server on this machine has it, until it is unloaded again."""
    name = str(cria_with_template(path, template))
    yield name
    http.post("/api/generate", json={"model": name, "keep_alive": 0}).raise_for_status()


def cria_with_template(path: Path, template: str) -> Path:
    """Write it to `path`, which can be used as a model's name."""
    with open_gguf(Store().resolve("cria").path) as cria:
        writer = GGUFWriter()
        for key, value in {**cria.metadata, "tokenizer.chat_template": template}.items():
            kind = cria.value_types[key]
            writer.add(key, value, None if kind is ValueType.ARRAY else kind)
        for tensor in cria.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        writer.write(path)
    return path
