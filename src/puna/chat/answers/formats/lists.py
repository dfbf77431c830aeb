"""A JSON list in tags: Apriel, Jamba, MiniMax M1, Nemotron Nano 2, Apertus, FireFunction v2; GigaChat and Nemotron Mini
without the list.

Source: their chat templates.
"""

from puna.chat.answers.json_calls import JsonCalls

APERTUS = JsonCalls("<|tools_prefix|>", "<|tools_suffix|>", name="", many=True)
NEMOTRON_MINI = JsonCalls("<toolcall>", "</toolcall>", before=" ", after=" ")
FIREFUNCTION = JsonCalls("functools", many=True)
SYNTAXES = (
    JsonCalls("<tool_calls>", "</tool_calls>", many=True),
    JsonCalls("<TOOLCALL>", "</TOOLCALL>", many=True),
    APERTUS,
    JsonCalls("<|function_call|>"),
    NEMOTRON_MINI,
    FIREFUNCTION,
)
