"""Cohere's Command models.

Source: Cohere's prompt formats and chat templates. Command R: "Action:" and a JSON list in a code block; since
Command R7B: `<|START_ACTION|>[{"tool_call_id": "0", "tool_name": ..., "parameters": {...}}]<|END_ACTION|>`. A Command R
that needs no tool "calls" `directly-answer`, which is on nobody's offer, and so is text.
"""

from puna.chat.answers.json_calls import JsonCalls

ACTION_MARKS = JsonCalls(
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    name="tool_name",
    arguments="parameters",
    number="tool_call_id",
    many=True,
    before="\n    ",
    after="\n",
)
ACTION_BLOCK = JsonCalls(
    "Action: ```json\n",
    "```",
    opened_by=("Action: ```json", "Action:\n```json"),
    name="tool_name",
    arguments="parameters",
    many=True,
    before="\n    ",
    after="\n",
)
SYNTAXES = (ACTION_MARKS, ACTION_BLOCK)
