"""Granite 3 and Phi 4 mini: a mark, then a JSON list of calls. Source: their chat templates."""

from puna.chat.answers.json_calls import JsonCalls

GRANITE = JsonCalls("<|tool_call|>", "<|/tool_call|>", many=True)
SYNTAXES = (GRANITE,)
