"""Does a model's chat template go with its tokenizer? A fixed conversation is rendered and tokenised, once, on import.

What is found makes answers worse without any error being seen: that is why it is said at once. Knows nothing of
weights, and nothing of any model by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from puna import tokenizer as tokenizers
from puna.chat import ChatTemplate, Message, PromptTemplate, Tool, ToolCall
from puna.chat.answers import AnswerFormat
from puna.errors import PunaError, TemplateError
from puna.gguf import ModelFile
from puna.tokenizer import Tokenizer

# Words that no template writes by itself.
_SYSTEM, _FIRST, _ANSWER, _SECOND, _THOUGHT = "SYSTEMqx", "FIRSTqx", "ANSWERqx", "SECONDqx", "THOUGHTqx"
_ARGUMENT, _RESULT = "ARGUMENTqx", "RESULTqx"

_ROUNDS = (Message("user", _FIRST), Message("assistant", _ANSWER), Message("user", _SECOND))
_WITH_SYSTEM = (Message("system", _SYSTEM), *_ROUNDS)
_THINKING = (Message("user", _FIRST), Message("assistant", _ANSWER, thinking=_THOUGHT), Message("user", _SECOND))
_TOOL = Tool(
    "look_up",
    "Looks a word up",
    {"type": "object", "properties": {"word": {"type": "string", "description": "which"}}, "required": ["word"]},
)
_CALL = ToolCall("call00001", "look_up", {"word": _ARGUMENT})  # Mistral's ids have nine characters
_CALLING = (
    Message("user", _FIRST),
    Message("assistant", "", tool_calls=(_CALL,)),
    Message("tool", _RESULT, tool_call_id=_CALL.id, tool_name=_CALL.name),
    Message("assistant", _ANSWER),
    Message("user", _SECOND),
)

_MARK = re.compile(
    r"<\|[^<>|\s]{1,60}\|?>|<\uff5c[^<>\uff5c]{1,60}\uff5c>|<(?:start|end)_of_[a-z]{1,20}>|</?s>|<[be]os>"
)


def self_test(file: ModelFile, template: PromptTemplate | None = None) -> tuple[str, ...]:
    """What looks wrong with a model's template and tokenizer: a sentence each; nothing where all is well.

    template: the one in force, where that is not the file's own. Never raises a PunaError.
    """
    try:
        tokenizer = tokenizers.load(file)
        if template is None:
            bos, eos = (_text(tokenizer, token) for token in (tokenizer.bos_id, tokenizer.eos_id))
            template = ChatTemplate.from_metadata(file.metadata, bos_token=bos, eos_token=eos)
    except PunaError as error:
        return (f"the model cannot be talked to: {error}",)
    if template.is_default:
        return ("there is no chat template: messages are joined by blank lines, and answers may not end by themselves",)
    return tuple(findings(template, tokenizer))


def findings(template: PromptTemplate, tokenizer: Tokenizer) -> Iterator[str]:
    """The sentences of `self_test`, for a template that there is."""
    try:
        text = template.render(_ROUNDS)
    except TemplateError as error:
        yield f"the chat template refuses a plain conversation: {error}"
        return
    yield from _lost_words(text)
    yield from _system(template)
    yield from _unknown_marks(text, tokenizer)
    yield from _doubled_bos(text, tokenizer)
    answers = AnswerFormat.of(template)
    if _ANSWER in text:
        if not answers.channels:  # where an earlier answer's end is not the mark that a new one ends with
            yield from _endless(text, tokenizer)
        yield from _thinking(template)
    yield from _tools(template, answers)


def _lost_words(text: str) -> Iterator[str]:
    wanted = ((_FIRST, "earlier messages"), (_ANSWER, "earlier answers"), (_SECOND, "the user's last message"))
    if lost := [what for words, what in wanted if words not in text]:
        yield f"the chat template leaves out {' and '.join(lost)}"
        return
    places = [text.find(words) for words, _ in wanted]
    if places != sorted(places):
        yield "the chat template puts the messages in another order"


def _system(template: PromptTemplate) -> Iterator[str]:
    try:
        if _SYSTEM not in template.render(_WITH_SYSTEM):
            yield "the chat template drops the system message"
    except TemplateError as error:
        yield f"the chat template refuses a system message: {error}"


def _unknown_marks(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    for mark in dict.fromkeys(_MARK.findall(text)):
        ids = tokenizer.encode(mark, add_special=False, parse_special=True)
        if len(ids) != 1:
            yield f"the chat template writes {mark!r}, which is no token: the model sees {len(ids)} pieces of text"


def _doubled_bos(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    ids = tokenizer.encode(text, add_special=False, parse_special=True)
    if tokenizer.bos_id is not None and ids[:2] == [tokenizer.bos_id] * 2:
        yield f"the chat template writes {_text(tokenizer, tokenizer.bos_id)!r} twice at the beginning"


def _endless(text: str, tokenizer: Tokenizer) -> Iterator[str]:
    """After an answer, the template must write a token that ends answers: it is what the model has been taught to."""
    after = text.partition(_ANSWER)[2].partition(_SECOND)[0]
    ids = tokenizer.encode(after, add_special=False, parse_special=True)
    if any(token in tokenizer.eog_ids for token in ids):
        return
    marks = [_text(tokenizer, token) for token in ids if token in tokenizer.special_ids]
    if marks:
        yield (
            f"after an answer the chat template writes {marks[0]!r}, which the model file does not count among the "
            "tokens that end an answer: answers may not stop"
        )
    else:
        yield "the chat template writes no token after an answer: the model may not stop by itself"


def _tools(template: PromptTemplate, answers: AnswerFormat) -> Iterator[str]:
    if not template.supports_tools:
        return
    if not answers.supports_tools:
        yield "the chat template shows tools to the model, but how it writes calls is not known: they stay text"
        return
    try:
        text = template.render(_CALLING, tools=[_TOOL.to_dict()])
    except TemplateError as error:
        yield f"the chat template refuses a conversation with tools: {error}"
        return
    lost = [what for words, what in ((_ARGUMENT, "calls"), (_RESULT, "results")) if words not in text]
    if lost:
        yield f"the chat template leaves out the {' and the '.join(lost)} of tools"


def _thinking(template: PromptTemplate) -> Iterator[str]:
    """Thoughts of earlier rounds may go; the answers must not go with them."""
    try:
        if _ANSWER not in template.render(_THINKING):
            yield "the chat template leaves out an answer that was thought about"
    except TemplateError as error:
        yield f"the chat template refuses an answer with its thought: {error}"


def _text(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.token_text(token)
