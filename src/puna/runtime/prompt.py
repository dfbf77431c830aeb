"""A request becomes a prompt: messages fitted to the context, written by the template, as token ids.

Knows nothing of engines, processes or sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from puna.chat import ContextReport, GoChatTemplate, Message, Think, Tool, history
from puna.errors import ContextOverflow, InvalidRequest
from puna.runtime.images import Images
from puna.runtime.text import TextModel
from puna.runtime.types import ChatRequest, CompletionRequest, HistoryPolicy, Options, Prompt, Request

DEFAULT_CONTEXT = 8192  # tokens, where nobody says and the model was trained for as many
ANSWER_ROOM = 512  # tokens kept free for the answer when rounds have to be dropped, at most a quarter of the context

TILES = "images are seen as a whole: this model could see large ones in tiles too, which Puna does not do"

_MARK = "\ue000earlier\ue000"  # stands for an earlier text, which is there as token ids only


@dataclass(frozen=True, slots=True)
class ContextLength:
    """How many tokens a request may use, prompt and answer together, and what its sender must be told."""

    tokens: int
    warnings: tuple[str, ...] = ()


def context_length(options: Options, limit: int, default: int | None) -> ContextLength:
    """The request's or the model's own, else `default`, else DEFAULT_CONTEXT; at most the model's `limit`."""
    if options.context_length is None:
        return ContextLength(min(default or DEFAULT_CONTEXT, limit))
    if options.context_length <= limit:
        return ContextLength(options.context_length)
    warning = f"context length {options.context_length}: this model can be run with {limit}, which is used"
    return ContextLength(limit, (warning,))


def build(request: Request, model: TextModel, options: Options, context: ContextLength) -> Prompt:
    """What the model will see.

    Raises:
        ContextOverflow: the prompt does not fit, and nothing more may be dropped.
        TemplateError: the model's template refuses the messages.
        InvalidRequest: the prompt is empty, has a token id that the model does not, or asks for what the model cannot:
            thinking, a tool call, filling in between two texts, images, or an image that cannot be read.
    """
    if isinstance(request, CompletionRequest) and request.template:
        model = model.with_template(request.template)
    if "completion" not in model.local.details.capabilities:
        what = "chat" if isinstance(request, ChatRequest) else "generate"
        raise InvalidRequest(f'"{request.model}" does not support {what}: it only makes embeddings')
    limit = context.tokens - 1  # the answer needs a token
    images = Images(model, request.model)
    match request:
        case ChatRequest():
            prompt = _conversation(request, model, images, options, context.tokens)
        case CompletionRequest(suffix=str(suffix)) if suffix:
            prompt = _between(request, suffix, model, context.tokens)
        case CompletionRequest(raw=True):
            prompt = _raw(request, model, images, context.tokens)
        case CompletionRequest(context=()):
            messages, way = _turn(request, model, images), _Way(think=request.think)
            prompt = _fitted(messages, model, images, way, context.tokens, options.max_tokens, "error")
        case CompletionRequest():
            prompt = _continued(request, model, images, context.tokens)
    if len(prompt.token_ids) > limit:
        raise ContextOverflow(
            f"the prompt has {len(prompt.token_ids)} tokens, which do not fit the context length of "
            f"{context.tokens}: shorten the prompt or raise the context length"
        )
    if not prompt.token_ids:
        raise InvalidRequest("the prompt has no tokens: say something")
    asked = _check_thinking(request, model) if prompt.chat else ()
    ids, placed = images.placed(prompt.token_ids)
    seen = (TILES,) if placed and model.vision and model.vision.tiled else ()
    warnings = (*model.warnings, *context.warnings, *asked, *seen, *prompt.warnings)
    return replace(prompt, text=images.shown(prompt.text), token_ids=ids, images=placed, warnings=warnings)


@dataclass(frozen=True, slots=True)
class _Way:
    """How the template is to write the messages."""

    tools: tuple[Tool, ...] = ()
    think: Think | None = None
    continues: bool = False  # it ends inside the last message

    def render(self, messages: Sequence[Message], model: TextModel) -> str:
        return model.render(messages, tools=self.tools, think=self.think, continue_final_message=self.continues)


def _check_thinking(request: Request, model: TextModel) -> tuple[str, ...]:
    """A warning where the model cannot think as much or as little as it is asked to; refuses where it cannot at all."""
    name = request.model or model.local.name
    if request.think and not model.answers.supports_thinking:
        raise InvalidRequest(f'"{name}" does not support thinking')
    if isinstance(request.think, str) and not model.answers.switches.efforts:
        return (f'"{name}" knows no levels of thinking: {request.think!r} means that it thinks',)
    return ()


def _conversation(request: ChatRequest, model: TextModel, images: Images, options: Options, context: int) -> Prompt:
    """The messages, with the tools where the model knows of tools and they leave room for the last round.

    An assistant's message at the end is what the answer goes on with.
    """
    messages = tuple(map(images.marked, _with_own(request.messages, model)))
    tools, warnings = _offered(request, model)
    last = messages[-1]
    way = _Way(tools, request.think, continues=last.role == "assistant" and not last.tool_calls)
    required = request.tool_choice.kind == "required"
    try:
        prompt = _fitted(messages, model, images, way, context, options.max_tokens, request.history)
    except ContextOverflow:
        if not tools or required or request.history == "error":
            raise
        way = replace(way, tools=())
        prompt = _fitted(messages, model, images, way, context, options.max_tokens, request.history)
        warnings = (f"the {len(tools)} tools do not fit the context of {context} tokens: they were ignored",)
    return replace(prompt, warnings=warnings)


