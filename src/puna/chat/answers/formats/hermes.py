"""Hermes 2 and 3, Qwen 2.5 and 3, Granite 4, SmolLM3, Falcon-H1, EXAONE 4, cria: each call in tags of its own.

Source: NousResearch's Hermes-Function-Calling, Qwen's function-calling guide:
`<tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call>`
"""

from puna.chat.answers.json_calls import JsonCalls

HERMES = JsonCalls("<tool_call>", "</tool_call>", before="\n", after="\n")
SYNTAXES = (HERMES,)
