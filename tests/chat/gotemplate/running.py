"""Executes a template with any data, as the oracle does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from puna.chat.gotemplate.budget import Budget
from puna.chat.gotemplate.data import messages_value, tools_value
from puna.chat.gotemplate.evaluator import execute
from puna.chat.gotemplate.functions import functions
from puna.chat.gotemplate.parser import parse
from puna.chat.gotemplate.text import shown
from puna.chat.gotemplate.values import ANY_MAP, Map, of_json, weight
from puna.errors import TemplateError

FUNCTIONS = functions(lambda: datetime(2026, 7, 4))


def run(template: str, data: object = None) -> str:
    """What the template writes of JSON data, or of values. Raises TemplateError."""
    value = data if isinstance(data, Map) else of_json({} if data is None else data)
    return shown(execute(parse(template, FUNCTIONS), FUNCTIONS, value, Budget(weight(value))))


def outcome(case: Mapping[str, Any]) -> str | None:
    """What a generated case writes; None for an error."""
    data = case.get("data")
    if data is None:
        data = Map(
            ANY_MAP,
            {
                "Messages": messages_value(case["messages"]),
                "Tools": tools_value(case["tools"]),
                "System": "sys",
                "Response": "",
                "Think": True,
                "ThinkLevel": "high",
                "IsThinkSet": True,
            },
        )
    try:
        return run(case["template"], data)
    except TemplateError:
        return None
