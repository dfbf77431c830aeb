"""Finds how a model writes tool calls: its own template writes them, in conversations that have some.

A made-up call is rendered, and each family's reader tries to read it back. A template that never writes calls is
searched for marks.
"""

from __future__ import annotations

from puna.chat.answers.formats import ALL
from puna.chat.answers.formats.python_calls import LFM2
from puna.chat.answers.marked import Marked
from puna.chat.answers.pieces import Piece
from puna.chat.answers.source import Source
from puna.chat.answers.syntax import CallSyntax
from puna.chat.answers.toolbox import Toolbox
from puna.chat.messages import Message, Tool, ToolCall
from puna.chat.prompt_template import PromptTemplate

_ID = "call00001"  # Mistral's ids have nine characters
_ARGUMENTS = {"place": "PLACExyz"}
_SAID = "SAIDxyz"
_RESULT = "RESULTxyz"
_TOOL = Tool(
    "look_up",
    "looks it up",
    {"type": "object", "properties": {"place": {"type": "string", "description": "where"}}, "required": ["place"]},
)
_HELLO = Message("user", "hello")
_CALLED = (
    _HELLO,
    Message("assistant", "", tool_calls=(ToolCall(_ID, _TOOL.name, _ARGUMENTS),)),
    Message("tool", _RESULT, tool_call_id=_ID, tool_name=_TOOL.name),
)


def is_harmony(template: PromptTemplate) -> bool:
    """Whether answers come in gpt-oss's channels."""
    source = "\n".join(template.sources.values())
    return "<|channel|>" in source and "<|message|>" in source


def syntax_of(template: PromptTemplate) -> CallSyntax | None:
    """How calls are written; None where no known family writes them so."""
    written = _written_call(template)
    for syntax in ALL:
        if written and _reads(syntax, written):
            return syntax
    return None if written else _mentioned(template)


def _written_call(template: PromptTemplate) -> str:
    """The assistant's turn with a call as the template writes it; "" where it does not."""
    tools = [_TOOL.to_dict()]
    prompt = template.probe([_HELLO], tools=tools, add_generation_prompt=True)
    called = template.probe(_CALLED, tools=tools)
    shared = _shared(prompt, called)
    # Some show tools with the last question only, and so the beginnings differ: then a turn that calls nothing tells.
    said = template.probe([_HELLO, Message("assistant", _SAID), _CALLED[-1]], tools=tools)
    if _shared(said, called) > shared and said[_shared(said, called) :].startswith(_SAID):
        shared = _shared(said, called)
    elif shared < len(prompt):  # where the prompt goes on with a thought, two marks may begin alike
        shared = max(called.rfind(end, 0, shared) for end in "\n>]") + 1
    turn = called[shared:].partition(_RESULT)[0]
    return turn if _ARGUMENTS["place"] in turn else ""


def _shared(first: str, second: str) -> int:
    """How many characters both begin with."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _reads(syntax: CallSyntax, turn: str) -> bool:
    source, pieces = Source(), list[Piece]()
    source.push(turn)
    source.ended = True
    marked = Marked(source, pieces.append, thoughts=None, syntax=syntax, tools=Toolbox([_TOOL]))
    for _ in marked.read(thinking=False):
        pass
    return any(isinstance(piece, ToolCall) and dict(piece.arguments) == _ARGUMENTS for piece in pieces)


def _mentioned(template: PromptTemplate) -> CallSyntax | None:
    source = "\n".join(template.sources.values())
    if "<|tool_list_start|>" in source:
        return LFM2  # its template mentions the marks around tools, not those around calls
    all_marks = (syntax for syntax in ALL if syntax.tokens and all(mark in source for mark in syntax.tokens))
    first_mark = (syntax for syntax in ALL if syntax.openings[0] in source)
    return next(all_marks, None) or next(first_mark, None)