def _offered(request: ChatRequest, model: TextModel) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The tools that the model is told of, and a warning if these are not the request's."""
    if not request.tools or request.tool_choice.kind == "none":
        return (), ()
    if model.answers.supports_tools:
        return request.tools, ()
    refusal = f'"{request.model or model.local.name}" does not support tools'
    if request.tool_choice.kind == "required":
        raise InvalidRequest(refusal)
    return (), (f"{refusal}: the {len(request.tools)} given were ignored",)


def _between(request: CompletionRequest, suffix: str, model: TextModel, context: int) -> Prompt:
    """The prompt, then what comes after the answer, in the form in which the model was taught to fill in."""
    if request.context or request.system or request.images:
        raise InvalidRequest("suffix does not go together with context, system or images: leave them out")
    if isinstance(model.template, GoChatTemplate) and model.template.infills:
        text = model.template.render_infill(request.prompt, suffix)
        return _counted(text, model.encode(text), context)
    if request.template:
        raise InvalidRequest("the template does not write what comes after the answer: it has no {{ .Suffix }}")
    if model.infill is None:
        raise InvalidRequest(f'"{request.model or model.local.name}" does not support insert')
    ids = model.infill.token_ids(request.prompt, suffix, model.tokenizer)
    return _counted(model.tokenizer.decode(ids, skip_special=False), ids, context)


def _with_own(messages: tuple[Message, ...], model: TextModel) -> tuple[Message, ...]:
    """The model's system prompt (unless the messages open with one), its example turns, the messages."""
    if not messages:
        raise InvalidRequest("there are no messages: send at least one")
    own, examples = model.local.system, model.local.messages
    if messages[0].role == "system":
        return (messages[0], *examples, *messages[1:])
    return (*([Message("system", own)] if own else []), *examples, *messages)


def _turn(request: CompletionRequest, model: TextModel, images: Images) -> tuple[Message, ...]:
    system = () if not request.system else (Message("system", request.system),)
    return _with_own((*system, _user(request, images)), model)


def _user(request: CompletionRequest, images: Images) -> Message:
    return images.marked(Message("user", request.prompt, images=request.images))


def _fitted(
    messages: Sequence[Message],
    model: TextModel,
    images: Images,
    way: _Way,
    context: int,
    max_tokens: int | None,
    policy: HistoryPolicy,
) -> Prompt:
    room = 1 if policy == "error" else max(1, min(max_tokens or ANSWER_ROOM, ANSWER_ROOM, context // 4))

    written: dict[int, tuple[str, list[int]]] = {}  # by how many messages it has

    def count(candidate: Sequence[Message]) -> int:
        text = way.render(candidate, model)
        written[len(candidate)] = text, images.encode(text)
        return len(written[len(candidate)][1])

    try:
        fitted = history.fit(messages, count=count, limit=context - room, policy=policy)
    except ContextOverflow:
        if room == 1:
            raise
        fitted = history.fit(messages, count=count, limit=context - 1, policy=policy)
    text, ids = written[len(fitted.messages)]
    images.check(text, fitted.messages)
    report = replace(fitted.report, limit=context)
    return Prompt(text, tuple(ids), report, tools=way.tools, continues=way.continues)


def _continued(request: CompletionRequest, model: TextModel, images: Images, context: int) -> Prompt:
    """The new turn after the token ids of the earlier ones; the oldest of these go where they do not fit."""
    _check_tokens(request.context, model)
    user = _user(request, images)
    text = _next_turn(request, user, model)
    images.check(text, [user])
    turn = images.encode(text, after=True)
    kept = request.context[-max(0, context - 1 - len(turn)) :] if len(turn) < context - 1 else ()
    ids = (*kept, *turn)
    dropped = len(request.context) - len(kept)
    return Prompt(text, ids, ContextReport(context, len(ids), 0, dropped, "drop_oldest"))


def _raw(request: CompletionRequest, model: TextModel, images: Images, context: int) -> Prompt:
    """The text as it stands; after token ids, if there are any."""
    _check_tokens(request.context, model)
    prompt = _user(request, images).content
    ids = (*request.context, *images.encode(prompt, after=bool(request.context)))
    before = model.tokenizer.decode(request.context) if request.context else ""
    return _counted(before + prompt, ids, context)


def _check_tokens(tokens: Sequence[int], model: TextModel) -> None:
    vocabulary = model.tokenizer.vocab_size
    for token in tokens:
        if not 0 <= token < vocabulary:
            raise InvalidRequest(f"the prompt holds the token id {token}; this model's are 0 to {vocabulary - 1}")


def _next_turn(request: CompletionRequest, user: Message, model: TextModel) -> str:
    """What the template writes after an answer: its end, and the new turn. A system prompt is given again."""
    if not request.system:
        answered = (Message("user", _MARK), Message("assistant", _MARK))
        return model.render((*answered, user), think=request.think).rpartition(_MARK)[2]
    turn = model.render((Message("system", request.system), user), think=request.think)
    return model.template.answer_end + turn


def _counted(text: str, ids: Sequence[int], context: int) -> Prompt:
    return Prompt(text, tuple(ids), ContextReport(context, len(ids), 0, 0, "error"), continues=True, chat=False)
