"""Tools and the choice among them, as /v1/chat/completions and /v1/responses write them, to the runtime's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from puna.chat import AUTO, Tool, ToolChoice
from puna.errors import InvalidRequest
from puna.server.body import Body
from puna.server.file_search import FILE_SEARCH, FileSearchFields, ToolFields


class FunctionBody(Body):
    """A function that the model may call."""

    name: str = Field(description="What the model calls it.")
    description: str = Field(default="", description="What it does, for the model to read.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="The JSON schema of its arguments.")
    strict: bool = Field(
        default=False, description="Hold the arguments to the schema; calls that are forced always are."
    )

    def tool(self) -> Tool:
        """As the runtime takes it."""
        if not self.name:
            raise InvalidRequest("tools: a function needs a name")
        return Tool(self.name, self.description, self.parameters, self.strict)


class ToolBody(ToolFields):
    """A tool of /v1/chat/completions."""

    function: FunctionBody | None = Field(default=None, description="The function.")


class FlatToolBody(FunctionBody, ToolFields):
    """A tool of /v1/responses: the function's fields stand beside its type."""

    type: str = Field(
        default="function", description="`function`, `file_search`, or `namespace`: functions under one name."
    )
    name: str = Field(default="", description="What the model calls it.")
    tools: list[FlatToolBody] = Field(default_factory=list, description="Of a namespace: its functions.")

    def functions(self) -> list[Tool]:
        """As the runtime takes it; those of a namespace under their joined names."""
        if self.type == "namespace":
            inner = [each.tool() for each in self.tools if each.type == "function"]
            return [replace(tool, name=joined_name(self.name, tool.name)) for tool in inner]
        return [self.tool()] if self.type == "function" else []

    def kinds(self) -> list[str]:
        """What it is made of."""
        return [each.type for each in self.tools] if self.type == "namespace" else [self.type]

    def unknown(self) -> tuple[str, ...]:
        """A tool that is not a function is ignored whole."""
        return super().unknown() if self.type in ("function", "namespace", FILE_SEARCH) else ()


def dumped(tool: FlatToolBody) -> dict[str, Any]:
    """A tool as a reply repeats it: only what its type has."""
    search_fields = set(FileSearchFields.model_fields)
    if tool.type == FILE_SEARCH:
        return tool.model_dump(include=search_fields | {"type"})
    return tool.model_dump(exclude=search_fields if tool.tools else {"tools", *search_fields})


def joined_name(namespace: str | None, name: str) -> str:
    """What the model calls a function of a namespace."""
    return f"{namespace}__{name}" if namespace else name


def namespaces(tools: Sequence[FlatToolBody]) -> dict[str, tuple[str, str]]:
    """Namespace and name of those functions that have one, by their joined names."""
    return {
        joined_name(tool.name, each.name): (tool.name, each.name)
        for tool in tools
        if tool.type == "namespace"
        for each in tool.tools
    }


@dataclass(frozen=True, slots=True)
class Tools:
    """What a request says about tools."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = AUTO
    warnings: tuple[str, ...] = ()


def chat_tools(tools: Sequence[ToolBody], choice: str | Mapping[str, Any]) -> Tools:
    """Those of /v1/chat/completions. Raises InvalidRequest."""
    for tool in tools:
        if tool.type == "function" and tool.function is None:
            raise InvalidRequest("tools: a tool of type 'function' needs its function")
    functions = tuple(tool.function.tool() for tool in tools if tool.function and tool.type == "function")
    return _chosen(functions, choice, [tool.type for tool in tools])


def flat_tools(tools: Sequence[FlatToolBody], choice: str | Mapping[str, Any]) -> Tools:
    """Those of /v1/responses. Raises InvalidRequest."""
    functions = tuple(function for tool in tools for function in tool.functions())
    return _chosen(functions, choice, [kind for tool in tools for kind in tool.kinds()])


def _chosen(tools: tuple[Tool, ...], choice: str | Mapping[str, Any], kinds: Sequence[str]) -> Tools:
    warnings = tuple(
        f"tools of type {kind!r} are not supported: the model was not told of them"
        for kind in dict.fromkeys(kinds)
        if kind not in ("function", FILE_SEARCH)
    )
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        # In /v1/chat/completions what is allowed stands one level lower.
        allowed = choice.get("allowed_tools", choice)
        if not isinstance(allowed, Mapping):
            raise InvalidRequest("tool_choice: allowed_tools must be an object")
        names = _allowed_names(allowed)
        known = tuple(tool for tool in tools if tool.name in names)
        for name in names:
            _check_known(name, tools)
        return Tools(known, _choice(str(allowed.get("mode", "auto")), known), warnings)
    return Tools(tools, _choice(choice, tools), warnings)


def _choice(choice: str | Mapping[str, Any], tools: Sequence[Tool]) -> ToolChoice:
    match choice:
        case "auto":
            return AUTO
        case "none":
            return ToolChoice("none")
        case "required" | "any":
            if not tools:
                raise InvalidRequest("tool_choice: a call is required, but there are no tools to call")
            return ToolChoice("required")
        case Mapping() if name := _name(choice):
            _check_known(name, tools)
            return ToolChoice("required", name)
    raise InvalidRequest(
        f"tool_choice must be 'auto', 'none', 'required', a function's name or allowed tools, not {choice!r}"
    )


def _allowed_names(allowed: Mapping[str, Any]) -> list[str]:
    tools = allowed.get("tools")
    names = [_name(tool) for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    if not names or not all(names):
        raise InvalidRequest("tool_choice: allowed_tools.tools must name functions")
    return [name for name in names if name]


def _name(named: Mapping[str, Any]) -> str | None:
    """Of `{"function": {"name": ...}}` or `{"name": ...}`."""
    if named.get("type", "function") != "function":
        return None
    function = named.get("function", named)
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _check_known(name: str, tools: Sequence[Tool]) -> None:
    if all(tool.name != name for tool in tools):
        raise InvalidRequest(f"tool_choice names the function {name!r}, which is not among the tools")
