"""Mistral's models, in two forms.

Source: mistral-common's tokenizers. Up to v7: `[TOOL_CALLS][{"name": ..., "arguments": {...}}]`; from v11 on
`[TOOL_CALLS]name[ARGS]{...}` for each call (v11 with `[CALL_ID]` and an id before `[ARGS]`). Ids have nine characters.
"""

from puna.chat.answers.json_calls import JsonCalls
from puna.chat.answers.named_calls import NamedCalls
from puna.chat.answers.toolbox import nine_characters

LIST = JsonCalls("[TOOL_CALLS]", many=True, make_id=nine_characters)
NAMED = NamedCalls(
    "[TOOL_CALLS]",
    "[ARGS]",
    skipped="[CALL_ID]",
    make_id=nine_characters,
    marks=frozenset({"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"}),
)
SYNTAXES = (NAMED, LIST)
