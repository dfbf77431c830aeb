"""What an answer is held to, in every spelling that OpenAI's, llama.cpp's and vLLM's users send."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from puna.errors import InvalidRequest
from puna.runtime import Grammar
from puna.runtime.parameters import parse_format
from puna.server.body import Body


class StructuredOutputs(Body):
    """vLLM's way to hold an answer to something; one of its fields."""

    json_schema: str | dict[str, Any] | None = Field(
        default=None, alias="json", description="A JSON schema, or its text."
    )
    regex: str | None = Field(default=None, description="A regular expression.")
    choice: list[str] | None = Field(default=None, description="Texts, one of which is the answer.")
    grammar: str | None = Field(default=None, description="A GBNF grammar.")
    json_object: bool | None = Field(default=None, description="Any JSON object.")


class ConstrainedBody(Body):
    """The additions to OpenAI's fields that hold an answer to something. One at most, `response_format` included."""

    grammar: str | None = Field(
        default=None, description="A GBNF grammar that the answer keeps to, as llama.cpp takes it."
    )
    json_schema: dict[str, Any] | None = Field(
        default=None, description="A JSON schema for the answer, as llama.cpp takes it."
    )
    guided_json: str | dict[str, Any] | None = Field(
        default=None, description="A JSON schema, or its text (vLLM's old name)."
    )
    guided_regex: str | None = Field(default=None, description="A regular expression for the answer (vLLM's old name).")
    guided_choice: list[str] | None = Field(default=None, description="The possible answers (vLLM's old name).")
    guided_grammar: str | None = Field(default=None, description="A GBNF grammar for the answer (vLLM's old name).")
    structured_outputs: StructuredOutputs | None = Field(default=None, description="The same in vLLM's new spelling.")

    def constraint(self, response_format: Mapping[str, Any] | None) -> Grammar | None:
        """What the answer is held to. Raises InvalidRequest where two fields say something."""
        outputs = self.structured_outputs or StructuredOutputs()
        asked = {
            "response_format": _format(response_format or {}),
            "grammar": _gbnf(self.grammar),
            "json_schema": parse_format(self.json_schema),
            "guided_json": _schema(self.guided_json),
            "guided_regex": _regex(self.guided_regex),
            "guided_choice": _choice(self.guided_choice),
            "guided_grammar": _gbnf(self.guided_grammar),
            "structured_outputs.json": _schema(outputs.json_schema),
            "structured_outputs.regex": _regex(outputs.regex),
            "structured_outputs.choice": _choice(outputs.choice),
            "structured_outputs.grammar": _gbnf(outputs.grammar),
            "structured_outputs.json_object": parse_format("json") if outputs.json_object else None,
        }
        found = {name: grammar for name, grammar in asked.items() if grammar is not None}
        if len(found) > 1:
            raise InvalidRequest(f"the answer can be held to one thing only, not to all of {', '.join(found)}")
        return next(iter(found.values()), None)


def _format(response_format: Mapping[str, Any]) -> Grammar | None:
    """OpenAI's `response_format`; `schema` beside json_object is llama.cpp's, type `grammar` is Fireworks'."""
    kind = response_format.get("type", "text")
    match kind:
        case "text":
            return None
        case "json_object":
            schema = response_format.get("schema")
            return _schema(schema) if schema else parse_format("json")
        case "json_schema":
            # In /v1/responses the schema is one level up.
            described = response_format.get("json_schema", response_format)
            schema = described.get("schema") if isinstance(described, dict) else None
            if not isinstance(schema, dict):
                raise InvalidRequest("response_format: json_schema.schema must be a JSON schema object")
            return parse_format(schema)
        case "grammar" if isinstance(response_format.get("grammar"), str):
            return _gbnf(response_format["grammar"])
    raise InvalidRequest(f"response_format: type {kind!r} is not text, json_object, json_schema or grammar")


def _schema(schema: object) -> Grammar | None:
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError):
            schema = None
        if schema is None:
            raise InvalidRequest("the JSON schema is not valid JSON")
    return parse_format(schema)


def _regex(source: str | None) -> Grammar | None:
    return None if source is None else Grammar("regex", source)


def _gbnf(source: str | None) -> Grammar | None:
    return None if source is None else Grammar("gbnf", source)


def _choice(texts: list[str] | None) -> Grammar | None:
    if texts is None:
        return None
    if not texts:
        raise InvalidRequest("a choice must have at least one text")
    return Grammar("regex", "|".join(map(re.escape, texts)))
